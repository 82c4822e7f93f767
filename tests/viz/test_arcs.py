"""Arcs between tokens: each is a real share of a real pattern, and none of weight is missing."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.errors import InputError
from refgguf.viz.scene.arcs import LEAST, MOST_FOR_EACH, read_arcs, taken
from refgguf.viz.scene.build import build_scene, with_arcs
from refgguf.viz.state import ArcChoice
from tests.support.scenes import shown, tiny_scene, tiny_trace

SHAPES = ["grouped queries", "all heads share keys", "parallel", "four experts"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("choice", [ArcChoice(), ArcChoice(1), ArcChoice(1, 3), ArcChoice(0, None, True)])
def test_an_arcs_share_is_the_patterns(shape, choice):
    """Every arc has exactly the share that its definition gives, worked out here anew; all large shares are drawn."""
    scene = with_arcs(tiny_scene(shape), choice)
    trace = scene.shown.trace
    drawn = {(a.layer, a.query, a.key): a.share for a in scene.arcs.arcs}
    assert len(drawn) == len(scene.arcs.arcs) > 0
    for layer in range(2):
        pattern = trace[f"blk.{layer}.attn_probs"].astype(float)
        if choice.by_value:
            lengths = np.sqrt((trace[f"blk.{layer}.attn_v"].astype(float) ** 2).sum(-1))
            group = len(pattern) // lengths.shape[1]
            pattern = np.array([p * lengths[:, h // group] for h, p in enumerate(pattern)])
        share = pattern.mean(0) if choice.head is None else pattern[choice.head]
        share = share / share.max() if choice.by_value else share
        for query, row in enumerate(share):
            least = max(LEAST, np.sort(row)[-min(MOST_FOR_EACH, len(row))])
            for key, expected in enumerate(row):
                there = drawn.pop((layer, query, key), None)
                if choice.layer in (None, layer) and expected >= least:
                    assert there == pytest.approx(expected, rel=1e-12)
                else:
                    assert there is None
    assert not drawn


@pytest.mark.parametrize("shape", SHAPES)
def test_an_arc_runs_from_row_to_row(shape):
    """An arc starts beside its key's row in the stream before the heads and ends beside its query's row after them."""
    scene = with_arcs(tiny_scene(shape), ArcChoice())
    boxes, n = scene.pieces.boxes, len(scene.shown.trace.tokens)
    taps = scene.shown.trace.taps
    for arc in scene.arcs.arcs:
        source, target = boxes[arc.source], boxes[arc.target]
        for box, token, point in ((source, arc.key, arc.points[0]), (target, arc.query, arc.points[-1])):
            row = int((box.top - point[1]) / box.size[1] * n)
            assert row == token
        assert source.right < arc.points[0][0] < arc.points[-1][0] < target.left
        assert target.plane.tap in {f"blk.{arc.layer}.resid_mid", f"blk.{arc.layer}.resid_post"}
        assert f"blk.{arc.layer}.attn_out" in taps[target.plane.tap].inputs


def test_both_ends_of_arcs_are_named():
    """With one layer chosen, the token of each row stands beside it at the end where arcs arrive."""
    scene = with_arcs(tiny_scene("grouped queries"), ArcChoice(1))
    texts = [text.strip() or "␣" for text in scene.shown.trace.token_texts]
    target = scene.pieces.boxes[scene.arcs.arcs[0].target]
    row = target.size[1] / len(texts)
    at_end = [label for label in scene.arcs.labels if label.at[0] > target.right]
    rows = [int((target.top - label.at[1] - 0.34 * label.height) / row) for label in at_end]
    assert {i: label.text for i, label in zip(rows, at_end, strict=True)} == {
        i: text.replace("\n", "\\n") for i, text in enumerate(texts)
    }


def test_a_marked_token_shows_what_it_takes():
    """With a token chosen, only arcs into it are drawn, each thicker for a larger share."""
    scene = build_scene(shown(tiny_trace("grouped queries"), token=4, marked=True, arcs=ArcChoice(0, 1)))
    assert {a.query for a in scene.arcs.arcs} == {4}
    strengths = [a.strength for a in scene.arcs.arcs]
    assert strengths == sorted(strengths)
    radii = [scene.arcs.mesh.radii[scene.arcs.mesh.routes == i, 1].max() for i in range(len(strengths))]
    assert radii == sorted(radii)


@pytest.mark.parametrize("choice", [ArcChoice(), ArcChoice(1, 2), ArcChoice(0, None, True)])
def test_an_arc_is_as_thick_as_its_share_is_large(choice):
    """From the thinnest arc on, each further part of a share is the same further part of a radius."""
    arcs = with_arcs(tiny_scene("grouped queries"), choice).arcs
    radius = np.array([arcs.mesh.radii[arcs.mesh.routes == i, 1].max() for i in range(len(arcs.arcs))])
    share = np.array([arc.share for arc in arcs.arcs])
    assert share.max() - share.min() > 0.2
    slope, least = np.polyfit(share, radius, 1)
    assert 0 < least < 0.2 * slope
    np.testing.assert_allclose(radius, least + slope * share, rtol=1e-5)


def test_the_legend_says_how_much_is_left_out():
    """What all arcs that are too weak to be drawn would take together is printed, as part of everything."""
    scene = with_arcs(tiny_scene("many tokens"), ArcChoice(0, 1))
    pattern = scene.shown.trace["blk.0.attn_probs"][1].astype(float)
    share = 1 - sum(pattern[arc.query, arc.key] for arc in scene.arcs.arcs) / pattern.sum()
    assert share > 0.1
    assert f"weaker ones, {share:.0%} in all, are left out" in scene.arcs.note


def test_arcs_by_value_say_what_they_are_parts_of():
    """Weighed by values, thickness is no probability: the legend says of what it is a part."""
    scene = tiny_scene("grouped queries")
    assert "as parts of the layer's largest" in with_arcs(scene, ArcChoice(None, None, True)).arcs.note
    assert "as parts of the head's largest" in with_arcs(scene, ArcChoice(1, 2, True)).arcs.note


def test_values_weigh_by_their_length():
    """A value of length 5 taken with probability 1/2 weighs 2.5, whichever query head of the group takes it."""
    pattern = np.full((2, 1, 2), 0.5, np.float32)
    values = np.array([[[3.0, 4.0]], [[0.0, 0.0]]], np.float32)
    for head in (0, 1, None):
        assert taken(pattern, values, head).tolist() == [[2.5, 0.0]]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("mean", ArcChoice()),
        ("3", ArcChoice(3)),
        ("3.mean:value", ArcChoice(3, None, True)),
        ("12.31", ArcChoice(12, 31)),
    ],
)
def test_reading_a_choice(text, choice):
    """What is typed says which layer, which head, and what is weighed."""
    assert read_arcs(text) == choice


@pytest.mark.parametrize("choice", [ArcChoice(7), ArcChoice(0, 9)])
def test_what_is_not_there_is_refused(choice):
    """A layer or a head that the scene lacks is named in one sentence."""
    with pytest.raises(InputError, match="layer"):
        with_arcs(tiny_scene("grouped queries"), choice)
    with pytest.raises(InputError, match="such as"):
        read_arcs("first")
