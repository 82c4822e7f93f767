"""Picking: the very index and value under the cursor."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.scene.build import look_at
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.picking import Picker
from tests.support.scenes import SHAPES, tiny_scene, tiny_trace

SIZE = (1600, 900)


@pytest.mark.parametrize("shape", SHAPES)
def test_picking_returns_the_index_and_value_under_the_cursor(shape):
    """A ray through the middle of any cell, seen from the front, finds that cell of that tensor and its value."""
    scene, trace = tiny_scene(shape), tiny_trace(shape)
    camera = look_at(scene, SIZE, Camera(0, 0, 20)).camera
    picker = Picker(scene.pieces.boxes)
    random = np.random.default_rng(3)
    for number in random.permutation(len(scene.pieces.boxes))[:60]:
        box = scene.pieces.boxes[number]
        rows, cols = box.plane.shape
        row, col = int(random.integers(rows)), int(random.integers(cols))
        point = np.array(box.origin) + np.array(box.size) * ((col + 0.5) / cols, 1 - (row + 0.5) / rows, 1)
        x, y, _ = camera.project(point[None], SIZE)[0]
        hit = picker.pick(*camera.ray(x, y, SIZE))
        assert (hit.box, hit.row, hit.col) == (number, row, col)
        assert hit.index == box.plane.index(row, col)
        if hit.index is None:
            assert hit.value is None
        else:
            assert hit.value == trace[box.plane.tap][hit.index]


def test_the_nearest_box_is_hit():
    """Looking along the model, the first of the boxes in a row is found, not one behind it."""
    boxes = tiny_scene("grouped queries").pieces.boxes
    first, second = sorted((b for b in boxes if b.role == "spine"), key=lambda b: b.left)[:2]
    origin = np.array([first.left - 50, first.middle[1] + 0.3, first.middle[2]])
    hit = Picker([second, first]).pick(origin, np.array([1.0, 0.0, 0.0]))
    assert hit.box == 1
    assert hit.distance == pytest.approx(50)
    assert hit.col == 0


@pytest.mark.parametrize("direction", [(0, 1, 0), (-1, 0, 0), (0, 0, 1)])
def test_rays_that_meet_nothing(direction):
    """A ray above everything, and one that leaves, hit nothing."""
    boxes = tiny_scene("one head").pieces.boxes
    high = max(b.top for b in boxes) + 1
    assert Picker(boxes).pick(np.array([0.0, high, 50.0]), np.array(direction, float)) is None


def test_nothing_to_pick():
    """Without boxes nothing is hit."""
    assert Picker([]).pick(np.zeros(3), np.array([0, 0, -1.0])) is None
