"""Tensor types: one file a family, with blocks drawn in bytes and bits, a plain twin and fast kernels.

A family file exposes `FORMATS`, a tuple of `QuantFormat`; it is found by itself. Everything that turns
bytes into values goes through here: `format_of` names a type, `dequantize_rows` decodes.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

import numpy as np

from refgguf.errors import QuantLayoutError, UnknownQuantError
from refgguf.kernels.jit import parallel_rows
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.simd import STREAM_ALIGNMENT

__all__ = ["Field", "QuantFormat", "dequantize_rows", "format_of", "formats", "past_cache", "quantize_rows"]

# values below which a second thread costs more than it saves
VALUES_PER_THREAD = 1 << 17
# so many bytes of values leave the cache before anyone reads them; written past it they take 0.6 of the time
STREAMED_BYTES = 1 << 24


@cache
def formats() -> Mapping[str, QuantFormat]:
    """Return every tensor type that can be decoded, by name."""
    found: dict[str, QuantFormat] = {}
    for module in pkgutil.iter_modules(__path__):
        for quant in getattr(import_module(f"{__name__}.{module.name}"), "FORMATS", ()):
            if quant.name in found:
                raise RuntimeError(f"two files define the tensor type {quant.name}")
            found[quant.name] = quant
    return MappingProxyType(found)


def format_of(name: str) -> QuantFormat:
    """Return a tensor type by its name.

    Raises:
        UnknownQuantError: there is no such type, or it cannot be decoded.
    """
    try:
        return formats()[name]
    except KeyError:
        known = ", ".join(sorted(formats()))
        raise UnknownQuantError(
            f"tensor type {name} cannot be decoded; these can: {known}", type=name
        ) from None


def past_cache(out: np.ndarray) -> np.ndarray:
    """Return an output for a decoder that writes it past the cache where it is too large to stay there.

    Args:
        out: (n, n_cols) float32, C-contiguous.

    Returns:
        The same memory as uint32, which is how a decoder is told (`lanes.store`), or `out` where it is small or
        begins at an address that does not allow it.
    """
    if out.nbytes < STREAMED_BYTES or out.ctypes.data % STREAM_ALIGNMENT or out.strides[0] % STREAM_ALIGNMENT:
        return out
    return out.view(np.uint32)


def dequantize_rows(
    quant: QuantFormat, raw_rows: np.ndarray, out: np.ndarray, *, is_new: bool = False
) -> None:
    """Decode rows, on several threads when there is enough to do.

    Args:
        quant: the tensor type.
        raw_rows: (row, row_bytes) uint8, bytes as in a little-endian file; each row contiguous, read in
            place.
        out: (row, n_cols) float32, C-contiguous, written completely.
        is_new: whether nothing has touched the memory of `out` yet. The system then zeroes its pages in the cache
            while it is written, and writing past the cache gains nothing.

    Raises:
        QuantLayoutError: the bytes of a row are not a whole number of blocks, or `out` does not fit them.

    Exactness: bit-equal to `quant.dequantize_plain` on every block, whatever the number of threads.
    """
    n_rows, n_blocks = _check(quant, raw_rows, out)
    if n_rows == 0 or n_blocks == 0:
        return
    if raw_rows.strides[1] != 1:
        raw_rows = np.ascontiguousarray(raw_rows)
    raw_rows = raw_rows.view()
    raw_rows.flags.writeable = False  # numba would compile each kernel once more for writable bytes
    if not is_new:
        out = past_cache(out)

    def run(first: int, end: int) -> None:
        if raw_rows.flags.c_contiguous:
            raw = raw_rows[first:end].reshape(-1, quant.type_size)
            quant.dequantize(raw, out[first:end].reshape(-1, quant.block_size))
            return
        for row in range(first, end):
            quant.dequantize(
                raw_rows[row].reshape(-1, quant.type_size), out[row].reshape(-1, quant.block_size)
            )

    parallel_rows(run, n_rows, at_least=-(-VALUES_PER_THREAD // (n_blocks * quant.block_size)))


def quantize_rows(quant: QuantFormat, values: np.ndarray, out: np.ndarray) -> None:
    """Quantize rows, on several threads when there is enough to do.

    Args:
        quant: the tensor type.
        values: (row, n_cols) float32.
        out: (row, row_bytes) uint8, C-contiguous, written completely.

    Raises:
        UnknownQuantError: this type is not made from floats here.
        QuantLayoutError: a row is not a whole number of blocks, or `out` does not fit.

    Exactness: the bytes that ggml's reference code writes without an importance matrix, on any number of threads.
    """
    if quant.quantize is None:
        able = ", ".join(sorted(name for name, other in formats().items() if other.quantize is not None))
        raise UnknownQuantError(
            f"refgguf cannot quantize to {quant.name}; it can to: {able}", type=quant.name
        )
    n_rows, n_cols = values.shape
    expected = (n_rows, n_cols // quant.block_size * quant.type_size)
    if n_cols % quant.block_size:
        problem = f"a row of {n_cols} values is not a whole number of blocks of {quant.block_size}"
        raise QuantLayoutError(f"{quant.name}: {problem}", type=quant.name)
    if out.shape != expected or out.dtype != np.uint8 or not out.flags.c_contiguous:
        found = f"{out.dtype} {out.shape}"
        problem = f"{values.shape} values become C-contiguous uint8 {expected}, but the output is {found}"
        raise QuantLayoutError(f"{quant.name}: {problem}", type=quant.name)
    if values.size == 0:
        return
    values = np.ascontiguousarray(values, np.float32).view()
    values.flags.writeable = False

    def run(first: int, end: int) -> None:
        blocks = values[first:end].reshape(-1, quant.block_size)
        quant.quantize(blocks, out[first:end].reshape(-1, quant.type_size))

    parallel_rows(run, n_rows, at_least=-(-VALUES_PER_THREAD // (16 * n_cols)))


def _check(quant: QuantFormat, raw_rows: np.ndarray, out: np.ndarray) -> tuple[int, int]:
    """Return how many rows and blocks a row there are, or raise where the arrays do not fit the type."""
    if raw_rows.ndim != 2 or raw_rows.dtype != np.uint8:
        raise QuantLayoutError(
            f"{quant.name}: expected bytes of shape (row, row_bytes), got {raw_rows.dtype} {raw_rows.shape}",
            type=quant.name,
        )
    n_rows, row_bytes = raw_rows.shape
    if row_bytes % quant.type_size:
        raise QuantLayoutError(
            f"{quant.name}: a row of {row_bytes} bytes is not a whole number of blocks of {quant.type_size}",
            type=quant.name,
        )
    n_blocks = row_bytes // quant.type_size
    expected = (n_rows, n_blocks * quant.block_size)
    if out.shape != expected or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise QuantLayoutError(
            f"{quant.name}: {n_rows} rows of {row_bytes} bytes decode to C-contiguous float32 {expected}, "
            f"but the output is {out.dtype} {out.shape}",
            type=quant.name,
        )
    return n_rows, n_blocks
