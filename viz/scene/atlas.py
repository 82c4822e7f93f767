"""The atlas: the values of all boxes side by side in one texture, pooled to what the screen can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.parts import Box

WIDTH = 4096
MOST_ROWS = 4096  # 16.8 million cells, 67 MB
# a cell that stands for several values is this wide, so that it is seen as a cell
PIXELS_PER_CELL = 3.0
# a box that appears small is pooled no more than the largest of its role and shape, or to COARSE cells; no box at all
# to less than FEWEST. The shader then averages colours, as the eye does, so that distance does not darken a box
COARSE, FEWEST = 32, 12


@dataclass(frozen=True, eq=False)
class Atlas:
    """Values of boxes in one array.

    Attributes:
        values: (rows, WIDTH) float32.
        rects: (box, 4) float32: left, top of each box's cells in it; columns, rows of cells, which are no whole
            numbers where the last group of a pooled tensor is smaller than the others.
        steps: (box, 2) int: how many rows and columns of the tensor a cell stands for.
    """

    values: np.ndarray
    rects: np.ndarray
    steps: np.ndarray

    @property
    def pooled(self) -> bool:
        """Whether any cell stands for more than one value."""
        return bool((self.steps > 1).any())


def steps_for(boxes: Sequence[Box], camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Choose how many values of each box share a cell: as few as the screen can show apart.

    Args:
        boxes: the boxes.
        camera: how they are seen.
        size: width and height of the picture in pixels.

    Returns:
        (box, 2) int: rows and columns of the tensor for each cell.
    """
    if not boxes:
        return np.ones((0, 2), int)
    origin = np.array([b.origin for b in boxes])
    extent = np.array([b.size for b in boxes])
    corner = [np.array(c) for c in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))]
    seen = [camera.project(origin + extent * c, size) for c in corner]
    wide = np.maximum(_far(seen[0], seen[1]), _far(seen[2], seen[3]))
    tall = np.maximum(_far(seen[0], seen[2]), _far(seen[1], seen[3]))
    places = np.stack(seen)
    inside = (
        (places[..., :2].max(0) > 0).all(1)
        & (places[..., :2].min(0) < size).all(1)
        & (places[..., 2] > 0).any(0)
    )
    behind = (places[..., 2] <= 0).any(0)
    # a box that the camera looks along has no place in the picture for all its corners: what is nearest counts
    near = np.linalg.norm(camera.eye - np.clip(camera.eye, origin, origin + extent), axis=1)
    unit = size[1] * camera.zoom / (2 * np.tan(np.radians(camera.fov) / 2)) / np.maximum(near, 1e-3)
    wide, tall = (
        np.where(inside, np.where(behind, length * unit, x), np.minimum(x, COARSE))
        for x, length in ((wide, extent[:, 0]), (tall, extent[:, 1]))
    )
    shape = np.array([b.plane.shape for b in boxes])
    room = np.maximum(np.stack([tall, wide], axis=1) / PIXELS_PER_CELL, FEWEST)
    alike = [(b.role, *b.plane.shape) for b in boxes]
    largest = dict.fromkeys(alike, float(FEWEST))
    for key, cells in zip(alike, room, strict=True):
        largest[key] = np.maximum(largest[key], cells)
    room = np.maximum(room, np.minimum(np.array([largest[key] for key in alike]), COARSE))
    steps = np.maximum(np.ceil(shape / room - 1e-9), 1).astype(int)
    uniform = np.array([getattr(b.plane, "uniform", False) for b in boxes])
    return np.where(uniform[:, None], shape, steps)  # one cell is enough where all are the same


def _far(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(*(a - b)[:, :2].T)


def build_atlas(boxes: Sequence[Box], steps: np.ndarray) -> Atlas:
    """Pool the boxes' values and pack them.

    Args:
        boxes: the boxes.
        steps: (box, 2) from `steps_for`; coarsened here as far as the texture's size demands.
    """
    shape = np.array([b.plane.shape for b in boxes]).reshape(-1, 2)
    steps = np.array(steps)
    while True:
        cells = -(-shape // steps)
        places, n_rows = _pack(cells)
        too_wide = cells[:, 1] > WIDTH
        if n_rows <= MOST_ROWS and not too_wide.any():
            break
        coarser = too_wide | (cells.prod(axis=1) >= np.median(cells.prod(axis=1)))
        steps = np.where(coarser[:, None] & (cells > 1), steps * 2, steps)
    values = np.zeros((max(n_rows, 1), WIDTH), np.float32)
    for box, (x, y), (rows, cols), step in zip(boxes, places, cells, steps, strict=True):
        values[y : y + rows, x : x + cols] = box.plane.pooled(*(int(s) for s in step))
    rects = np.concatenate([places, (shape / steps)[:, ::-1]], axis=1).astype(np.float32)
    return Atlas(values, rects, steps)


def _pack(cells: np.ndarray) -> tuple[np.ndarray, int]:
    """Put rectangles of (rows, cols) cells on shelves; returns (x, y) of each and the height of all."""
    places = np.zeros((len(cells), 2), int)
    x = y = shelf = 0
    for i in np.argsort(-cells[:, 0], kind="stable"):
        rows, cols = cells[i]
        if x + cols > WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places[i] = x, y
        x += min(cols, WIDTH)
        shelf = max(shelf, rows)
    return places, int(y + shelf)
