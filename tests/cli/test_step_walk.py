"""Moving through a forward pass: every key's meaning, without a terminal."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.cli.stepper.guesses import Guesses, probabilities
from refgguf.cli.stepper.slices import numbers_of, slice_of
from refgguf.cli.stepper.walk import Walk
from refgguf.errors import ContextOverflowError, InputError
from tests.support.models import CONTEXT
from tests.support.speaking_model import speaking_llama


@pytest.fixture
def walk(tmp_path) -> Walk:
    """A walk through a tiny model that speaks, at its first token and operation."""
    model = refgguf.load(speaking_llama().write(tmp_path / "model.gguf"))
    return Walk(model, model.tokenize("Once upon a"), lambda ids: model.trace(list(ids)))


def test_next_visits_everything_once_in_order(walk: Walk):
    """From the first page, next reaches every operation of every token, and then there is nothing further."""
    visited = [(walk.token, walk.operation)]
    while walk.next():
        visited.append((walk.token, walk.operation))
    assert visited == [(t, o) for t in range(walk.n_tokens) for o in range(walk.n_operations)]
    assert not walk.next()


def test_back_undoes_next(walk: Walk):
    """Back retraces every step to the first page."""
    steps = 0
    while walk.next():
        steps += 1
    for _ in range(steps):
        assert walk.back()
    assert (walk.token, walk.operation) == (0, 0)
    assert not walk.back()


def test_layers(walk: Walk):
    """Next layer goes to each layer's first operation, then to the model's end; previous layer back again."""
    starts = [walk.current.name]
    while walk.next_layer():
        starts.append(walk.current.name)
    assert starts == ["embed", "blk.0.resid_pre", "blk.1.resid_pre", "blk.2.resid_pre", "final_norm"]
    back = []
    while walk.previous_layer():
        back.append(walk.current.name)
    assert back == starts[-2::-1]


def test_previous_layer_goes_to_the_start_of_this_one_first(walk: Walk):
    """In the middle of a layer, the first press goes to its start."""
    walk.go(tap="blk.1.attn_probs")
    walk.previous_layer()
    assert walk.current.name == "blk.1.resid_pre"


def test_tokens_keep_the_operation(walk: Walk):
    """The next token shows the same operation, so that two tokens can be compared."""
    walk.go(tap="blk.1.attn_probs")
    assert walk.next_token()
    assert (walk.token, walk.current.name) == (1, "blk.1.attn_probs")
    assert walk.previous_token()
    assert not walk.previous_token()


def test_past_the_last_token_the_model_goes_on(walk: Walk):
    """Extending adds the best guess; what was computed before stays as it was."""
    before, n = walk.trace, walk.n_tokens
    best = int(before["logits"][-1].argmax())
    walk.extend()
    assert walk.n_tokens == n + 1
    assert walk.trace.tokens[-1] == best
    assert walk.token == n
    assert walk.n_prompt == n
    assert np.array_equal(walk.trace["logits"][:-1], before["logits"])


def test_extending_ends_at_the_context(walk: Walk):
    """Past the model's context there is an error that says so, and the walk stays where it was."""
    walk._run([1] * CONTEXT)
    with pytest.raises(ContextOverflowError):
        walk.extend()
    assert walk.n_tokens == CONTEXT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("blk.1.attn_probs", ["blk.1.attn_probs"]),
        ("kq_soft_max-1", ["blk.1.attn_probs"]),
        ("blocks.1.attn.hook_pattern", ["blk.1.attn_probs"]),
        ("blk.*.ffn_act", ["blk.0.ffn_act", "blk.1.ffn_act", "blk.2.ffn_act"]),
        ("PROBS", ["blk.0.attn_probs", "blk.1.attn_probs", "blk.2.attn_probs"]),
        ("2 swiglu", ["blk.2.ffn_act"]),
        ("nothing", []),
        ("", []),
    ],
)
def test_search(walk: Walk, text: str, found: list[str]):
    """A tap is found by any of its names, by a pattern, and by parts of its names."""
    assert [walk.tensors[number].name for number in walk.matches(text)] == found


def test_a_search_goes_forward_and_then_round(walk: Walk):
    """The next match from here on is taken, past the last one the first."""
    walk.go(tap="blk.1.ffn_up")
    assert walk.tensors[walk.nearest_match("attn_q")].name == "blk.2.attn_q"
    walk.go(tap="logits")
    assert walk.tensors[walk.nearest_match("attn_q")].name == "blk.0.attn_q"


def test_a_place_that_is_not_there(walk: Walk):
    """A token or tap from the command line that does not exist is refused in one sentence."""
    with pytest.raises(InputError, match=f"no token {walk.n_tokens}"):
        walk.go(token=walk.n_tokens)
    with pytest.raises(InputError, match="'nonsense'"):
        walk.go(tap="nonsense")


def test_slices_belong_to_one_token(walk: Walk):
    """A slice is the tensor's row of the token; of a pattern, its row up to the token itself."""
    trace = walk.trace
    probs = slice_of(trace.tensor("blk.0.attn_probs"), 2)
    assert probs.axes == ("head", "key")
    assert np.array_equal(probs.values, trace["blk.0.attn_probs"][:, 2, :3])
    queries = slice_of(trace.tensor("blk.0.attn_q"), 2)
    assert queries.axes == ("head", "d_head")
    assert np.array_equal(queries.values, trace["blk.0.attn_q"][2])
    assert queries.shape_text == "head 4 × d_head 12"
    assert queries.place(13) == "head 1, d_head 1"


def test_numbers_leave_out_what_is_not_finite():
    """NaN and infinities are counted, and the rest is measured without them."""
    found = numbers_of(np.array([3.0, np.nan, -4.0, np.inf], np.float32))
    assert (found.count, found.odd, found.least, found.most) == (4, 2, -4.0, 3.0)
    assert (found.at_least, found.at_most, found.mean, found.norm) == (2, 0, -0.5, 5.0)
    assert numbers_of(np.array([np.nan, np.nan])).odd == 2


def test_guesses_at_the_end_are_the_model_s_own(walk: Walk):
    """At the logits, the guesses are the model's probabilities; after the last layer the lens gives the same."""
    guesses = Guesses(walk.model)
    walk.go(token=2, tap="logits")
    here = guesses.here(walk)
    probs = probabilities(walk.trace["logits"][2])
    assert here.source == "logits"
    assert [g.token for g in here.best] == np.argsort(-probs, kind="stable")[:5].tolist()
    assert here.best[0].probability == probs.max()
    walk.go(tap="blk.2.resid_post")
    assert [(g.token, g.probability) for g in guesses.here(walk).best] == [
        (g.token, g.probability) for g in here.best
    ]


def test_guesses_know_what_came(walk: Walk):
    """Before the last token, a reading names the token that follows with its rank and probability."""
    guesses = Guesses(walk.model)
    walk.go(token=1, tap="logits")
    here = guesses.here(walk)
    probs = probabilities(walk.trace["logits"][1])
    following = int(walk.trace.tokens[2])
    assert here.actual == walk.label(2)
    assert here.actual_probability == probs[following]
    assert here.actual_rank == 1 + (probs > probs[following]).sum()
    walk.token = walk.n_tokens - 1
    assert guesses.here(walk).actual is None


def test_guesses_layer_by_layer(walk: Walk):
    """The history has the embedding and every layer up to here, and the lens of each is what lens() says."""
    guesses = Guesses(walk.model)
    walk.go(token=2, tap="blk.1.resid_post")
    history = guesses.by_layer(walk)
    assert [r.source for r in history] == ["embed", "blk.0.resid_post", "blk.1.resid_post"]
    for reading in history:
        probs = probabilities(walk.model.lens(walk.trace[reading.source][2][None])[0])
        assert reading.best[0].token == int(probs.argmax())


def test_what_an_addition_moves(walk: Walk):
    """At an addition, the changes are the differences of the readings before and after it; elsewhere none."""
    guesses = Guesses(walk.model)
    walk.go(token=2, tap="blk.1.resid_mid")
    moves = guesses.moved(walk)
    before, after = (
        probabilities(walk.model.lens(walk.trace[name][2][None])[0])
        for name in ("blk.1.resid_pre", "blk.1.resid_mid")
    )
    most = int(np.abs(after - before).argmax())
    assert (moves[0].before, moves[0].after) == (before[most], after[most])
    walk.go(tap="blk.1.attn_norm")
    assert guesses.moved(walk) == []
