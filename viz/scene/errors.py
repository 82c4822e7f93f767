"""Planes of quantization errors: a file's weights against those of a reference file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refgguf.errors import RefggufError
from refgguf.tensor import Tensor
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.weights import WeightPlane

MOST = float(np.finfo(np.float32).max)  # no error is drawn as larger, unless it is infinite
MOST_OF_UNIT = 1 << 20  # values of a reference tensor that its root mean square is made of, at most


@dataclass(frozen=True, eq=False)
class ErrorPlane(WeightPlane):
    """Errors of some rows of a tensor, as parts of the reference's root mean square.

    A cell that stands for one weight is |weight - reference| / RMS of the reference tensor; one that stands for many
    is the root mean square of theirs. So a whole tensor seen as one cell has its relative error, and zooming in
    shows how the single weights make it up. Of a large file some rows are read, as of weights.

    Attributes:
        reference: the tensor of the same name in the other file; None if it has none of this shape.
        whole: one cell stands for the whole plane.
        units: root mean squares of reference tensors by name, kept for all planes that share this.
    """

    reference: Tensor | None = None
    whole: bool = False
    units: dict[str, float] = field(default_factory=dict)

    # a mean needs more rows than an extreme: twice as many are read
    costly = 0.5

    @property
    def uniform(self) -> bool:
        """Whether all cells are the same."""
        return self.whole

    @property
    def unit(self) -> float:
        """The root mean square of the reference tensor's finite values, from evenly spaced rows where it is large."""
        name = self.reference.name
        if name not in self.units:
            n_rows = min(self.reference.n_rows, max(1, MOST_OF_UNIT // self.reference.d_in))
            rows = np.unique(np.linspace(0, self.reference.n_rows - 1, n_rows).astype(int))
            values = self.reference.dequantize(rows).astype(np.float64)
            values = values[np.isfinite(values)]
            self.units[name] = float(np.sqrt((values**2).mean())) if values.size else 0.0
        return self.units[name]

    def errors(self, rows: np.ndarray) -> np.ndarray:
        """Return the errors of some rows of the plane, (n, d_in) float64, as parts of the reference's RMS."""
        at = self.first + rows
        ours, theirs = (t.dequantize(at).astype(np.float64) for t in self._sources())
        with np.errstate(invalid="ignore"):  # two infinities do not differ by a number
            return np.abs(ours - theirs) / (self.unit or 1.0)

    def pooled(self, row_step: int, col_step: int, apart: int = 1) -> np.ndarray:
        """Return float32 cells: the RMS of the errors in each; ABSENT where there is nothing to compare with.

        Args:
            row_step: rows of a cell.
            col_step: columns of a cell.
            apart: a cell is made of its first row and every `apart`-th after it; of all of them if 1.
        """
        if not self.whole:
            return self._known(row_step, col_step, apart)
        shape = -(-self.n_rows // row_step), -(-self.tensor.d_in // col_step)
        return np.broadcast_to(self._known(max(self.n_rows, 1), self.tensor.d_in, apart), shape)

    def part(
        self, rows: slice, cols: slice, row_step: int = 1, col_step: int = 1, apart: int = 1
    ) -> np.ndarray:
        """Return cells as `pooled` does, of some rows and columns, counted from the first of them."""
        if self.reference is None:
            shape = -(-(rows.stop - rows.start) // row_step), -(-(cols.stop - cols.start) // col_step)
            return np.full(shape, ABSENT, np.float32)
        return super().part(rows, cols, row_step, col_step, apart)

    def _coarser(self, cells: np.ndarray, rows: int, cols: int) -> None:
        """Means of means, which would weigh smaller groups as much as larger ones, are not taken."""

    def _sources(self) -> tuple[Tensor, ...]:
        return self.tensor, self.reference

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the squares of the errors of some rows of the tensor, (n, d_in) float64: those of large ones fit."""
        ours, theirs = (t.dequantize(rows) for t in self._sources())
        with np.errstate(invalid="ignore"):
            found = np.subtract(ours, theirs, dtype=np.float64)
        np.divide(found, self.unit or 1.0, out=found)
        return np.square(found, out=found)

    def _pool(self, values: np.ndarray, row_step: int, col_step: int) -> np.ndarray:
        """Reduce squares to the root of their mean in each group of row_step x col_step."""
        n_rows, n_cols = values.shape
        rows, cols = np.arange(0, n_rows, row_step), np.arange(0, n_cols, col_step)
        sums = np.add.reduceat(np.add.reduceat(values, cols, axis=1, dtype=np.float64), rows, axis=0)
        counts = np.outer(np.diff([*rows, n_rows]), np.diff([*cols, n_cols]))
        means = np.sqrt(sums / counts)
        return np.where(np.isfinite(means), np.minimum(means, MOST), means).astype(np.float32)

    def value(self, row: int, col: int) -> float | None:
        """Return one error, None where there is nothing to compare with."""
        if self.reference is None:
            return None
        try:
            return float(self.errors(np.array([row]))[0, col])
        except RefggufError:
            return None
