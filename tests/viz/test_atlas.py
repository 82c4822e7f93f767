"""The atlas: every box's cells, each in its own place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refgguf.viz.scene import atlas as atlas_module
from refgguf.viz.scene.atlas import build_atlas, steps_for
from refgguf.viz.scene.build import look_at
from refgguf.viz.scene.camera import Camera
from tests.support.scenes import SHAPES, tiny_scene


@pytest.mark.parametrize("shape", SHAPES)
def test_every_box_has_its_cells_in_the_atlas(shape):
    """Where a box's rectangle lies, there are exactly its pooled values; no two rectangles overlap."""
    look = look_at(tiny_scene(shape), (800, 500))
    atlas = look.atlas
    taken = np.zeros(atlas.values.shape, bool)
    for box, rect, step in zip(look.scene.pieces.boxes, atlas.rects, atlas.steps, strict=True):
        cells = box.plane.pooled(*step)
        rows, cols = cells.shape
        x, y = int(rect[0]), int(rect[1])
        assert np.array_equal(atlas.values[y : y + rows, x : x + cols], cells, equal_nan=True)
        assert not taken[y : y + rows, x : x + cols].any()
        taken[y : y + rows, x : x + cols] = True
        assert rect[2:] == pytest.approx(np.array(box.plane.shape)[::-1] / step[::-1])


def test_close_boxes_are_not_pooled_and_far_ones_are():
    """A box that fills the picture keeps its values; far away, groups of them share a cell, but never too many."""
    scene = tiny_scene("wide")
    boxes = [b for b in scene.pieces.boxes if b.role == "neurons"]
    middle = np.array(boxes[0].middle)
    near = Camera(0, 0, 30, target=tuple(middle), distance=boxes[0].size[0])
    far = Camera(0, 0, 30, target=tuple(middle), distance=3000.0)
    assert steps_for(boxes, near, (8000, 4000)).tolist() == [[1, 1]]
    assert steps_for(boxes, far, (400, 200)).tolist() == [[1, -(-2048 // atlas_module.FEWEST)]]


def test_far_boxes_are_pooled_as_near_ones_of_their_kind_are():
    """Of two boxes of one shape, the far one's cells stand for no more values: distance alone darkens nothing."""
    box = next(b for b in tiny_scene("wide").pieces.boxes if b.role == "neurons")
    away = replace(box, origin=(box.left, box.bottom, -2500.0))
    camera = Camera(0, 0, 30, target=tuple(box.middle), distance=4.5 * box.size[0])
    near, far = steps_for([box, away], camera, (400, 200))
    assert near[1] > 1
    assert near.tolist() == far.tolist()
    assert steps_for([away], camera, (400, 200))[0, 1] > far[1]


def test_the_atlas_stays_within_a_texture(monkeypatch):
    """When all cells together are too many, large boxes become coarser until they fit."""
    monkeypatch.setattr(atlas_module, "WIDTH", 256)
    monkeypatch.setattr(atlas_module, "MOST_ROWS", 64)
    boxes = tiny_scene("many tokens").pieces.boxes
    atlas = build_atlas(boxes, np.ones((len(boxes), 2), int))
    assert atlas.values.shape[0] <= 64
    assert atlas.values.shape[1] == 256
    assert atlas.pooled
    for box, rect, step in zip(boxes, atlas.rects, atlas.steps, strict=True):
        cells = box.plane.pooled(*step)
        x, y = int(rect[0]), int(rect[1])
        assert np.array_equal(atlas.values[y : y + cells.shape[0], x : x + cells.shape[1]], cells)
