"""A tensor in a file: its name, shape and type, its raw bytes, and its values on request."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from refgguf.errors import InputError, QuantLayoutError, TruncatedFileError, UnknownQuantError, shown
from refgguf.gguf.byte_order import to_little_endian
from refgguf.gguf.types import TENSOR_TYPES, TensorType

if TYPE_CHECKING:
    from refgguf.gguf.filemap import FileMap

Rows = SupportsIndex | slice | np.ndarray | list | tuple | None


@dataclass(frozen=True, eq=False, repr=False)
class Tensor:
    """A tensor of an open file; nothing is read until it is asked for.

    A row is what lies along the last axis; rows are counted over all other axes flattened, so that a tensor
    of shape (expert, row, d_in) has expert × row rows.

    Attributes:
        name: as in the file.
        shape: in NumPy order, the fastest axis last; a weight is (d_out, d_in).
        type_id: the number in the file.
        nbytes: its bytes; for a type that is unknown, those up to the next tensor.
        offset: where it begins in its part, in bytes.
        part: the number of its part, from 0.
        byte_order: `"little"` or `"big"`.
    """

    file: FileMap = field(repr=False)
    name: str
    shape: tuple[int, ...]
    type_id: int
    nbytes: int
    offset: int
    part: int = 0
    byte_order: str = "little"

    @cached_property
    def layout(self) -> TensorType | None:
        """Return the type's block layout, or None when the type is unknown."""
        return TENSOR_TYPES.get(self.type_id)

    @property
    def type(self) -> str:
        """Return the type's name such as `"Q4_K"`, or `"type 99"` when it is unknown."""
        return self.layout.name if self.layout is not None else f"type {self.type_id}"

    @cached_property
    def n_values(self) -> int:
        """Return the number of values."""
        n = 1
        for size in self.shape:
            n *= size
        return n

    @property
    def d_in(self) -> int:
        """Return the number of values in a row."""
        return self.shape[-1]

    @cached_property
    def n_rows(self) -> int:
        """Return the number of rows, all leading axes flattened."""
        n = 1
        for size in self.shape[:-1]:
            n *= size
        return n

    @property
    def row_bytes(self) -> int:
        """Return the number of bytes in a row.

        Raises:
            UnknownQuantError: the type is unknown.
        """
        layout = self._known()
        return self.d_in // layout.block_size * layout.type_size

    @property
    def bits_per_value(self) -> float | None:
        """Return the bits that one value takes, or None for a tensor without values."""
        if self.layout is not None:
            return self.layout.bits_per_value
        return 8 * self.nbytes / self.n_values if self.n_values else None

    @property
    def raw(self) -> np.ndarray:
        """Return (nbytes,) uint8, the bytes as in the file: a read-only view, no copy.

        Raises:
            TruncatedFileError: the file does not hold them.
        """
        if self.nbytes and self.offset + self.nbytes > self.file.size:
            raise TruncatedFileError(
                "the file does not hold this tensor's bytes, only what comes before them",
                path=self.file.path,
                offset=self.offset,
                field=self.name,
            )
        return self.file.view(self.offset, self.nbytes)

    @property
    def rows_raw(self) -> np.ndarray:
        """Return (n_rows, row_bytes) uint8, the bytes by rows: a read-only view, no copy."""
        return self.raw.reshape(self.n_rows, self.row_bytes)

    def dequantize(self, rows: Rows = None, out: np.ndarray | None = None) -> np.ndarray:
        """Decode all values or some rows, straight from the file.

        Args:
            rows: None for all; a row number (negative ones count from the end), a slice, or an array of row
                numbers or of booleans. Rows are counted over all axes but the last, flattened.
            out: C-contiguous float32 array of the result's shape, written completely and returned. Where many
                large tensors are decoded one after the other, memory that is there already saves two thirds of
                the time, which goes into making new pages.

        Returns:
            float32: of the tensor's shape for None, (d_in,) for a number, (n, d_in) for a slice or an array.
            Integers and float64 are converted by value.

        Raises:
            UnknownQuantError: the type cannot be decoded.
            InputError: there are no such rows, or `out` does not fit them.
            TruncatedFileError: the file does not hold the tensor's bytes.

        Exactness: bit-equal to llama.cpp's dequantization.
        """
        from refgguf.kernels.quants import dequantize_rows, format_of

        self._known()
        format = format_of(self.type)
        chosen, shape = self._choose(rows)
        if self.byte_order == "big":
            chosen = to_little_endian(chosen, self._known(), self.name)
        is_new = out is None
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise InputError(
                f"{shown(self.name)}: out must be a C-contiguous float32 array of shape {shape}, "
                f"found {out.dtype} {out.shape}{'' if out.flags.c_contiguous else ', not C-contiguous'}"
            )
        if out.size:
            values = out.reshape(len(chosen), self.d_in)
            dequantize_rows(format, np.ascontiguousarray(chosen), values, is_new=is_new)
        return out

    def chunks(self, n_values: int = 1 << 20) -> Iterator[np.ndarray]:
        """Decode all values piece by piece, whatever the length of a row, so that memory stays small.

        Args:
            n_values: about how many values a piece has.

        Yields:
            (n,) float32, the values in the order of the flattened tensor.

        Raises:
            UnknownQuantError: the type cannot be decoded.
            TruncatedFileError: the file does not hold the tensor's bytes.
        """
        from refgguf.kernels.quants import dequantize_rows, format_of

        layout = self._known()
        format = format_of(self.type)
        blocks = self.raw.reshape(-1, layout.type_size)
        step = max(1, n_values // layout.block_size)
        for first in range(0, len(blocks), step):
            chosen = blocks[first : first + step]
            if self.byte_order == "big":
                chosen = to_little_endian(chosen, layout, self.name)
            out = np.empty((len(chosen), layout.block_size), np.float32)
            dequantize_rows(format, chosen, out)
            yield out.reshape(-1)

    def _choose(self, rows: Rows) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the raw bytes of the rows asked for, and the shape of their values."""
        raw = self.rows_raw
        if rows is None:
            return raw, self.shape
        if isinstance(rows, slice):
            raw = raw[rows]
            return raw, (len(raw), self.d_in)
        try:
            if isinstance(rows, np.ndarray | list | tuple):
                return self._gather(raw, np.asarray(rows))
            number = operator.index(rows)
        except TypeError:
            raise InputError(
                f"{shown(self.name)}: rows are chosen by a number, a slice or an array of whole numbers, "
                f"not by {rows!r:.60}"
            ) from None
        if not -self.n_rows <= number < self.n_rows:
            raise InputError(f"{shown(self.name)}: there is no row {number:,}, only {self.n_rows:,} rows")
        number %= self.n_rows
        return raw[number : number + 1], (self.d_in,)

    def _gather(self, raw: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iub"):
            raise TypeError
        if index.dtype.kind == "b":
            if len(index) != self.n_rows:
                raise InputError(f"{shown(self.name)}: {len(index):,} booleans for {self.n_rows:,} rows")
            index = np.flatnonzero(index)
        wrong = index[(index < -self.n_rows) | (index >= self.n_rows)]
        if len(wrong):
            raise InputError(
                f"{shown(self.name)}: there is no row {int(wrong[0]):,}, only {self.n_rows:,} rows"
            )
        return raw[index.astype(np.int64)], (len(index), self.d_in)

    def _known(self) -> TensorType:
        if self.layout is None:
            raise UnknownQuantError(
                f"{shown(self.name)}: the tensor type {self.type_id} is unknown to this version of refgguf, so the "
                "tensor can be listed and not decoded",
                type=self.type,
                tensor=self.name,
            )
        if self.d_in % self.layout.block_size:
            raise QuantLayoutError(
                f"{shown(self.name)}: {self.d_in:,} values a row, no multiple of {self.layout.block_size}",
                type=self.type,
                tensor=self.name,
            )
        return self.layout

    def __repr__(self) -> str:
        shape = " × ".join(f"{size:,}" for size in self.shape)
        return f"<Tensor {shown(self.name)}: {self.type}, {shape}, {self.nbytes:,} bytes>"
