"""A tensor as a small picture of coloured cells, and the value that each of them shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import colour_of
from refgguf.viz.scene.picking import Hit

MOST = 160, 340  # rows and columns of cells


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One tensor's values as colours.

    Attributes:
        colours: (row, col, 3) uint8.
        step: how many rows and columns of values a cell stands for; it shows the one farthest from zero.
    """

    colours: np.ndarray
    step: tuple[int, int]

    def cell_of(self, hit: Hit) -> tuple[int, int]:
        """Return the row and column of the cell that shows what was hit."""
        return hit.row // self.step[0], hit.col // self.step[1]


def heat_map(scene: Scene, number: int) -> HeatMap:
    """Return the heat map of a box."""
    box = scene.pieces.boxes[number]
    step = tuple(max(1, -(-n // most)) for n, most in zip(box.plane.shape, MOST, strict=True))
    return HeatMap(colour_of(box.plane.pooled(*step), scene.scale(box), scene.theme.name), step)


def value_in(scene: Scene, number: int, step: tuple[int, int], row: int, col: int) -> Hit:
    """Return the value at a cell of a box's heat map: of those that it stands for, the farthest from zero."""
    plane = scene.pieces.boxes[number].plane
    rows, cols = (
        range(at * step, min((at + 1) * step, n))
        for at, step, n in zip((row, col), step, plane.shape, strict=True)
    )
    places = [(r, c) for r in rows for c in cols]
    values = [plane.value(*place) for place in places]
    sizes = [-1.0 if v is None or not np.isfinite(v) else abs(v) for v in values]
    best = int(np.argmax(sizes))
    return Hit(number, *places[best], plane.index(*places[best]), values[best], 0.0)
