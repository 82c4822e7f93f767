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
from refgguf.kernels.dots.activations import aligned, convert, convert_briefly, read_only
from refgguf.kernels.dots.panels import ROWS_AT_ONCE
from refgguf.kernels.jit import parallel_rows
from refgguf.kernels.quants import QuantFormat, format_of

NUMERICS = ("exact", "llama.cpp")
FLOAT32 = np.dtype(np.float32)
DECODED_VALUES = 1 << 18  # decoded weights at a time: 1 MiB
MOST_ROWS = 32  # rows decoded at a time, however short they are
TOKENS_AT_ONCE = 240  # activations packed at a time: a multiple of every tile's tokens
WORK_FOR_A_THREAD = 1 << 20  # multiplications below which handing work to a thread costs more than it saves
FEW_TOKENS = 6  # up to so many tokens, decoding anew for each is faster than decoding once into memory


def linear_plain(x: np.ndarray, raw: np.ndarray, type_name: str) -> np.ndarray:
    """Return what `linear` returns in exact numerics, in NumPy alone: the plain twin, bit-equal and slow."""
    fmt = format_of(type_name)
    blocks = np.ascontiguousarray(raw).reshape(-1, fmt.type_size)
    weights = np.concatenate([fmt.dequantize_plain(block) for block in blocks]).reshape(len(raw), -1)
    return tiles.multiply_plain(x, weights)


class Matrix:
    """Packed weights, looked at once and multiplied many times.

    Args:
        raw: (d_out, row_bytes) uint8, C-contiguous: the weights as they are in the file.
        type_name: their type, such as "Q4_K".
        numerics: "exact" or "llama.cpp", as in `linear`.

    Raises:
        UnknownQuantError, QuantLayoutError, InputError: as in `linear`.
    """

    __slots__ = ("as_llama_cpp", "d_in", "dot", "fmt", "raw")

    def __init__(self, raw: np.ndarray, type_name: str, numerics: str = "exact"):
        if numerics not in NUMERICS:
            raise InputError(f"numerics {numerics!r} is unknown: expected one of {', '.join(NUMERICS)}")
        self.fmt = format_of(type_name)
        if raw.ndim != 2 or raw.dtype != np.uint8 or not raw.flags.c_contiguous:
            raise QuantLayoutError(
                f"{type_name} weights must be a C-contiguous uint8 array (d_out, row_bytes), found {_seen(raw)}",
                type=type_name,
            )
        self.raw, self.dot = read_only(raw), dots().get(type_name)
        self.as_llama_cpp = (
            numerics == "llama.cpp" and self.dot is not None and self.dot.llama_cpp is not None
        )
        blocks, rest = divmod(raw.shape[1], self.fmt.type_size)
        self.d_in = -1 if rest else blocks * self.fmt.block_size  # no activations fit a broken row

    def rows(self, first: int, end: int) -> Matrix:
        """Return rows first … end - 1, such as one expert's of a stack."""
        part = object.__new__(Matrix)
        part.raw, part.fmt, part.dot = self.raw[first:end], self.fmt, self.dot
        part.as_llama_cpp, part.d_in = self.as_llama_cpp, self.d_in
        return part

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None, *, alone: bool = False) -> np.ndarray:
        """Multiply activations: `linear` says with what and what comes of it."""
        if x.ndim != 2 or x.dtype != FLOAT32 or x.shape[1] != self.d_in:
            raise _misfit(x, self.raw, self.fmt)
        n, shape = len(x), (len(x), len(self.raw))
        if out is None:
            out = np.empty(shape, FLOAT32)
        elif out.shape != shape or out.dtype != FLOAT32 or not out.flags.c_contiguous:
            raise QuantLayoutError(
                f"out must be a C-contiguous float32 array of shape {shape}, found {_seen(out)}"
            )
        if self.d_in == 0:
            out[:] = 0
        elif out.size == 0:
            pass
        elif n > 1 and not alone and self._together:
            q = convert(np.ascontiguousarray(x), self.dot.activation).q
            _over_rows(lambda first, end: self.dot.together(self.raw, q, out, first, end), x, self.raw, 4)
        elif n <= FEW_TOKENS:
            self._few(np.ascontiguousarray(x), out)
        else:
            for first in range(0, n, TOKENS_AT_ONCE):
                end = min(first + TOKENS_AT_ONCE, n)
                some = self._many if end - first > FEW_TOKENS else self._few
                some(np.ascontiguousarray(x[first:end]), out[first:end])
        return out

    @property
    def _together(self) -> bool:
        """Whether llama.cpp multiplies several tokens at once in another order than each alone."""
        known = self.as_llama_cpp and self.dot.together is not None
        return known and self.d_in % 8 == 0 and len(self.raw) % 4 == 0

    def _few(self, x: np.ndarray, out: np.ndarray) -> None:
        """Multiply each of a few tokens with the rows as they are."""
        raw, dot = self.raw, self.dot
        if self.as_llama_cpp:
            made, multiply = convert_briefly(x, dot.activation), dot.llama_cpp
            q, d, sums = made.q, made.d, made.sums
            _over_rows(lambda first, end: multiply(raw, q, d, sums, out, first, end), x, raw, 4)
        elif dot is not None and dot.exact is not None:
            aligned_x, exact = convert_briefly(x, "F32").q, dot.exact
            _over_rows(lambda first, end: exact(raw, aligned_x, out, first, end), x, raw, 4)
        else:
            _few_tokens(convert_briefly(x, "F32").q, raw, self.fmt, out)

    def _many(self, x: np.ndarray, out: np.ndarray) -> None:
        """Multiply at most TOKENS_AT_ONCE tokens with some rows at a time."""
        if not self.as_llama_cpp:
            _many_tokens(convert(x, "F32").q, self.raw, self.fmt, out)
        elif self.dot.panel_for(self.d_in) is not None:
            _many_as_llama_cpp(x, self.raw, self.dot, out)
        else:
            _as_llama_cpp(x, self.raw, self.dot, out)


def linear(
    x: np.ndarray,
    raw: np.ndarray,
    type_name: str,
    numerics: str = "exact",
    out: np.ndarray | None = None,
    *,
    alone: bool = False,
) -> np.ndarray:
    """Multiply activations with packed weights.

    Args:
        x: (n, d_in) float32, one row per token.
        raw: (d_out, row_bytes) uint8, C-contiguous: the weights as they are in the file.
        type_name: the weights' type, such as "Q4_K".
        numerics: "exact" for float32 arithmetic on the decoded weights, "llama.cpp" for what its CPU
            backend does.
        out: (n, d_out) float32, C-contiguous, written completely; a new array if None.
        alone: each token is multiplied as if it were the only one, as llama.cpp does with experts.

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
            comes out as if it were alone, but for F32, F16 and BF16, which ggml's tinyBLAS multiplies with two
            tokens and more in another order, and so does this.
    """
    return Matrix(raw, type_name, numerics)(x, out, alone=alone)


def _seen(array: np.ndarray) -> str:
    layout = "" if array.flags.c_contiguous else ", not C-contiguous"
    return f"{array.dtype} {array.shape}{layout}"


def _misfit(x: np.ndarray, raw: np.ndarray, fmt: QuantFormat) -> QuantLayoutError:
    """Return what is wrong with activations that do not fit the weights."""
    if x.ndim != 2 or x.dtype != FLOAT32:
        return QuantLayoutError(f"activations must be a float32 array of shape (n, d_in), found {_seen(x)}")
    d_in = x.shape[1]
    if d_in % fmt.block_size:
        problem = f"rows of {d_in} values are no whole number of {fmt.name} blocks of {fmt.block_size}"
    else:
        expected = d_in // fmt.block_size * fmt.type_size
        problem = f"a {fmt.name} row of {d_in} values takes {expected} bytes, the weights have {raw.shape[1]}"
    return QuantLayoutError(problem, type=fmt.name)


def _decoder(raw: np.ndarray, fmt: QuantFormat, d_in: int, n_rows: int):
    """Return a function that decodes rows first … end - 1 into a buffer of its own and returns them."""
    buffer = aligned((min(n_rows, len(raw)), d_in), np.float32)

    def decode(first: int, end: int) -> np.ndarray:
        rows = buffer[: end - first]
        fmt.dequantize(raw[first:end].reshape(-1, fmt.type_size), rows.reshape(-1, fmt.block_size))
        return rows

    return decode


def _over_rows(run: Callable[[int, int], None], x: np.ndarray, raw: np.ndarray, multiple_of: int) -> None:
    """Call `run(first, end)` on the rows of the weights, on as many threads as pay."""
    if x.size * len(raw) < 2 * WORK_FOR_A_THREAD:
        run(0, len(raw))
        return
    at_least = max(multiple_of, WORK_FOR_A_THREAD // x.size)
    parallel_rows(run, len(raw), at_least=at_least, multiple_of=multiple_of)


def _as_llama_cpp(x: np.ndarray, raw: np.ndarray, dot: Dot, out: np.ndarray) -> None:
    """Convert the activations as llama.cpp does and multiply each token with the packed rows."""
    made, multiply = convert(x, dot.activation), dot.llama_cpp
    _over_rows(lambda first, end: multiply(raw, made.q, made.d, made.sums, out, first, end), x, raw, 4)


def _many_as_llama_cpp(x: np.ndarray, raw: np.ndarray, dot: Dot, out: np.ndarray) -> None:
    """Convert the activations as llama.cpp does and multiply all tokens with some rows at a time."""
    panel = dot.panel
    records = read_only(panel.records(convert(x, dot.activation)))

    def run(first: int, end: int) -> None:
        panel.rows(raw, records, len(x), out, first, end)

    _over_rows(run, x, raw, ROWS_AT_ONCE)


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

    _over_rows(run, x, raw, 4)


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
            tiles.pack(read_only(decode(row, until)), tiles.TILE_ROWS, packed)  # as x is: one compilation
            tiles.multiply(packed, packed_x, until - row, n, sums, out, row)

    _over_rows(run, x, raw, tiles.TILE_ROWS)
