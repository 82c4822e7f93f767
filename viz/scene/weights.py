"""Planes of a file's own tensors: decoded values, or one figure that all of a box share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refgguf.errors import RefggufError
from refgguf.tensor import Tensor
from refgguf.viz.scene.planes import ABSENT, pool

ROWS_AT_ONCE = 1 << 21  # values that are decoded together


@dataclass(frozen=True, eq=False)
class WeightPlane:
    """Some rows of a tensor in a file.

    Attributes:
        tensor: the tensor.
        first: its first row that is shown, counted over all leading axes.
        n_rows: how many are shown.
        colour: one of `state.COLOURINGS`. Unless it is "values", every cell has the same figure instead of its value
            and nothing is decoded: the bits that a value takes, the number of weights that are shown, or, for a type,
            which is no quantity, 1.
    """

    tensor: Tensor
    first: int
    n_rows: int
    colour: str = "values"
    _kept: dict = field(default_factory=dict)

    axes = ("row", "column")

    @property
    def tap(self) -> str:
        """The tensor's name."""
        return self.tensor.name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.n_rows, self.tensor.d_in

    @property
    def uniform(self) -> bool:
        """Whether all cells are the same."""
        return self.colour != "values"

    @property
    def figure(self) -> float:
        """What every cell has where all are the same."""
        if self.colour == "bits":
            return self.tensor.bits_per_value or 0.0
        return float(self.n_rows * self.tensor.d_in) if self.colour == "parameters" else 1.0

    def pooled(self, row_step: int, col_step: int) -> np.ndarray:
        """Return float32 cells, each of row_step x col_step values; ABSENT where they cannot be decoded."""
        shape = -(-self.n_rows // row_step), -(-self.tensor.d_in // col_step)
        if self.uniform:
            return np.full(shape, self.figure, np.float32)
        # read once and returned as it is: another thread may pool the same plane for another view
        cells = self._kept.get((row_step, col_step))
        if cells is None:
            try:
                cells = self._decoded(row_step, col_step)
            except RefggufError:  # an unknown type, or a file that ends too early
                cells = np.full(shape, ABSENT, np.float32)
            self._kept.clear()
            self._kept[row_step, col_step] = cells
        return cells

    def part(self, rows: slice, cols: slice) -> np.ndarray:
        """Return the values of some rows and columns; ABSENT where they cannot be decoded."""
        try:
            return self.tensor.dequantize(slice(self.first + rows.start, self.first + rows.stop))[:, cols]
        except RefggufError:
            return np.full((rows.stop - rows.start, cols.stop - cols.start), ABSENT, np.float32)

    def _decoded(self, row_step: int, col_step: int) -> np.ndarray:
        groups = max(1, ROWS_AT_ONCE // max(self.tensor.d_in * row_step, 1)) * row_step
        end = self.first + self.n_rows
        parts = [
            pool(self.tensor.dequantize(slice(start, min(start + groups, end))), row_step, col_step)
            for start in range(self.first, end, groups)
        ]
        return np.concatenate(parts)

    def value(self, row: int, col: int) -> float | None:
        """Return one decoded value, None where it cannot be decoded."""
        try:
            return float(self.tensor.dequantize(self.first + row)[col])
        except RefggufError:
            return None

    def index(self, row: int, col: int) -> tuple[int, ...]:
        """Return where in the tensor that value stands."""
        leading = (
            np.unravel_index(self.first + row, self.tensor.shape[:-1]) if len(self.tensor.shape) > 1 else ()
        )
        return (*(int(i) for i in leading), col)
