"""What quantization did to a matrix, in figures: the error of all of it, of the worst place, of one block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.compare.measures import relative_l2, signal_to_noise
from refgguf.errors import RefggufError
from refgguf.tensor import Tensor
from refgguf.viz.scene.errors import ErrorPlane

MOST_MEASURED = 2_000_000  # weights that figures are taken from
N_BLOCKS = 3  # worst blocks that are named


@dataclass(frozen=True)
class BlockError:
    """The error of one block.

    Attributes:
        row: its row in the tensor, counted over all leading axes.
        first: its first column.
        end: the column after its last.
        rms: root mean square of its errors, in the weights' own units.
        relative: that over the root mean square of the reference's weights in the block; infinite where those are zero.
    """

    row: int
    first: int
    end: int
    rms: float
    relative: float


@dataclass(frozen=True)
class ErrorFigures:
    """The error of some rows of a tensor against those of a reference.

    Attributes:
        n_rows: how many rows were measured.
        n_all: how many there are.
        rms: root mean square of the errors, in the weights' own units.
        relative: ‖error‖ / ‖reference‖.
        decibels: signal-to-noise ratio; infinite where there is no error.
        mean: mean error: what quantization shifts all weights by.
        worst: row and column of the largest error.
        ours: the weight there.
        theirs: the reference's weight there.
        blocks: the blocks with the largest errors, the worst first; none where no error is.
        median_block: median over the blocks of the root mean square of their errors.
    """

    n_rows: int
    n_all: int
    rms: float
    relative: float
    decibels: float
    mean: float
    worst: tuple[int, int]
    ours: float
    theirs: float
    blocks: tuple[BlockError, ...]
    median_block: float


@np.errstate(invalid="ignore")  # two infinities do not differ by a number
def error_figures(plane: ErrorPlane) -> ErrorFigures | None:
    """Measure a plane's error, from evenly spaced rows where it has many.

    Returns:
        None where there is nothing to compare with, or it cannot be decoded.
    """
    d_in = plane.tensor.d_in
    n_rows = min(plane.n_rows, max(1, MOST_MEASURED // d_in))
    rows = plane.first + np.unique(np.linspace(0, plane.n_rows - 1, n_rows).astype(int))
    both = _decoded(plane, rows)
    if both is None:
        return None
    ours, theirs = both
    error = ours - theirs
    at = np.unravel_index(int(np.abs(error).argmax()), error.shape)
    size = block_size_of(plane.tensor)
    starts = np.arange(0, d_in, size)
    means = np.add.reduceat(error**2, starts, axis=1) / np.diff([*starts, d_in])
    order = np.argsort(-means.reshape(-1), kind="stable")[:N_BLOCKS]
    places = [np.unravel_index(i, means.shape) for i in order if means.reshape(-1)[i] > 0]
    blocks = [_block(error[r], theirs[r], int(rows[r]), int(c) * size, size) for r, c in places]
    return ErrorFigures(
        len(rows),
        plane.n_rows,
        float(np.sqrt((error**2).mean())),
        relative_l2(theirs, ours),
        signal_to_noise(theirs, ours),
        float(error.mean()),
        (int(rows[at[0]]), int(at[1])),
        float(ours[at]),
        float(theirs[at]),
        tuple(blocks),
        float(np.sqrt(np.median(means))),
    )


@np.errstate(invalid="ignore")
def block_error(plane: ErrorPlane, row: int, col: int) -> BlockError | None:
    """Measure the error of the block that a weight of the plane lies in; None where that is not known."""
    both = _decoded(plane, np.array([plane.first + row]))
    if both is None:
        return None
    size = block_size_of(plane.tensor)
    ours, theirs = both[0][0], both[1][0]
    return _block(ours - theirs, theirs, plane.first + row, col // size * size, size)


def pair_at(plane: ErrorPlane, row: int, col: int) -> tuple[float, float] | None:
    """Return a weight and its counterpart in the reference; None where there is none."""
    both = _decoded(plane, np.array([plane.first + row]))
    return None if both is None else (float(both[0][0, col]), float(both[1][0, col]))


def block_size_of(tensor: Tensor) -> int:
    """Return how many weights share a block; a whole row where each weight stands alone."""
    size = tensor.layout.block_size if tensor.layout is not None else 1
    return size if size > 1 else tensor.d_in


def _block(error: np.ndarray, theirs: np.ndarray, row: int, first: int, size: int) -> BlockError:
    end = min(first + size, len(error))
    rms = float(np.sqrt((error[first:end] ** 2).mean()))
    usual = float(np.sqrt((theirs[first:end] ** 2).mean()))
    return BlockError(row, first, end, rms, rms / usual if usual else float("inf") if rms else 0.0)


def _decoded(plane: ErrorPlane, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    if plane.reference is None:
        return None
    try:
        ours, theirs = (t.dequantize(rows).astype(np.float64) for t in (plane.tensor, plane.reference))
    except RefggufError:
        return None
    return ours, theirs
