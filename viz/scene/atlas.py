"""The atlas: the values of all boxes side by side in one texture, pooled to what the screen can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.planes import Plane, pool
from refgguf.viz.scene.sampling import coarsened, rows_apart

WIDTH = 4096
MOST_ROWS = 4096  # 16.8 million cells, 67 MB
# a cell that stands for several values is this wide, so that it is seen as a cell
PIXELS_PER_CELL = 3.0
# the corners of a box's six sides, as shares of its width, height and depth
FACES = np.array(
    [np.insert([(0, 0), (1, 0), (1, 1), (0, 1)], axis, side, 1) for axis in range(3) for side in (0, 1)]
)
NEAREST = 1e-3  # what is closer to the eye than this is not seen
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
        parts: (box, 4) int from `detail_for`: the rows and columns that were asked for.
        held: (box, 4) float32: which of its cells a box has in the array: first column, first row, and where they
            end. Of a box much larger than the picture those around what is seen; `rects` counts from its first cell
            all the same.
        apart: (box,) int: a cell is made of its first row and every so many-th after it; 1 where it is made of all.
    """

    values: np.ndarray
    rects: np.ndarray
    steps: np.ndarray
    parts: np.ndarray
    held: np.ndarray
    apart: np.ndarray

    @property
    def pooled(self) -> bool:
        """Whether any cell stands for more than one value."""
        return bool((self.steps > 1).any())


def steps_for(boxes: Sequence[Box], camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """Return the steps of `detail_for` alone."""
    return detail_for(boxes, camera, size)[0]


def detail_for(boxes: Sequence[Box], camera: Camera, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Choose how many values of each box share a cell, as few as the screen can show apart, and which are needed.

    Args:
        boxes: the boxes.
        camera: how they are seen.
        size: width and height of the picture in pixels.

    Returns:
        (box, 2) int: rows and columns of the tensor for each cell; (box, 4) int: first row, first column, and the
        row and column after the last: everything, but of boxes larger than the picture only what is seen and as much
        again around it.
    """
    if not boxes:
        return np.ones((0, 2), int), np.zeros((0, 4), int)
    origin = np.array([b.origin for b in boxes])
    extent = np.array([b.size for b in boxes])
    corner = [np.array(c) for c in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1))]
    seen = [camera.project(origin + extent * c, size) for c in corner]
    wide = np.maximum(_far(seen[0], seen[1]), _far(seen[2], seen[3]))
    tall = np.maximum(_far(seen[0], seen[2]), _far(seen[1], seen[3]))
    places = np.stack(seen)
    behind, before = (places[..., 2] <= 0).any(0), (places[..., 2] > 0).any(0)
    # a corner behind the eye has no place in the picture: what is seen of such a box is found out below
    inside = before & (
        behind | ((places[..., :2].max(0) > 0).all(1) & (places[..., :2].min(0) < size).all(1))
    )
    shape = np.array([b.plane.shape for b in boxes])
    parts = np.concatenate([np.zeros_like(shape), shape], axis=1)
    for i in np.flatnonzero(inside & (behind | (wide > max(size)) | (tall > max(size)))):
        found = visible_part(boxes[i], camera, size)
        if found is None:
            inside[i] = False
        else:
            (wide[i], tall[i]), parts[i] = found
    wide, tall = (np.where(inside, x, np.minimum(x, COARSE)) for x in (wide, tall))
    room = np.maximum(np.stack([tall, wide], axis=1) / PIXELS_PER_CELL, FEWEST)
    alike = [(b.role, *b.plane.shape) for b in boxes]
    largest = dict.fromkeys(alike, float(FEWEST))
    for key, cells in zip(alike, room, strict=True):
        largest[key] = np.maximum(largest[key], cells)
    room = np.maximum(room, np.minimum(np.array([largest[key] for key in alike]), COARSE))
    steps = np.maximum(np.ceil(shape / room - 1e-9), 1).astype(int)
    uniform = np.array([getattr(b.plane, "uniform", False) for b in boxes])
    # one cell is enough where all are the same
    return coarsened(boxes, np.where(uniform[:, None], shape, steps), parts), parts


def visible_part(
    box: Box, camera: Camera, size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[int, int, int, int]] | None:
    """Return what is seen of a box, whose sides show its outermost values, or None if nothing is.

    Returns:
        how many pixels its whole width and height would take where it appears largest; first row, first column, and
        the row and column after the last that are seen, with half as much again on every side.
    """
    matrix = camera.matrix(size[0] / size[1], 0.1, 10.0)[[0, 1, 3]]
    along, start = matrix[:, :3] * box.size, matrix @ (*box.origin, 1.0)
    eye = (np.asarray(camera.eye) - box.origin) / box.size
    corners = []
    for face, faces_eye in zip(FACES, np.stack([eye < 0, eye > 1], axis=1).reshape(-1), strict=True):
        if not faces_eye:
            continue
        # shares of width, height and depth, then x, y and w as the graphics card clips them
        polygon = [np.r_[share, start + along @ share] for share in face]
        for plane in ((0, 0, 1), (-1, 0, 1), (1, 0, 1), (0, -1, 1), (0, 1, 1)):
            polygon = _clipped(polygon, np.array(plane, float))
        corners += polygon
    if not corners:
        return None
    seen = np.array(corners)
    shares, (cx, cy, w) = seen[:, :2], seen[:, 3:].T
    # how fast the place on the screen changes along the width and along the height
    fast = [
        np.hypot((dx * w - cx * dw) / w**2 * size[0] / 2, (dy * w - cy * dw) / w**2 * size[1] / 2).max()
        for dx, dy, dw in along[:, :2].T
    ]
    low, high = shares.min(axis=0), shares.max(axis=0)
    low, high = np.maximum(low - (high - low) / 2, 0.0), np.minimum(high + (high - low) / 2, 1.0)
    rows, cols = box.plane.shape
    first, last = int((1 - high[1]) * rows), int(np.ceil((1 - low[1]) * rows))
    return (float(fast[0]), float(fast[1])), (first, int(low[0] * cols), last, int(np.ceil(high[0] * cols)))


def _clipped(polygon: list[np.ndarray], plane: np.ndarray) -> list[np.ndarray]:
    """Cut off what of a polygon is on the wrong side of a plane through (x, y, w)."""
    kept = []
    for one, other in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = (corner[3:] @ plane - NEAREST for corner in (one, other))
        if a >= 0:
            kept.append(one)
        if (a >= 0) != (b >= 0):
            kept.append(one + (other - one) * a / (a - b))
    return kept


def _far(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(*(a - b)[:, :2].T)


def build_atlas(
    boxes: Sequence[Box],
    steps: np.ndarray,
    parts: np.ndarray | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Atlas:
    """Pool the boxes' values and pack them.

    Args:
        boxes: the boxes.
        steps: (box, 2) from `detail_for`; coarsened here as far as the texture's size demands.
        parts: (box, 4) from `detail_for`; everything if None.
        tell: called with how many boxes are done, and how many there are.
    """
    shape = np.array([b.plane.shape for b in boxes]).reshape(-1, 2)
    steps = np.array(steps)
    parts = np.concatenate([np.zeros_like(shape), shape], axis=1) if parts is None else parts
    apart = rows_apart(boxes, steps, parts)
    while True:
        first, last = parts[:, :2] // steps, -(-parts[:, 2:] // steps)
        cells = last - first
        places, n_rows = _pack(cells)
        too_wide = cells[:, 1] > WIDTH
        if n_rows <= MOST_ROWS and not too_wide.any():
            break
        coarser = too_wide | (cells.prod(axis=1) >= np.median(cells.prod(axis=1)))
        steps = np.where(coarser[:, None] & (cells > 1), steps * 2, steps)
    values = np.zeros((max(n_rows, 1), WIDTH), np.float32)
    for i, box in enumerate(boxes):
        tell(i, len(boxes))
        (x, y), (rows, cols) = places[i], cells[i]
        values[y : y + rows, x : x + cols] = _cells(box.plane, steps[i], first[i], last[i], int(apart[i]))
    rects = np.concatenate([places - first[:, ::-1], (shape / steps)[:, ::-1]], axis=1).astype(np.float32)
    held = np.concatenate([first[:, ::-1], last[:, ::-1]], axis=1).astype(np.float32)
    return Atlas(values, rects, steps, parts, held, apart)


def _cells(plane: Plane, step: np.ndarray, first: np.ndarray, last: np.ndarray, apart: int) -> np.ndarray:
    """Pool a plane from one cell to before another."""
    rows, cols = (int(n) for n in step)
    costly = getattr(plane, "costly", False)
    whole = not first.any() and (last * step >= plane.shape).all()
    if whole or getattr(plane, "part", None) is None:
        cells = plane.pooled(rows, cols, apart) if costly else plane.pooled(rows, cols)
        return cells[first[0] : last[0], first[1] : last[1]]
    from_, to = first * step, np.minimum(last * step, plane.shape)
    part = slice(int(from_[0]), int(to[0])), slice(int(from_[1]), int(to[1]))
    return plane.part(*part, rows, cols, apart) if costly else pool(plane.part(*part), rows, cols)


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
