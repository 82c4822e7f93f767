"""Soft shadows on the floor below the boxes, as one small picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.parts import Pieces

DENSITY = 3.0  # pixels per world unit, less where the model is long
MOST_PIXELS = 4000
BLUR = 2.2  # world units
SPREAD = 4.0  # how much deeper than its box a shadow is, at either side


@dataclass(frozen=True, eq=False)
class Shadows:
    """A picture of the shadows.

    Attributes:
        values: (shelf · depth, width) float32, 0 … 1: the floors of all shelves, one behind the other.
        place: left, back, width, depth of the ground that it covers on each shelf, world units.
    """

    values: np.ndarray
    place: tuple[float, float, float, float]


def shadows_of(pieces: Pieces) -> Shadows:
    """Cast the shadows of all boxes straight down, softer the higher a box is."""
    if not pieces.cards:
        return Shadows(np.zeros((1, 1), np.float32), (0.0, 0.0, 1.0, 1.0))
    left, right = min(c.x for c in pieces.cards), max(c.x + c.width for c in pieces.cards)
    back, front = min(c.z for c in pieces.cards), max(c.z + c.depth for c in pieces.cards)
    density = min(DENSITY, MOST_PIXELS / (right - left), MOST_PIXELS / ((front - back) * len(pieces.shelves)))
    shape = max(int((front - back) * density), 2), max(int((right - left) * density), 2)
    floors = np.zeros((len(pieces.shelves), *shape), np.float32)
    for box in pieces.boxes:
        shelf = pieces.shelf_at(box.bottom)
        near = 1.0 if box.bottom < pieces.shelves[shelf] else 0.5
        x0, x1 = (box.left - 0.4 - left) * density, (box.right + 0.4 - left) * density
        z0, z1 = (
            (box.origin[2] - SPREAD - back) * density,
            (box.origin[2] + box.size[2] + SPREAD - back) * density,
        )
        patch = floors[shelf, max(int(z0), 0) : int(z1) + 1, max(int(x0), 0) : int(x1) + 1]
        np.maximum(patch, near, out=patch)
    for axis in (1, 2):
        for _ in range(3):  # three box filters are close to a Gaussian
            floors = _box_filter(floors, max(int(BLUR * density), 1), axis)
    return Shadows(floors.reshape(-1, shape[1]), (left, back, right - left, front - back))


def _box_filter(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    values = np.moveaxis(values, axis, 0)
    padded = np.pad(values, [(reach + 1, reach), (0, 0), (0, 0)])
    total = np.cumsum(padded, axis=0, dtype=np.float64)
    mean = (total[2 * reach + 1 :] - total[: -(2 * reach + 1)]) / (2 * reach + 1)
    return np.moveaxis(mean, 0, axis).astype(np.float32)
