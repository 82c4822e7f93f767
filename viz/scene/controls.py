"""How mouse and keys move a camera: pure functions from camera to camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refgguf.viz.scene.camera import Camera

TURN = 0.28  # degrees for each pixel
STEEPEST = 85.0
NEAREST, FARTHEST = 1.0, 1e5


def turn(camera: Camera, dx: float, dy: float) -> Camera:
    """Turn around the target, as if the scene were dragged by so many pixels."""
    elevation = float(np.clip(camera.elevation + dy * TURN, -STEEPEST, STEEPEST))
    azimuth = (camera.azimuth - dx * TURN + 180) % 360 - 180
    return replace(camera, azimuth=azimuth, elevation=elevation)


def pan(camera: Camera, dx: float, dy: float, size: tuple[int, int]) -> Camera:
    """Move sideways so that what lies at the target's distance follows the mouse by so many pixels."""
    right, up = camera.axes()
    unit = pixel_at(camera, camera.distance, size)
    target = np.array(camera.target) - right * dx * unit + up * dy * unit
    return replace(camera, target=tuple(float(t) for t in target))


def pixel_at(camera: Camera, distance: float, size: tuple[int, int]) -> float:
    """Return how wide a pixel is at a distance, in world units."""
    return 2 * distance * float(np.tan(np.radians(camera.fov) / 2)) / (camera.zoom * size[1])


def approach(camera: Camera, factor: float, point: np.ndarray | None = None) -> Camera:
    """Go closer to a point, or away from it; it stays where it is in the picture.

    Args:
        camera: the camera.
        factor: what the distance is multiplied with.
        point: (3,) where to; the target if None.
    """
    point = np.array(camera.target) if point is None else np.asarray(point, float)
    distance = float(np.clip(camera.distance * factor, NEAREST, FARTHEST))
    factor = distance / camera.distance
    target = point + (np.array(camera.target) - point) * factor
    return replace(camera, target=tuple(float(t) for t in target), distance=distance)


def fly(camera: Camera, right: float, up: float, forward: float) -> Camera:
    """Move the camera and its target by so many world units, without turning."""
    across, upward = camera.axes()
    target = np.array(camera.target) + across * right + upward * up - camera.backward * forward
    return replace(camera, target=tuple(float(t) for t in target))


def look_around(camera: Camera, dx: float, dy: float) -> Camera:
    """Look elsewhere from where the camera stands, as if the scene were dragged by so many pixels."""
    turned = turn(camera, -dx * 0.5, -dy * 0.5)
    target = camera.eye - turned.distance * turned.backward
    return replace(turned, target=tuple(float(t) for t in target))


def under(camera: Camera, x: float, y: float, size: tuple[int, int]) -> np.ndarray:
    """Return the point under a pixel in the plane of the boxes, or at the target's distance if it is not there."""
    origin, direction = camera.ray(x, y, size)
    if abs(direction[2]) > 0.05:
        along = (0.75 - origin[2]) / direction[2]
        if 0 < along < 20 * camera.distance:
            return origin + along * direction
    return origin + camera.distance * direction


def between(start: Camera, end: Camera, share: float) -> Camera:
    """Return a camera on the way from one to another; share runs from 0 to 1, slow at both ends."""
    t = share * share * (3 - 2 * share)
    swing = (end.azimuth - start.azimuth + 180) % 360 - 180

    def mix(a: float, b: float) -> float:
        return a + (b - a) * t

    return Camera(
        azimuth=start.azimuth + swing * t,
        elevation=mix(start.elevation, end.elevation),
        fov=mix(start.fov, end.fov),
        target=tuple(mix(a, b) for a, b in zip(start.target, end.target, strict=True)),
        distance=float(np.exp(mix(np.log(start.distance), np.log(end.distance)))),
        zoom=float(np.exp(mix(np.log(start.zoom), np.log(end.zoom)))),
        shift=tuple(mix(a, b) for a, b in zip(start.shift, end.shift, strict=True)),
    )
