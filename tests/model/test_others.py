"""Architectures that the suite has no model of: scores against llama.cpp's, kept beside the tests; pieces; taps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import refgguf
from refgguf import errors
from refgguf.forward import forward
from refgguf.model import NUMERICS
from tests.support import c_library, made
from tests.support.archsuite import nmse
from tests.support.others import GOLDEN, OTHERS
from tests.support.tap_graph import changed, descendants, shaken, with_shaken_weight

# float32 at both ends: some 1e-7 of the size at each rounding, squared; llama.cpp looks GELU up in a table with 11
# bits, and with the same table a last bit may decide between its entries
TOLERANCE, WITHOUT_TABLE, OF_TABLE = 1e-10, 1e-6, 1e-7
FEW_BITS = {"rwkv6qwen2"}  # whose gated linear attention ggml has as an operation of its own
SHAKES = 8  # times that a tensor is replaced by another before it counts as without effect


@pytest.fixture(scope="module", params=OTHERS, ids=lambda case: case.name)
def case(request):
    """Each model in turn."""
    return request.param


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    """Its file, loaded."""
    return refgguf.load(case.write(tmp_path_factory.mktemp("other")))


def test_scores_equal_llama_cpp(case, model):
    """Logits of all tokens agree with llama.cpp's to float32 rounding, in its own numerics mostly bit for bit."""
    with np.load(GOLDEN) as golden:
        expected = golden[case.name]
    found, like = (case.kept(model.logits(case.tokens, numerics=how)) for how in NUMERICS)
    assert found.shape == expected.shape
    assert nmse(found, expected) < (WITHOUT_TABLE if case.gelu else TOLERANCE)
    few_bits = case.architecture in FEW_BITS
    assert nmse(like, expected) <= (
        TOLERANCE if few_bits else c_library.bound(OF_TABLE if case.gelu else TOLERANCE)
    )


@pytest.mark.parametrize("step", [1, 7])
def test_a_prompt_in_pieces_gives_the_same_bits(case, model, step):
    """The prompt token by token, or a few at a time, gives the bits of the prompt at once."""
    whole, cache, parts = model.trace(case.tokens), model.new_cache(), []
    for start in range(0, len(case.tokens), step):
        record = model._recorder("all")
        forward(model.network, model._with(None), case.tokens[start : start + step], cache, record)
        parts.append(record.values)
    for name, tap in model.taps.items():
        if tap.axes[0] == "token":
            assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name]), name


def test_taps_are_as_declared(case, model):
    """Taps occur in order with their axes; replacing one changes exactly its descendants, a weight its taps."""
    tokens = np.array(case.tokens[: case.n_few])
    before = model.trace(tokens)
    assert list(before) == list(model.taps)
    for name, tap in model.taps.items():
        assert before[name].ndim == len(tap.axes) and tap.formula and tap.meaning, name
        expected = {name} | descendants(model.taps, {name})
        for seed in range(SHAKES):  # what decides a choice may lead to the same one again
            with model.hooks({name: partial(shaken, seed=seed)}):
                found = changed(before, model.trace(tokens))
            if found == expected:
                break
        assert found == expected, name
    for weight in model.file.tensors:
        direct = {tap.name for tap in model.taps.values() if weight in tap.weights}
        record = model._recorder("all")
        forward(model.network, with_shaken_weight(model, weight), tokens, model.new_cache(), record)
        assert changed(before, record.values) == direct | descendants(model.taps, direct), weight


def test_a_picture_never_follows(tmp_path):
    """Of Chameleon's vocabulary, what is part of a picture is never chosen, however high its score."""
    case = OTHERS[0]
    model = refgguf.load(case.write(tmp_path))
    assert case.architecture == "chameleon"
    trace = model.trace(case.tokens, ["logits_raw", "logits"])
    best = trace["logits_raw"].argmax(axis=1)
    assert ((best >= 4) & (best < 8196)).any()
    chosen = trace["logits"].argmax(axis=1)
    assert not ((chosen >= 4) & (chosen < 8196)).any()


def test_a_vocabulary_without_room_for_pictures_is_refused(tmp_path):
    """A vocabulary that ends before the picture tokens do is one clear error."""
    metadata = made.values_of("chameleon", {"vocab_size": 8196})
    shapes = made.tensors_of("chameleon", metadata) | {
        "token_embd.weight": (64, 48),
        "output.weight": (64, 48),
    }
    path = made.write(tmp_path / "small.gguf", "chameleon", metadata, shapes)
    with pytest.raises(errors.HyperParameterError, match="picture tokens"):
        refgguf.load(path)
