"""What each box shows: the part of its tensor that place, head and axes promise, read anew from the trace."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.picking import Picker, hit_at
from refgguf.viz.scene.planes import ABSENT
from tests.support.scenes import SHAPES, shown, tiny_scene, tiny_trace
from tests.support.tiny_trace import scaled

every_shape = pytest.mark.parametrize("shape", SHAPES)
# role → which scale its values are read against
SCALES = {
    "embedding": "residual",
    "spine": "residual",
    "q": "qkv",
    "k": "qkv",
    "v": "values",
    "z": "values",
    "pattern": "attention",
    "neurons": "ffn",
    "expert": "ffn",
    "router": "router",
    "logits": "logits",
}


def promised(trace, box: Box) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the values that a box stands for, and what its rows and columns are."""
    values, head = trace[box.plane.tap], box.head
    if box.role == "pattern":  # of one head: a row for each query, a column for each key
        return values[head], ("query", "key")
    if box.role == "k":  # transposed: a column for each key stands above its column of the pattern
        return values[:, head].T, ("d_head", "token")
    if box.role in ("q", "v", "z"):
        return values[:, head], ("token", "d_head")
    if box.role == "expert":  # tokens that went to other experts have no values
        rows = np.full((values.shape[0], values.shape[2]), ABSENT, np.float32)
        for token, slot in np.argwhere(trace[f"blk.{box.layer}.router_topk"] == head):
            rows[token] = values[token, slot]
        return rows, ("token", "d_ff")
    return values, ("token", box.plane.axes[1])


@every_shape
def test_a_box_shows_its_own_head_the_right_way_round(shape):
    """Queries, keys, patterns, experts: the very slice of the trace, rows downwards and columns to the right."""
    trace = tiny_trace(shape)
    for box in tiny_scene(shape).pieces.boxes:
        values, axes = promised(trace, box)
        np.testing.assert_array_equal(box.plane.pooled(1, 1), values, err_msg=f"{box.plane.tap} {box.head}")
        assert box.plane.axes == axes


@every_shape
def test_a_box_has_the_proportions_of_what_it_shows(shape):
    """A key's column is as wide as the pattern's column below it, a query's row as high as the pattern's beside it."""
    boxes = tiny_scene(shape).pieces.boxes
    for role, side in (("k", 0), ("q", 1), ("z", 1)):
        cells = {
            round(b.size[side] / b.plane.shape[1 - side], 9) for b in boxes if b.role in (role, "pattern")
        }
        assert len(cells) == 1


@every_shape
def test_a_kind_has_one_scale_in_all_layers(shape):
    """Which scale a box is read against depends on what it is, not on its layer; zero is its middle or its end."""
    scene = tiny_scene(shape)
    for box in scene.pieces.boxes:
        assert box.scale == SCALES[box.role], f"{box.plane.tap} in layer {box.layer}"
        scale = scene.scale(box)
        assert scale.low in (-scale.high, 0.0)
        values = scene.shown.trace[box.plane.tap]
        assert scale.minimum <= values.min()
        assert values.max() <= scale.maximum


def test_a_step_is_read_against_the_scales_of_the_step_before():
    """Values a tenth smaller are drawn by the same scales as before, so that they are seen to be smaller."""
    before = tiny_scene("four experts")
    smaller = scaled(tiny_trace("four experts"), 0.9)
    after = build_scene(shown(smaller), like=before.scales)
    assert {k: (s.low, s.high, s.knee) for k, s in after.scales.items()} == {
        k: (s.low, s.high, s.knee) for k, s in before.scales.items()
    }
    alone = build_scene(shown(smaller)).scales
    assert any(alone[k].high < before.scales[k].high for k in alone)


def test_a_place_has_its_new_value_after_a_step():
    """What was under the cursor is looked up anew where the values have changed, and is nothing where there is none."""
    scene, trace = tiny_scene("grouped queries"), scaled(tiny_trace("grouped queries"), 0.5)
    boxes = scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == "z")
    box = boxes[number]
    point = np.array(box.origin) + np.array(box.size) * (0.3, 0.3, 1) + (0, 0, 5)
    before = Picker(boxes).pick(point, np.array([0.0, 0.0, -1.0]))
    after = hit_at(build_scene(shown(trace)).pieces.boxes, before)
    assert (after.box, after.index) == (number, before.index)
    assert after.value == trace[box.plane.tap][before.index] == np.float32(before.value) * np.float32(0.5)
    assert hit_at(tiny_scene("one token").pieces.boxes, before) is None
