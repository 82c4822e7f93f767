"""Picking: which value of which tensor lies under the cursor, by a ray in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.parts import Box


@dataclass(frozen=True)
class Hit:
    """What a ray meets first.

    Attributes:
        box: number of the box.
        row: row of its plane.
        col: column of its plane.
        index: where in the tensor that value stands; None where nothing was computed.
        value: the value itself, not what a pooled cell shows; None where nothing was computed.
        distance: from the ray's origin.
    """

    box: int
    row: int
    col: int
    index: tuple[int, ...] | None
    value: float | None
    distance: float


class Picker:
    """Finds what rays meet among boxes.

    Args:
        boxes: the boxes, of which numbers are returned.
    """

    def __init__(self, boxes: Sequence[Box]):
        self.boxes = boxes
        self.low = np.array([b.origin for b in boxes], np.float64).reshape(-1, 3)
        self.high = self.low + np.array([b.size for b in boxes], np.float64).reshape(-1, 3)

    def pick(self, origin: np.ndarray, direction: np.ndarray) -> Hit | None:
        """Return the nearest hit of a ray, or None.

        Args:
            origin: (3,) where it begins.
            direction: (3,) of length 1.
        """
        if not len(self.boxes):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (self.low - origin) / direction, (self.high - origin) / direction
        # 0 / 0, a ray along a side exactly, puts no bound on that axis
        near = np.fmax(np.fmax.reduce(np.fmin(first, second), axis=1), 0.0)
        far = np.fmin.reduce(np.fmax(first, second), axis=1)
        outside = ((direction == 0) & ((origin < self.low) | (origin > self.high))).any(axis=1)
        distance = np.where((near <= far) & ~outside, near, np.inf)
        number = int(np.argmin(distance))
        if not np.isfinite(distance[number]):
            return None
        return self._hit(number, origin + distance[number] * direction, float(distance[number]))

    def _hit(self, number: int, point: np.ndarray, distance: float) -> Hit:
        plane = self.boxes[number].plane
        share = (point - self.low[number]) / (self.high[number] - self.low[number])
        n_rows, n_cols = plane.shape
        row = int(np.clip((1 - share[1]) * n_rows, 0, n_rows - 1))
        col = int(np.clip(share[0] * n_cols, 0, n_cols - 1))
        return cell_hit(self.boxes, number, row, col, distance)


def cell_hit(boxes: Sequence[Box], number: int, row: int, col: int, distance: float = 0.0) -> Hit:
    """Return a hit of one cell of a box, with the value that is there.

    Args:
        boxes: the boxes.
        number: of the box.
        row: row of its plane.
        col: column of its plane.
        distance: from where it is seen.
    """
    plane = boxes[number].plane
    return Hit(number, row, col, plane.index(row, col), plane.value(row, col), distance)


def hit_at(boxes: Sequence[Box], before: Hit) -> Hit | None:
    """Return a hit of the same place among boxes of the same tensors, with the value that is there now.

    Args:
        boxes: the boxes.
        before: a hit of others.

    Returns:
        None where the tensor has become too small for it.
    """
    plane = boxes[before.box].plane
    if before.row >= plane.shape[0] or before.col >= plane.shape[1]:
        return None
    return cell_hit(boxes, before.box, before.row, before.col, before.distance)
