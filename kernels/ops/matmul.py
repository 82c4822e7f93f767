"""Multiplication of activations with a file's packed weights.

    y[token, row] = sum over i of x[token, i] * w[row, i]

The weights stay as packed as they are in the file. A single token meets them block by block in registers; for
more, a few rows at a time are decoded to float32 and multiplied tile by tile. Either way a few megabytes are
enough beside the mapped file, however large the matrix is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refgguf.errors import InputError, QuantLayoutError
from refgguf.kernels.dots import Dot, dots, tiles
from refgguf.kernels.dots.activations import aligned, convert, read_only
from refgguf.kernels.dots.panels import ROWS_AT_ONCE
from refgguf.kernels.jit import parallel_rows
from refgguf.kernels.quants import QuantFormat, format_of

NUMERICS = ("exact", "llama.cpp")
DECODED_VALUES = 1 << 18  # decoded weights at a time: 1 MiB
MOST_ROWS = 32  # rows decoded at a time, however short they are
TOKENS_AT_ONCE = 252  # activations packed at a time: a multiple of every tile's tokens
WORK_FOR_A_THREAD = 1 << 20  # multiplications below which handing work to a thread costs more than it saves
FEW_AS_LLAMA_CPP = 2  # the same in llama.cpp numerics
FEW_TOKENS = 6  # up to so many tokens, decoding anew for each is faster than decoding once into memory


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
        llama.cpp: bit-equal to ggml's vec_dot on AVX2, which computes a single token; each of many tokens
            comes out as if it were alone, where ggml takes other paths.
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
    dot, raw = dots().get(type_name), read_only(raw)
    for first in range(0, len(x), TOKENS_AT_ONCE):
        tokens, part = x[first : first + TOKENS_AT_ONCE], out[first : first + TOKENS_AT_ONCE]
        if numerics == "llama.cpp" and dot is not None and dot.llama_cpp is not None:
            many = dot.panel is not None and len(tokens) > FEW_AS_LLAMA_CPP
            (_many_as_llama_cpp if many else _as_llama_cpp)(tokens, raw, dot, part)
        elif len(tokens) > FEW_TOKENS:
            _many_tokens(_contiguous(tokens), raw, fmt, part)
        elif dot is not None and dot.exact is not None:
            _in_registers(_contiguous(tokens), raw, dot.exact, part)
        else:
            _few_tokens(_contiguous(tokens), raw, fmt, part)
    return out


def _contiguous(x: np.ndarray) -> np.ndarray:
    """Return activations row by row from a cache line on, read-only."""
    if not x.flags.c_contiguous or x.ctypes.data % 64:
        copy = aligned(x.shape, np.float32)
        copy[:] = x
        x = copy
    return read_only(x)


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
    buffer = aligned((min(n_rows, len(raw)), d_in), np.float32)

    def decode(first: int, end: int) -> np.ndarray:
        rows = buffer[: end - first]
        fmt.dequantize(raw[first:end].reshape(-1, fmt.type_size), rows.reshape(-1, fmt.block_size))
        return rows

    return decode


def _over_rows(run: Callable[[int, int], None], n: int, raw: np.ndarray, d_in: int, multiple_of: int) -> None:
    """Call `run(first, end)` on the rows of the weights, on as many threads as pay."""
    at_least = max(multiple_of, WORK_FOR_A_THREAD // (n * d_in))
    parallel_rows(run, len(raw), at_least=at_least, multiple_of=multiple_of)


def _in_registers(x: np.ndarray, raw: np.ndarray, exact: Callable, out: np.ndarray) -> None:
    """Multiply each token with the packed rows."""
    _over_rows(lambda first, end: exact(raw, x, out, first, end), len(x), raw, x.shape[1], 4)


def _as_llama_cpp(x: np.ndarray, raw: np.ndarray, dot: Dot, out: np.ndarray) -> None:
    """Convert the activations as llama.cpp does and multiply each token with the packed rows."""
    made, multiply = convert(read_only(np.ascontiguousarray(x)), dot.activation), dot.llama_cpp

    def run(first: int, end: int) -> None:
        multiply(raw, made.q, made.d, made.sums, out, first, end)

    _over_rows(run, len(x), raw, x.shape[1], 4)


def _many_as_llama_cpp(x: np.ndarray, raw: np.ndarray, dot: Dot, out: np.ndarray) -> None:
    """Convert the activations as llama.cpp does and multiply all tokens with some rows at a time."""
    panel = dot.panel
    records = read_only(panel.records(convert(read_only(np.ascontiguousarray(x)), dot.activation)))

    def run(first: int, end: int) -> None:
        panel.rows(raw, records, len(x), out, first, end)

    _over_rows(run, len(x), raw, x.shape[1], ROWS_AT_ONCE)


def _few_tokens(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat, out: np.ndarray) -> None:
    """Decode some rows and multiply them with each token in turn."""
    d_in = x.shape[1]
    at_once = max(4, min(MOST_ROWS, DECODED_VALUES // 4 // d_in))

    def run(first: int, end: int) -> None:
        decode = _decoder(raw, fmt, d_in, at_once)
        for row in range(first, end, at_once):
            until = min(row + at_once, end)
            weights = decode(row, until)
            for token in range(len(x)):
                tiles.dot_rows(weights, x[token], out[token, row:until])

    _over_rows(run, len(x), raw, d_in, 4)


def _many_tokens(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat, out: np.ndarray) -> None:
    """Decode some rows, pack them and multiply them with all tokens, tile by tile."""
    n, d_in = x.shape
    n_steps = -(-d_in // tiles.LANES)
    groups = -(-n // tiles.TILE_TOKENS)
    packed_x = aligned((groups, n_steps, tiles.TILE_TOKENS, tiles.LANES), np.float32)
    tiles.pack(x, tiles.TILE_TOKENS, packed_x)
    row_groups = max(1, min(MOST_ROWS, DECODED_VALUES // d_in) // tiles.TILE_ROWS)
    at_once = row_groups * tiles.TILE_ROWS

    def run(first: int, end: int) -> None:
        decode = _decoder(raw, fmt, d_in, at_once)
        packed = aligned((row_groups, n_steps, tiles.TILE_ROWS, tiles.LANES), np.float32)
        sums = aligned((row_groups * groups * tiles.TILE_ROWS * tiles.TILE_TOKENS * tiles.LANES,), np.float32)
        for row in range(first, end, at_once):
            until = min(row + at_once, end)
            tiles.pack(decode(row, until), tiles.TILE_ROWS, packed)
            tiles.multiply(packed, packed_x, until - row, n, sums, out, row)

    _over_rows(run, n, raw, d_in, tiles.TILE_ROWS)
