"""Which rows of a file's weights are read for a picture: all of them, or of a large model every n-th.

Weights are decoded when they are seen, and an overview of a large model shows all of them at once, thousands to a cell.
What is seen most finely is read whole; of the rest, if it is too much to be decoded while somebody waits, every n-th
row is read, the same n in all boxes, so that boxes can be compared. A cell then has at least one row that is read.
Nothing is random: the same picture reads the same rows. Where a row has cells of its own, nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.planes import Plane
from refgguf.viz.scene.scales import CELLS

MOST_WHOLE = 1 << 28  # values that are read whole for one picture, at most
MOST_SAMPLED = 1 << 27  # values that are read of all the rest, at most
MOST_GLANCED = 1 << 22  # values that are read of one plane by itself, at most


def rows_apart(boxes: Sequence[Box], steps: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Choose how far apart the rows are that are read of each box.

    Args:
        boxes: the boxes.
        steps: (box, 2) int: rows and columns for each cell.
        parts: (box, 4) int: first row, first column, and the row and column after the last that are needed.

    Returns:
        (box,) int: 1 where every row is read.
    """
    costly = np.array([getattr(box.plane, "costly", 0.0) for box in boxes], float)
    # whole rows are decoded, however few of their columns are needed; one figure is of all rows, whatever is seen
    uniform = np.array([getattr(box.plane, "uniform", False) for box in boxes], bool)
    shape = np.array([box.plane.shape for box in boxes]).reshape(-1, 2)
    volume = costly * np.where(uniform, shape[:, 0], parts[:, 2] - parts[:, 0]) * shape[:, 1]
    apart = np.ones(len(boxes), int)
    rest = volume.astype(np.int64)
    room = MOST_WHOLE
    for step in np.unique(steps[:, 0]):  # the finest first; boxes that are equally fine are treated alike
        chosen = steps[:, 0] == step
        room -= int(rest[chosen].sum())
        if room < 0 and step > 1:
            break
        rest[chosen] = 0
    left = int(rest.sum())
    if left > MOST_SAMPLED:
        # a power of two, by which most heads and matrices can be divided
        apart[rest > 0] = 1 << (-(-left // MOST_SAMPLED) - 1).bit_length()
    return apart


def coarsened(boxes: Sequence[Box], steps: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return steps of cells that are made of equally many rows that are read; arguments as for `rows_apart`.

    Where rows are left out, cells coarser than those of the scales are made of whole such cells: what was read for the
    scales is not read again.
    """
    shape = np.array([box.plane.shape for box in boxes]).reshape(-1, 2)
    apart = rows_apart(boxes, steps, parts)[:, None]
    each = np.concatenate([apart, np.ones_like(apart)], axis=1)
    fine, coarse = (-(-s // each) * each for s in (np.maximum(-(-shape // CELLS), 1), steps))
    coarse = np.where(coarse >= fine, coarse // fine * fine, coarse)
    return np.where(apart > 1, np.minimum(coarse, shape), steps)


def whole_boxes(boxes: Sequence[Box], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose what is read of all boxes, whoever looks at them.

    Args:
        boxes: the boxes.
        most: cells that rows and columns are pooled to at most.

    Returns:
        (box, 2) int: rows and columns for each cell; (box,) int: how far apart the rows are that are read.
    """
    shape = np.array([box.plane.shape for box in boxes]).reshape(-1, 2)
    parts = np.concatenate([np.zeros_like(shape), shape], axis=1)
    fine = np.maximum(-(-shape // most), 1)
    return coarsened(boxes, fine, parts), rows_apart(boxes, fine, parts)


def glance(plane: Plane, row_step: int) -> tuple[int, int]:
    """Choose which rows of one plane are read while somebody waits for a small picture of it.

    Args:
        plane: the plane.
        row_step: rows that a cell of the picture stands for, at least.

    Returns:
        rows of a cell, and how far apart those are that are read: 1 for all.
    """
    free = getattr(plane, "uniform", False) or not getattr(plane, "costly", 0.0)
    n_values = 0 if free else plane.shape[0] * plane.shape[1]
    if n_values <= MOST_GLANCED:
        return row_step, 1
    apart = 1 << (-(-n_values // MOST_GLANCED) - 1).bit_length()
    return -(-row_step // apart) * apart, apart


def rows_read(first: int, end: int, row_step: int, apart: int) -> np.ndarray:
    """Return which rows are read: of each cell the first and every `apart`-th after it.

    Args:
        first: first row, with which a cell begins.
        end: the row after the last.
        row_step: rows of a cell.
        apart: how far apart they are.
    """
    within = np.arange(0, row_step, apart)
    rows = (np.arange(first, end, row_step)[:, None] + within).reshape(-1)
    return rows[rows < end]
