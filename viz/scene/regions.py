"""Parts of a picture: where things are seen, so that only what has changed there is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.camera import Camera, box_corners

Region = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels of the picture
# pixels by which what is drawn may reach beyond its place: thin tubes that glow do, and boxes that close a gap
SPILL = 3


@dataclass(frozen=True)
class Sight:
    """A part of a picture, and how the world is seen in it.

    Attributes:
        camera: where from.
        size: width and height of the whole picture in pixels.
        region: the part.
    """

    camera: Camera
    size: tuple[int, int]
    region: Region


def whole(size: tuple[int, int]) -> Region:
    """Return all of a picture of some width and height."""
    return 0, 0, size[0], size[1]


def joined(one: Region | None, other: Region | None) -> Region | None:
    """Return the smallest region that holds both; None stands for nothing."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def area(region: Region) -> int:
    """Return how many pixels a region has."""
    return (region[2] - region[0]) * (region[3] - region[1])


def places_of(low: np.ndarray, high: np.ndarray, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Return where upright boxes of the world are seen.

    Args:
        low: (n, 3) their lowest corners.
        high: (n, 3) their highest.
        camera: how they are seen.
        size: width and height of the picture in pixels.

    Returns:
        (n, 4) left, top, right, bottom in pixels, also beyond the picture; infinite where a corner lies behind the eye.
    """
    seen = camera.project(box_corners(low, high), size).reshape(-1, 8, 3)
    found = np.concatenate([seen[..., :2].min(axis=1), seen[..., :2].max(axis=1)], axis=1)
    return np.where((seen[..., 2] <= 0).any(axis=1)[:, None], (-np.inf, -np.inf, np.inf, np.inf), found)


def around(places: np.ndarray, size: tuple[int, int]) -> Region | None:
    """Return the part of a picture that holds what is seen at some places, None if nothing of it is in the picture.

    Args:
        places: (n, 4) from `places_of`.
        size: width and height of the picture in pixels.
    """
    if not len(places):
        return None
    left, top = np.clip(np.floor(places[:, :2].min(axis=0)) - SPILL, 0, size).astype(int)
    right, bottom = np.clip(np.ceil(places[:, 2:].max(axis=0)) + SPILL, 0, size).astype(int)
    return (int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None


def are_in(places: np.ndarray, region: Region) -> np.ndarray:
    """Tell which things, seen at places, (n, 4) from `places_of`, reach into a region; (n,) bool."""
    left, top, right, bottom = region
    across = (places[:, 0] - SPILL < right) & (places[:, 2] + SPILL > left)
    return across & (places[:, 1] - SPILL < bottom) & (places[:, 3] + SPILL > top)
