"""Mouse and keys as pure functions of a camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refgguf.viz.scene import controls
from refgguf.viz.scene.camera import Camera

SIZE = (800, 600)
CAMERA = Camera(-30, 12, 34, target=(4.0, 5.0, 1.0), distance=60.0, zoom=1.2, shift=(0.1, -0.2))


def place(camera: Camera, point) -> np.ndarray:
    """Return where a point appears."""
    return camera.project(np.array([point], float), SIZE)[0, :2]


def test_turning_keeps_the_target_in_its_place():
    """Whatever is dragged, the point that the camera turns around stays where it is in the picture."""
    turned = controls.turn(CAMERA, 35, -20)
    assert place(turned, CAMERA.target) == pytest.approx(place(CAMERA, CAMERA.target))
    assert turned.azimuth != CAMERA.azimuth


def test_turning_drags_the_scene_along():
    """What stands before the target follows the mouse to the right and downwards."""
    near = np.array(CAMERA.target) + 5 * CAMERA.backward
    assert (place(controls.turn(CAMERA, 10, 0), near) - place(CAMERA, near))[0] > 1
    assert (place(controls.turn(CAMERA, 0, 10), near) - place(CAMERA, near))[1] > 1


def test_elevation_has_limits():
    """One cannot turn over the top."""
    assert controls.turn(CAMERA, 0, 1e6).elevation == controls.STEEPEST
    assert controls.turn(CAMERA, 0, -1e6).elevation == -controls.STEEPEST
    assert -180 <= controls.turn(CAMERA, 1e5, 0).azimuth <= 180


def test_moving_follows_the_mouse():
    """The target moves by exactly as many pixels as the mouse."""
    moved = controls.pan(CAMERA, 37, -12, SIZE)
    assert place(moved, CAMERA.target) - place(CAMERA, CAMERA.target) == pytest.approx((37, -12))


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.7])
def test_approaching_keeps_the_point_under_the_cursor(factor):
    """What lies under the cursor stays there while everything grows or shrinks around it."""
    point = controls.under(CAMERA, 120, 430, SIZE)
    assert place(CAMERA, point) == pytest.approx((120, 430))
    closer = controls.approach(CAMERA, factor, point)
    assert place(closer, point) == pytest.approx((120, 430))
    assert closer.distance == pytest.approx(60 * factor)


def test_approaching_stops_before_the_target():
    """The camera never gets to or past the target, nor endlessly far away."""
    assert controls.approach(CAMERA, 1e-9).distance == controls.NEAREST
    assert controls.approach(CAMERA, 1e12).distance == controls.FARTHEST


def test_flying_moves_eye_and_target_alike():
    """Direction and distance stay, the eye moves by what was asked."""
    moved = controls.fly(CAMERA, 1, 2, 3)
    assert np.linalg.norm(moved.eye - CAMERA.eye) == pytest.approx(np.sqrt(14))
    assert (moved.azimuth, moved.distance) == (CAMERA.azimuth, CAMERA.distance)


def test_a_flight_begins_and_ends_where_it_should():
    """At both ends the camera between two is one of them, and it turns the short way round."""
    end = replace(CAMERA, azimuth=170.0, distance=5.0, target=(0.0, 0.0, 0.0))
    start = replace(CAMERA, azimuth=-170.0)
    for share, camera in ((0.0, start), (1.0, end)):
        found = controls.between(start, end, share)
        assert np.cos(np.radians(found.azimuth - camera.azimuth)) == pytest.approx(1)
        assert found.distance == pytest.approx(camera.distance)
        assert found.target == pytest.approx(camera.target)
    assert abs(abs(controls.between(start, end, 0.5).azimuth) - 180) < 1e-6
