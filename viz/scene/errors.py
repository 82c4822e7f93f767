"""Planes of quantization errors: a file's weights against those of a reference file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from refgguf.errors import RefggufError
from refgguf.tensor import Tensor
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.weights import WeightPlane

MOST_ROWS = 256  # of a tensor that are decoded to see its error as a whole


@dataclass(frozen=True, eq=False)
class ErrorPlane(WeightPlane):
    """Errors of some rows of a tensor, as parts of the reference's root mean square.

    A cell that stands for one weight is |weight - reference| / RMS of the reference tensor; one that stands for many
    is the root mean square of theirs. So a whole tensor seen as one cell has its relative error, and zooming in
    shows how the single weights make it up.

    Attributes:
        reference: the tensor of the same name in the other file; None if it has none of this shape.
        whole: one cell stands for the whole plane, estimated from MOST_ROWS evenly spaced rows at most.
    """

    reference: Tensor | None = None
    whole: bool = False
    _known: dict = field(default_factory=dict)

    @property
    def uniform(self) -> bool:
        """Whether all cells are the same."""
        return self.whole

    @cached_property
    def unit(self) -> float:
        """The reference tensor's root mean square, from evenly spaced rows where it has many."""
        rows = np.unique(np.linspace(0, self.reference.n_rows - 1, 8 * MOST_ROWS).astype(int))
        return float(np.sqrt((self.reference.dequantize(rows).astype(np.float64) ** 2).mean()))

    def errors(self, rows: np.ndarray) -> np.ndarray:
        """Return the errors of some rows of the plane, (n, d_in) float64, as parts of the reference's RMS."""
        at = self.first + rows
        ours, theirs = (t.dequantize(at).astype(np.float64) for t in (self.tensor, self.reference))
        return np.abs(ours - theirs) / (self.unit or 1.0)

    costly = False  # its own estimate is made of evenly spaced rows
    part = None  # a cell is a root mean square here, which is taken of the whole

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells: the RMS of the errors in each; ABSENT where there is nothing to compare with."""
        shape = -(-self.n_rows // row_step), -(-self.tensor.d_in // col_step)
        if (row_step, col_step) not in self._known:
            self._known.clear()
            try:
                self._known[row_step, col_step] = self._cells(row_step, col_step, shape)
            except (RefggufError, AttributeError):
                self._known[row_step, col_step] = np.full(shape, ABSENT, np.float32)
        return self._known[row_step, col_step]

    def _cells(self, row_step: int, col_step: int, shape: tuple[int, int]) -> np.ndarray:
        if self.whole:
            rows = np.unique(np.linspace(0, self.n_rows - 1, MOST_ROWS).astype(int))
            return np.full(shape, np.sqrt((self.errors(rows) ** 2).mean()), np.float32)
        cells = np.empty(shape)
        starts = np.arange(0, self.tensor.d_in, col_step)
        for i in range(shape[0]):
            rows = np.arange(i * row_step, min((i + 1) * row_step, self.n_rows))
            sums = np.add.reduceat(self.errors(rows) ** 2, starts, axis=1)
            counts = np.diff([*starts, self.tensor.d_in])
            cells[i] = np.sqrt((sums / counts).mean(axis=0))
        return cells.astype(np.float32)

    def value(self, row: int, col: int) -> float | None:
        """Return one error, None where there is nothing to compare with."""
        if self.reference is None:
            return None
        try:
            return float(self.errors(np.array([row]))[0, col])
        except RefggufError:
            return None
