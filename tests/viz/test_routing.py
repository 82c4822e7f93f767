"""What the viewer tells of an expert's share: whether it was chosen, by what, and its weight, as the trace has them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refgguf.taps import Tap
from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_model
from refgguf.viz.pages import value_page
from refgguf.viz.routing import routed, routing_of, weight
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.picking import Hit
from tests.support import archsuite
from tests.support.forged import Scaled, with_values

TOKENS = [1, 5, 9, 7, 11, 30]
NOT_MIXED = "refact-moe"  # by name only
MIXTURES = [n for n in archsuite.names(that_run=True) if n.endswith("-moe") and n != NOT_MIXED]
NUMBER = re.compile(r"−?[\d.]+(?:e−?\d+)?")


def number_in(text: str) -> float:
    """Return the last number of a line."""
    return float(NUMBER.findall(text)[-1].replace("−", "-"))


@pytest.mark.testdata
@pytest.mark.parametrize("name", MIXTURES)
def test_every_share_is_followed(name, tmp_path):
    """Each expert that a token went to has its place and its weight; each other one what it lacks."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    trace, weights = model.trace(TOKENS), dict(model.file.tensors)
    scene = build_scene(shown_of_model(model, trace))
    drawn = [n for n, box in enumerate(scene.pieces.boxes) if box.role == "router"]
    assert drawn
    for number in drawn:
        box = scene.pieces.boxes[number]
        routing = routing_of(trace, box.plane.tap)
        for token, expert in np.ndindex(*box.plane.shape):
            index = box.plane.index(token, expert)
            lines = routed(trace, box.plane.tap, index, weights)
            slot = np.flatnonzero(routing.topk.values[token] == expert)
            if not len(slot):
                assert lines[-1].startswith("not chosen: "), lines
                continue
            assert any(line.startswith(f"chosen: place {slot[0] + 1} ") for line in lines), lines
            assert lines[-1].startswith("weight ")
            wanted = float(routing.weights.values[token, slot[0]])
            assert number_in(lines[-1]) == pytest.approx(wanted, rel=6e-3)
        hit = Hit(number, 0, 0, box.plane.index(0, 0), 0.0, 1.0)
        assert "what follows" in value_page(scene, hit, weights)


@pytest.mark.testdata
@pytest.mark.parametrize("name", MIXTURES)
def test_another_choice_and_another_weight_are_not_told(name, tmp_path):
    """With other experts chosen, other shares, another bias or another weight than the trace has, it is not said."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    trace, weights = model.trace(TOKENS), dict(model.file.tensors)
    found = [n for n in trace.names if n.endswith(".router_weights")]
    assert found
    tensor = trace.tensor(found[-1])
    shares, topk = tensor.inputs
    routing = routing_of(trace, shares)
    by, index = routing.choice.name, (2, int(trace[topk][2, 0]))
    told = routed(trace, by, index, weights)
    assert told[-1].startswith("weight ")
    swapped = with_values(trace, topk, trace[topk][:, ::-1].copy())
    assert not routed(swapped, by, index, weights)
    mixed = trace[shares] * np.float32(1.3) + np.float32(0.2) * np.roll(trace[shares], 1, axis=1)
    for forged in (
        with_values(trace, tensor.name, trace[tensor.name] * 1.01),
        with_values(trace, shares, mixed),
    ):
        lines = routed(forged, by, index, weights)
        assert not any(line.startswith("weight ") for line in lines), lines
    if routing.choice.inputs == (shares,):
        line = next(
            line for line in routed(trace, shares, index, weights) if line.startswith("for the choice")
        )
        assert number_in(line) == pytest.approx(float(trace[by][index]), rel=6e-3)
        other = {w: Scaled(weights[w]) for w in routing.choice.weights}
        assert line not in routed(trace, shares, index, {**weights, **other})


def routed_by(groups: list[int], chosen: list[int], table: bool = False) -> Trace:
    """Return a trace of one token and eight experts in four groups, whose shares are 0.1 to 0.8 in some order."""
    shares = np.array([[0.8, 0.1, 0.6, 0.5, 0.7, 0.2, 0.4, 0.3]], np.float32)
    choice = () if table else ("probs", "groups")
    taps = {
        "probs": Tap("probs", ("token", "expert"), "router", ""),
        "groups": Tap(
            "groups", ("token", "slot"), "router", "", inputs=("probs",),
            formula="the 2 of 4 groups with the best two experts together",
        ),
        "topk": Tap("topk", ("token", "slot"), "router", "", inputs=choice, formula="the 3 largest of 8"),
        "weights": Tap(
            "weights", ("token", "slot"), "router", "", inputs=("probs", "topk"),
            formula="probs[topk] / Σ probs[topk] · 2.5",
        ),
    }  # fmt: skip
    mine = shares[0][chosen]
    values = {
        "probs": shares,
        "groups": np.array([groups], np.int32),
        "topk": np.array([chosen], np.int32),
        "weights": (mine / mine.sum() * 2.5)[None],
    }
    return Trace(values, taps, [7])


def test_groups_are_told():
    """Groups of 0.9, 1.1, 0.9 and 0.7: the second and, first of two alike, the first may give their experts."""
    trace = routed_by([1, 0], [0, 2, 3])
    assert routed(trace, "probs", (0, 2)) == [
        "its group 1 has 0.6 + 0.5 = 1.1: among the 2 best of 4",
        "chosen: place 2 of the 3 largest of 8, with 0.6",
        "0.6 / (0.8 + 0.6 + 0.5) = 0.316",
        "weight 0.316 × 2.5 = 0.789",
    ]
    assert routed(trace, "probs", (0, 4)) == [
        "its group 2 has 0.7 + 0.2 = 0.9: not among the 2 best of 4",
        "not chosen: only the 4 experts of those groups take part",
    ]
    assert (
        routed(trace, "probs", (0, 1))[-1]
        == "not chosen: place 4 of 8 with 0.1, the last of the 3 chosen has 0.5"
    )
    assert not routed(routed_by([1, 2], [0, 2, 3]), "probs", (0, 2))
    assert not routed(routed_by([1, 0], [0, 4, 2]), "probs", (0, 2))


def test_a_table_chooses():
    """Where the token says which experts see it, its share decides nothing but the weight."""
    trace = routed_by([1, 0], [0, 2, 5], table=True)
    assert routed(trace, "probs", (0, 5))[0] == "chosen: the token's row of the table says 0, 2, 5"
    assert routed(trace, "probs", (0, 4)) == ["not chosen: the token's row of the table says 0, 2, 5"]


def test_softmax_over_the_chosen():
    """Scores of ln 1, ln 2 and ln 4: the shares of the two largest are 1/3 and 2/3."""
    shape = ("token", "slot")
    logits = np.log(np.array([[1, 2, 4]], np.float32))
    taps = {
        "logits": Tap("logits", ("token", "expert"), "router", ""),
        "topk": Tap("topk", shape, "router", "", inputs=("logits",)),
        "w": Tap("w", shape, "router", "", inputs=("logits", "topk"), formula="softmax(logits[topk])"),
    }
    values = {
        "logits": logits,
        "topk": np.array([[2, 1]], np.int32),
        "w": np.array([[2 / 3, 1 / 3]], np.float32),
    }
    trace = Trace(values, taps, [7])
    tensors = (trace.tensor("logits"), trace.tensor("topk"))
    assert weight(trace.tensor("w"), tensors, (0, 1), ()) == [
        "e^(score − highest) = e^(0.693 − 1.39) = 0.5",
        "0.5 / (1 + 0.5) = 0.333",
    ]
    forged = with_values(trace, "w", np.array([[0.65, 0.34]], np.float32))
    assert not weight(forged.tensor("w"), tensors, (0, 1), ())
