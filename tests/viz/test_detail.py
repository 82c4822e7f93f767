"""Zooming in: of a box larger than the picture the part that is seen is held, as exactly as the screen can show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refgguf.viz.places import Place, around_cell, camera_on
from refgguf.viz.scene import atlas as atlas_module
from refgguf.viz.scene.atlas import build_atlas, detail_for
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.picking import Picker
from refgguf.viz.scene.planes import cut
from tests.support.scenes import tiny_scene

SIZE = (800, 500)
SHAPE = (6_000, 8_000)  # more cells than the texture has


@pytest.fixture(scope="module")
def scene():
    """A scene in which one box shows a huge matrix, of values that tell their place."""
    plain = tiny_scene("one head")
    number = next(i for i, b in enumerate(plain.pieces.boxes) if b.role == "neurons")
    rows, cols = np.ogrid[: SHAPE[0], : SHAPE[1]]
    values = (rows % 1009 - cols % 1013).astype(np.int16)
    boxes = list(plain.pieces.boxes)
    boxes[number] = replace(boxes[number], plane=cut("huge", ("row", "column"), values))
    return replace(plain, pieces=replace(plain.pieces, boxes=boxes)), number


@pytest.mark.parametrize("cell", [(0, 0), (3_000, 2_500), (5_999, 7_999), (17, 4_000)])
@pytest.mark.parametrize("angles", [None, (0, 0), (-70, 35)])
def test_every_value_that_is_seen_is_held(scene, cell, angles):
    """Close to a cell, whatever a ray through the picture hits in the box lies in the atlas, one value a cell."""
    scene, number = scene
    boxes = scene.pieces.boxes
    camera = camera_on(around_cell(scene, Place("cell", boxes[number].layer, None, number, cell)), SIZE)
    if angles is not None:
        camera = replace(camera, azimuth=float(angles[0]), elevation=float(angles[1]))
    atlas = build_atlas(boxes, *detail_for(boxes, camera, SIZE))
    assert atlas.values.shape[0] <= atlas_module.MOST_ROWS
    picker, found = Picker(boxes), 0
    for x in np.linspace(1, SIZE[0] - 1, 23):
        for y in np.linspace(1, SIZE[1] - 1, 23):
            hit = picker.pick(*camera.ray(x, y, SIZE))
            if hit is None or hit.box != number:
                continue
            found += 1
            row, col = hit.row // atlas.steps[number, 0], hit.col // atlas.steps[number, 1]
            first_col, first_row, last_col, last_row = atlas.held[number]
            assert first_row <= row < last_row
            assert first_col <= col < last_col
            left, top = atlas.rects[number, :2].astype(int)
            if (atlas.steps[number] == 1).all():
                assert atlas.values[top + row, left + col] == hit.value
    assert found > 20
    if angles is None:
        assert atlas.steps[number].tolist() == [1, 1]
        assert np.prod(atlas.held[number, 2:] - atlas.held[number, :2]) < 0.1 * np.prod(SHAPE)


def test_what_is_not_seen_is_pooled(scene):
    """A box behind the eye, or beside the picture, takes few cells."""
    scene, number = scene
    boxes = scene.pieces.boxes
    box = boxes[number]
    x, y, z = box.middle
    beyond = (x, y, z + 50.0)
    away = Camera(180.0, 0.0, 30.0, target=beyond, distance=20.0)
    assert (away.project(np.array([box.middle]), SIZE)[:, 2] <= 0).all()
    steps, parts = detail_for(boxes, away, SIZE)
    cells = -(-np.array(SHAPE) // steps[number])
    assert (cells <= atlas_module.COARSE).all()
    assert parts[number].tolist() == [0, 0, *SHAPE]
