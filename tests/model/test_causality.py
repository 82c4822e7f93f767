"""Files of ordinary decoders that say that their tokens see later ones as well."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf import errors
from tests.support import made
from tests.support.models import TOKENS, gemma3, llama


@pytest.fixture(params=[llama, gemma3], ids=["llama", "gemma3"])
def tiny(request):
    """A decoder, without and with windows."""
    return request.param()


def test_tokens_see_later_ones_where_the_file_says_so(tiny, tmp_path):
    """Every pattern holds later tokens; a window hides earlier ones alone; as a rule no later token is seen."""
    before = np.tril(np.ones((len(TOKENS), len(TOKENS)), bool))
    for causal in (True, False):
        tiny.metadata[f"{tiny.architecture}.attention.causal"] = causal
        model = refgguf.load(tiny.write(tmp_path / f"{causal}.gguf"))
        assert model.network.causal == causal
        for number, pattern in enumerate(model.trace(TOKENS, "blk.*.attn_probs").values()):
            window = model.network.layers[number].mixer.block.mask.window or len(TOKENS)
            seen = ~np.tril(np.ones_like(before), -window) & (before if causal else True)
            assert np.array_equal(pattern.max(axis=0) > 0, seen), number


def test_such_a_model_continues_no_text(tmp_path):
    """Generation is refused in one sentence, and so is a second piece of a text."""
    tiny = llama()
    tiny.metadata["llama.attention.causal"] = False
    model = refgguf.load(tiny.write(tmp_path / "m.gguf"))
    with pytest.raises(errors.InputError, match="does not continue texts"):
        list(model.generate(TOKENS, n=1))


def test_a_recurrent_model_cannot_look_ahead(tmp_path):
    """A memory that goes from token to token sees none that follow: one clear error."""
    changes = {"attention.causal": False, "ssm.conv_kernel": 4, "ssm.inner_size": 96, "ssm.state_size": 8}
    metadata = made.values_of("mamba", changes | {"ssm.time_step_rank": 3})
    path = made.write(tmp_path / "m.gguf", "mamba", metadata, made.tensors_of("mamba", metadata))
    with pytest.raises(errors.HyperParameterError, match=r"mamba\.attention\.causal is false"):
        refgguf.load(path)
