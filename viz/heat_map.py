"""A tensor as a small picture of coloured cells, and the value that each of them shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import colour_of
from refgguf.viz.scene.picking import Hit, cell_hit
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.sampling import glance

MOST = 160, 340  # rows and columns of cells


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One tensor's values as colours.

    Attributes:
        colours: (row, col, 3) uint8.
        step: how many rows and columns of values a cell stands for; it shows the one farthest from zero.
        apart: how far apart the rows are that it is made of; 1 if of all.
    """

    colours: np.ndarray
    step: tuple[int, int]
    apart: int = 1

    def cell_of(self, hit: Hit) -> tuple[int, int]:
        """Return the row and column of the cell that shows what was hit."""
        return hit.row // self.step[0], hit.col // self.step[1]


def heat_map(scene: Scene, number: int) -> HeatMap:
    """Return the heat map of a box."""
    box = scene.pieces.boxes[number]
    rows, cols = (max(1, -(-n // most)) for n, most in zip(box.plane.shape, MOST, strict=True))
    rows, apart = glance(box.plane, rows)
    if apart > 1:
        n_rows, n_cols = box.plane.shape
        cells = box.plane.part(slice(0, n_rows), slice(0, n_cols), rows, cols, apart)
    elif getattr(box.plane, "uniform", False) and getattr(box.plane, "costly", 0.0):
        cells = box.plane.pooled(rows, cols, scene.scales_apart)  # its one figure, which is known
    else:
        cells = box.plane.pooled(rows, cols)
    return HeatMap(colour_of(cells, scene.scale(box), scene.theme.name), (rows, cols), apart)


def value_in(scene: Scene, number: int, step: tuple[int, int], row: int, col: int) -> Hit:
    """Return the value at a cell of a box's heat map: of those that it stands for, the one whose colour it has.

    That is NaN where there is any, else the farthest from zero, as in `pool`.
    """
    plane = scene.pieces.boxes[number].plane
    rows, cols = (
        range(at * step, min((at + 1) * step, n))
        for at, step, n in zip((row, col), step, plane.shape, strict=True)
    )
    if getattr(plane, "costly", 0.0):  # all are decoded at once
        values = plane.part(slice(rows.start, rows.stop), slice(cols.start, cols.stop)).reshape(-1)
        there = values != ABSENT
    else:
        found = [plane.value(r, c) for r in rows for c in cols]
        there = np.array([v is not None for v in found])
        values = np.array([0.0 if v is None else v for v in found])
    ranks = np.where(there, np.abs(values), -1.0)  # NaN is taken for the greatest
    best = int(np.argmax(ranks))
    if values[best] < 0 and (positive := np.flatnonzero(there & (values == -values[best]))).size:
        best = int(positive[0])  # of two equally far from zero
    place = rows[best // len(cols)], cols[best % len(cols)]
    return cell_hit(scene.pieces.boxes, number, *place)
