"""What recurrent layers remember: kept when a pass fails, the same however a text is cut."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf import forward as forward_module
from refgguf.forward import forward
from tests.support import archsuite
from tests.support.archsuite import Case

pytestmark = pytest.mark.testdata
NAMES = (
    "mamba-dense",
    "mamba2-dense",
    "rwkv6-dense",
    "rwkv7-dense",
    "falcon-h1-dense",
    "lfm2-dense",
    "qwen35-dense",
    "plamo2-dense",
    "kimi-linear-moe",
    "minimax-01-moe",
)


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    """Models with different memories, in turn."""
    if archsuite.folder() is None:
        pytest.skip("REFGGUF_TESTDATA is not set, or holds no archsuite")
    return Case(request.param, tmp_path_factory.mktemp("recurrent") / "model.gguf")


class Failure(Exception):
    """Raised in the middle of a pass."""


def test_a_pass_that_fails_leaves_the_memory_as_it_was(case):
    """After a pass that a hook breaks off in the last layer, the same tokens give the scores they always give."""
    model, (first, rest) = case.model, (case.tokens[:9], case.tokens[9:20])
    cache, last = model.new_cache(), len(model.network.layers) - 1
    forward(model.network, model._with(None), first, cache, model._recorder())

    def fail(x, tap):
        raise Failure

    with pytest.raises(Failure), model.hooks({f"blk.{last}.resid_post": fail}):
        forward(model.network, model._with(None), rest, cache, model._recorder())
    found = forward(model.network, model._with(None), rest, cache, model._recorder())
    assert np.array_equal(found, model.logits([*first, *rest])[len(first) :])


def test_long_prompts_run_in_parts_with_the_same_bits(case, monkeypatch):
    """A prompt that runs in several parts, since nothing is tapped, has the scores of one that runs at once."""
    expected = case.trace["logits"]
    monkeypatch.setattr(forward_module, "TOKENS_AT_ONCE", 5)
    assert np.array_equal(case.model.logits(case.tokens), expected)


def test_hooks_on_the_memory_change_what_follows_only(case):
    """Clearing what is remembered after some tokens leaves their scores and changes those of the next ones."""
    model, (first, rest) = case.model, (case.tokens[:9], case.tokens[9:12])
    states = [tap.name for tap in model.taps.values() if tap.kind == "state" and tap.axes[0] != "token"]
    assert states
    scores = []
    for hooks in ({}, {name: lambda x, tap: 0 * x for name in states}):
        cache = model.new_cache()
        with model.hooks(hooks):
            now = forward(model.network, model._with(None), first, cache, model._recorder())
        scores.append((now, forward(model.network, model._with(None), rest, cache, model._recorder())))
    assert np.array_equal(scores[0][0], scores[1][0])
    assert not np.array_equal(scores[0][1], scores[1][1])
