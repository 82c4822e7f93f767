"""Regions: where things are seen, so that only that part of a picture is drawn anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refgguf.viz.scene.build import look_at
from refgguf.viz.scene.regions import are_in, area, around, joined, places_of, whole
from tests.support.scenes import tiny_scene

SIZE = (800, 500)


def test_regions_are_joined():
    """The smallest region that holds both; nothing changes nothing."""
    assert joined((1, 2, 3, 4), (2, 0, 9, 3)) == (1, 0, 9, 4)
    assert joined(None, (1, 2, 3, 4)) == joined((1, 2, 3, 4), None) == (1, 2, 3, 4)
    assert joined(None, None) is None
    assert area(whole((30, 20))) == 600


def test_a_region_holds_all_of_a_box():
    """Points within a box are seen within its place, and that lies in the region around it."""
    look = look_at(tiny_scene("grouped queries"), SIZE)
    boxes = look.scene.pieces.boxes
    low = np.array([b.origin for b in boxes])
    high = low + [b.size for b in boxes]
    places = places_of(low, high, look.camera, SIZE)
    share = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3), axis=-1).reshape(-1, 3)
    for i in range(len(boxes)):
        x, y, _ = look.camera.project(low[i] + (high[i] - low[i]) * share, SIZE).T
        left, top, right, bottom = places[i]
        assert (x >= left - 1e-6).all()
        assert (x <= right + 1e-6).all()
        assert (y >= top - 1e-6).all()
        assert (y <= bottom + 1e-6).all()
        region = around(places[[i]], SIZE)
        assert are_in(places[[i]], region).all()
        assert 0 < area(region) < area(whole(SIZE))


def test_what_surrounds_the_eye_is_everywhere():
    """A thing with a corner behind the eye may be anywhere in the picture; one beside the picture is nowhere."""
    look = look_at(tiny_scene("grouped queries"), SIZE)
    eye = look.camera.eye
    assert around(places_of(eye[None] - 1, eye[None] + 1, look.camera, SIZE), SIZE) == whole(SIZE)
    right, _ = look.camera.axes()
    beside = np.asarray(look.camera.target) + 1e4 * right
    assert around(places_of(beside[None], beside[None] + 1, look.camera, SIZE), SIZE) is None
    assert around(np.zeros((0, 4)), SIZE) is None


@pytest.mark.parametrize("zoom", [0.5, 4.0])
def test_places_follow_the_camera(zoom):
    """Twice as far from the middle of the picture when it is enlarged twice."""
    look = look_at(tiny_scene("one head"), SIZE)
    box = look.scene.pieces.boxes[0]
    low, high = np.array([box.origin]), np.array([box.origin]) + box.size
    camera = replace(look.camera, shift=(0.0, 0.0))
    near = places_of(low, high, replace(camera, zoom=camera.zoom * zoom), SIZE)
    middle = np.tile(np.array(SIZE) / 2, 2)
    assert near - middle == pytest.approx((places_of(low, high, camera, SIZE) - middle) * zoom)
