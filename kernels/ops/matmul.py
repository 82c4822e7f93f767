"""Multiplication of activations with a file's packed weights.

    y[token, row] = sum over i of x[token, i] * w[row, i]

The weights stay as packed as they are in the file: a few rows at a time are decoded to float32 and
multiplied, so that no more than a few megabytes are needed beside the mapped file, however large the matrix
is.
"""

from __future__ import annotations

import numpy as np

from refgguf.errors import InputError, QuantLayoutError
from refgguf.kernels.dots import tiles
from refgguf.kernels.jit import parallel_rows
from refgguf.kernels.quants import QuantFormat, format_of

NUMERICS = ("exact", "llama.cpp")
DECODED_VALUES = 1 << 16  # decoded weights at a time: 256 KiB
TOKENS_AT_ONCE = 252  # activations packed at a time: a multiple of every tile's tokens
WORK_FOR_A_THREAD = 1 << 17  # multiplications below which handing work to a thread costs more than it saves


def linear_plain(x: np.ndarray, raw: np.ndarray, type_name: str) -> np.ndarray:
    """Return what `linear` returns in exact numerics, in NumPy alone: the plain twin, bit-equal and slow."""
    fmt = format_of(type_name)
    blocks = np.ascontiguousarray(raw).reshape(-1, fmt.type_size)
    weights = np.concatenate([fmt.dequantize_plain(block) for block in blocks]).reshape(len(raw), -1)
    return tiles.multiply_plain(x, weights)


def linear(
    x: np.ndarray, raw: np.ndarray, type_name: str, numerics: str = "exact", out: np.ndarray | None = None
) -> np.ndarray:
    """Multiply activations with packed weights.

    Args:
        x: (n, d_in) float32, one row per token.
        raw: (d_out, row_bytes) uint8, C-contiguous: the weights as they are in the file.
        type_name: the weights' type, such as "Q4_K".
        numerics: "exact" for float32 arithmetic on the decoded weights, "llama.cpp" for what its CPU
            backend does.
        out: (n, d_out) float32, C-contiguous, written completely; a new array if None.

    Returns:
        (n, d_out) float32.

    Raises:
        UnknownQuantError: the type cannot be decoded.
        QuantLayoutError: an array has the wrong shape, dtype or memory layout.
        InputError: the numerics is none of the two.

    Exactness:
        exact: float32 FMAs in the order that `kernels/dots/tiles.py` fixes; the bits of an element do not
            depend on the number of tokens, on threads or on the CPU.
    """
    if numerics not in NUMERICS:
        raise InputError(f"numerics {numerics!r} is unknown: expected one of {', '.join(NUMERICS)}")
    fmt = format_of(type_name)
    _check(x, raw, fmt)
    shape = (x.shape[0], raw.shape[0])
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise QuantLayoutError(
            f"out must be a C-contiguous float32 array of shape {shape}, found {_seen(out)}"
        )
    if out.size == 0:
        return out
    if x.shape[1] == 0:
        out[:] = 0
        return out
    x, raw = _read_only(np.ascontiguousarray(x)), _read_only(raw)
    if len(x) < 2:
        _few_tokens(x, raw, fmt, out)
    else:
        for first in range(0, len(x), TOKENS_AT_ONCE):
            part = slice(first, first + TOKENS_AT_ONCE)
            _many_tokens(x[part], raw, fmt, out[part])
    return out


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written: numba compiles a kernel once more for a writable array."""
    view = array.view()
    view.flags.writeable = False
    return view


def _seen(array: np.ndarray) -> str:
    layout = "" if array.flags.c_contiguous else ", not C-contiguous"
    return f"{array.dtype} {array.shape}{layout}"


def _check(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat) -> None:
    if x.ndim != 2 or x.dtype != np.float32:
        raise QuantLayoutError(f"activations must be a float32 array of shape (n, d_in), found {_seen(x)}")
    if raw.ndim != 2 or raw.dtype != np.uint8 or not raw.flags.c_contiguous:
        raise QuantLayoutError(
            f"{fmt.name} weights must be a C-contiguous uint8 array (d_out, row_bytes), found {_seen(raw)}",
            type=fmt.name,
        )
    d_in = x.shape[1]
    if d_in % fmt.block_size:
        raise QuantLayoutError(
            f"rows of {d_in} values are no whole number of {fmt.name} blocks of {fmt.block_size}",
            type=fmt.name,
        )
    expected = d_in // fmt.block_size * fmt.type_size
    if raw.shape[1] != expected:
        raise QuantLayoutError(
            f"a {fmt.name} row of {d_in} values takes {expected} bytes, the weights have {raw.shape[1]}",
            type=fmt.name,
        )


def _decoder(raw: np.ndarray, fmt: QuantFormat, d_in: int, n_rows: int):
    """Return a function that decodes rows first … end - 1 into a buffer of its own and returns them."""
    buffer = np.empty((min(n_rows, len(raw)), d_in), np.float32)

    def decode(first: int, end: int) -> np.ndarray:
        rows = buffer[: end - first]
        fmt.dequantize(raw[first:end].reshape(-1, fmt.type_size), rows.reshape(-1, fmt.block_size))
        return rows

    return decode


def _few_tokens(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat, out: np.ndarray) -> None:
    """Decode some rows and multiply them with each token in turn."""
    d_in = x.shape[1]
    at_once = max(4, min(64, DECODED_VALUES // d_in)) if d_in else 4

    def run(first: int, end: int) -> None:
        decode = _decoder(raw, fmt, d_in, at_once)
        for row in range(first, end, at_once):
            until = min(row + at_once, end)
            weights = decode(row, until)
            for token in range(len(x)):
                tiles.dot_rows(weights, x[token], out[token, row:until])

    parallel_rows(run, len(raw), at_least=max(4, WORK_FOR_A_THREAD // (d_in * len(x))))


def _many_tokens(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat, out: np.ndarray) -> None:
    """Decode some rows, pack them and multiply them with all tokens, tile by tile."""
    n, d_in = x.shape
    n_steps = -(-d_in // tiles.LANES)
    groups = -(-n // tiles.TILE_TOKENS)
    packed_x = np.empty((groups, n_steps, tiles.TILE_TOKENS, tiles.LANES), np.float32)
    tiles.pack(x, tiles.TILE_TOKENS, packed_x)
    row_groups = max(1, min(8, DECODED_VALUES // (d_in * tiles.TILE_ROWS)))
    at_once = row_groups * tiles.TILE_ROWS

    def run(first: int, end: int) -> None:
        decode = _decoder(raw, fmt, d_in, at_once)
        packed = np.empty((row_groups, n_steps, tiles.TILE_ROWS, tiles.LANES), np.float32)
        sums = np.empty(row_groups * groups * tiles.TILE_ROWS * tiles.TILE_TOKENS * tiles.LANES, np.float32)
        for row in range(first, end, at_once):
            until = min(row + at_once, end)
            tiles.pack(decode(row, until), tiles.TILE_ROWS, packed)
            tiles.multiply(packed, packed_x, until - row, n, sums, out, row)

    parallel_rows(
        run,
        len(raw),
        at_least=max(tiles.TILE_ROWS, WORK_FOR_A_THREAD // (d_in * n)),
        multiple_of=tiles.TILE_ROWS,
    )
