"""Planes of a file's own tensors: decoded values, or one figure that all of a box share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refgguf.errors import RefggufError
from refgguf.tensor import Tensor
from refgguf.viz.scene.planes import ABSENT, pool
from refgguf.viz.scene.sampling import rows_read

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

    @property
    def costly(self) -> float:
        """What reading one of its values counts for where a picture of many may read some rows only; 0 for nothing."""
        return 0.0 if self.uniform else 1.0

    def pooled(self, row_step: int, col_step: int, apart: int = 1) -> np.ndarray:
        """Return float32 cells, each of row_step x col_step values; ABSENT where they cannot be decoded.

        Args:
            row_step: rows of a cell.
            col_step: columns of a cell.
            apart: a cell is made of its first row and every `apart`-th after it; of all of them if 1.
        """
        if self.uniform:
            shape = -(-self.n_rows // row_step), -(-self.tensor.d_in // col_step)
            return np.full(shape, self.figure, np.float32)
        return self._known(row_step, col_step, apart)

    def _known(self, row_step: int, col_step: int, apart: int) -> np.ndarray:
        # read once and returned as it is: another thread may pool the same plane for another view
        kept = dict(self._kept)
        cells = kept.get((row_step, col_step, apart))
        if cells is None:
            for (rows, cols, n), finer in kept.items():
                if n == apart and _divides(rows, row_step, apart) and col_step % cols == 0:
                    cells = self._coarser(finer, row_step // rows, col_step // cols)
        if cells is None:
            cells = self.part(slice(0, self.n_rows), slice(0, self.tensor.d_in), row_step, col_step, apart)
            self._kept.clear()
            self._kept[row_step, col_step, apart] = cells
        return cells

    def _coarser(self, cells: np.ndarray, rows: int, cols: int) -> np.ndarray | None:
        """Return the cells of which each stands for rows x cols of these, None if they cannot be made of them."""
        return None if (cells == ABSENT).any() else pool(cells, rows, cols)

    def part(
        self, rows: slice, cols: slice, row_step: int = 1, col_step: int = 1, apart: int = 1
    ) -> np.ndarray:
        """Return cells as `pooled` does, of some rows and columns, counted from the first of them."""
        try:
            return self._decoded(rows, cols, row_step, col_step, apart)
        except RefggufError:  # an unknown type, or a file that ends too early
            shape = -(-(rows.stop - rows.start) // row_step), -(-(cols.stop - cols.start) // col_step)
            return np.full(shape, ABSENT, np.float32)

    def _decoded(self, rows: slice, cols: slice, row_step: int, col_step: int, apart: int) -> np.ndarray:
        each = -(-row_step // apart)  # rows that are read of a cell
        groups = max(1, ROWS_AT_ONCE // max(self.tensor.d_in * each, 1)) * row_step
        parts = []
        for start in range(rows.start, max(rows.stop, rows.start + 1), groups):  # once where there are none
            end = min(start + groups, rows.stop)
            chosen = rows_read(start, end, row_step, apart) if each < row_step else slice(start, end)
            parts.append(self._pool(self._read(_shifted(chosen, self.first))[:, cols], each, col_step))
            # a few rows of each page would otherwise keep the whole file in memory
            for tensor in self._sources():
                bytes_each = tensor.row_bytes
                at = tensor.offset + (self.first + start) * bytes_each
                tensor.file.release(at, (end - start) * bytes_each)
        return np.concatenate(parts)

    def _sources(self) -> tuple[Tensor, ...]:
        """Return the tensors that are read."""
        return (self.tensor,)

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return what is shown of some rows of the tensor, (n, d_in) float32."""
        return self.tensor.dequantize(rows)

    def _pool(self, values: np.ndarray, row_step: int, col_step: int) -> np.ndarray:
        """Reduce values to cells as `pool` does."""
        return pool(values, row_step, col_step)

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


def _divides(finer: int, rows: int, apart: int) -> bool:
    """Whether cells of so many rows are made of the very rows that finer cells are made of."""
    return rows == finer or (rows % finer == 0 and finer % apart == 0)


def _shifted(rows: slice | np.ndarray, by: int) -> slice | np.ndarray:
    return slice(rows.start + by, rows.stop + by) if isinstance(rows, slice) else rows + by
