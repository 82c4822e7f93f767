"""Dot products with F32, F16 and BF16 rows.

In llama.cpp numerics both sides are rounded to the weights' type. Then, as AVX2 code of ggml does it:

    F32, F16    4 accumulators of 8 lanes take 32 values at a time, one FMA each; accumulator 0 gets 2, 1 gets
                3, 0 gets 1; lanes 4 … 7 are added to 0 … 3, then 0 to 1 and 2 to 3, then both
    BF16        the same, but the 8 lanes end as everywhere: 4 … 7 to 0 … 3, 2 and 3 to 0 and 1, 1 to 0
    the rest    fewer than 32 values, one after the other: F16 and BF16 in float64; F32 as GCC compiles it,
                product and sum rounded apart up to the last multiple of four, an FMA each for the last three

Two tokens and more, with rows of whole eights and whole fours of rows, go another way: one accumulator of 8 lanes,
one FMA each, and the lanes end as BF16's do above.

Source: ggml_vec_dot_f32, ggml_vec_dot_f16, ggml_vec_dot_bf16 in ggml-cpu/vec.cpp, GGML_F32x8_REDUCE in
ggml-cpu/simd-mappings.h; tinyBLAS in ggml-cpu/llamafile/sgemm.cpp. With AVX-512, ggml adds in another order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import adjacent_sum
from refgguf.kernels.dots.placement import high_words_to_f32, load_i16x8, load_i16x16
from refgguf.kernels.dots.rows import CACHED_BYTES
from refgguf.kernels.half import load_half, load_half_x8, load_half_x16
from refgguf.kernels.jit import kernel, part
from refgguf.kernels.lanes import bits_to_f32, half_of, load_f32, load_f32x8, load_f32x16, load_u16
from refgguf.kernels.simd import fma, tree_sum, zero_f32x8, zero_f32x16

# The closures of the kernels below hold these plain functions rather than the intrinsics themselves, which
# numba's cache would not recognise in the next process.


@part
def _f32(flat, at):
    return load_f32(flat, at)


@part
def _f32_x16(flat, at):
    return load_f32x16(flat, at)


@part
def _f32_x8(flat, at):
    return load_f32x8(flat, at)


@part
def _f16_x8(flat, at):
    return load_half_x8(flat, at)


@part
def _bf16_x8(flat, at):
    return high_words_to_f32(load_i16x8(flat, at))


@part
def _f16(flat, at):
    return load_half(flat, at)


@part
def _f16_x16(flat, at):
    return load_half_x16(flat, at)


@part
def _tree_sum(lanes):
    return tree_sum(lanes)


@part
def _bf16(flat, at):
    return bits_to_f32(np.uint32(load_u16(flat, at)) << np.uint32(16))


@part
def _bf16_x16(flat, at):
    return high_words_to_f32(load_i16x16(flat, at))


def _exact_kernel(width: int, load: Callable) -> Callable:
    """Return the kernel in the fixed order for numbers of `width` bytes, of which `load` reads 16."""

    @kernel
    def multiply(raw, x, out, first, end):
        n_tokens, d_in = x.shape
        row_bytes = raw.shape[1]
        flat = raw.reshape(-1)
        full = d_in // 16 * 16
        rest_bytes = width * (d_in - full)
        rest, rest_x = np.zeros(4 * 64, np.uint8), np.zeros(16, np.float32)
        rows_at_once = end - first if n_tokens == 1 else max(4, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            quarter = (last - begin + 4) // 4
            for token in range(n_tokens):
                token_x = x[token]
                for i in range(full, d_in):
                    rest_x[i - full] = token_x[i]
                for row0 in range(begin, min(begin + quarter, last + 1)):
                    row1, row2 = min(row0 + quarter, last), min(row0 + 2 * quarter, last)
                    row3 = min(row0 + 3 * quarter, last)
                    at0, at1, at2, at3 = (
                        row0 * row_bytes,
                        row1 * row_bytes,
                        row2 * row_bytes,
                        row3 * row_bytes,
                    )
                    sum0 = sum1 = sum2 = sum3 = zero_f32x16()
                    for i in range(0, full, 16):
                        lanes = load_f32x16(token_x, i)
                        sum0 = fma(load(flat, at0 + width * i), lanes, sum0)
                        sum1 = fma(load(flat, at1 + width * i), lanes, sum1)
                        sum2 = fma(load(flat, at2 + width * i), lanes, sum2)
                        sum3 = fma(load(flat, at3 + width * i), lanes, sum3)
                    if full < d_in:
                        # a last, shorter step reads from bytes of its own, which zeros follow
                        for k in range(4):
                            at = min(row0 + k * quarter, last) * row_bytes + width * full
                            for i in range(rest_bytes):
                                rest[64 * k + i] = flat[at + i]
                        lanes = load_f32x16(rest_x, 0)
                        sum0 = fma(load(rest, 0), lanes, sum0)
                        sum1 = fma(load(rest, 64), lanes, sum1)
                        sum2 = fma(load(rest, 128), lanes, sum2)
                        sum3 = fma(load(rest, 192), lanes, sum3)
                    out[token, row0], out[token, row1] = tree_sum(sum0), tree_sum(sum1)
                    out[token, row2], out[token, row3] = tree_sum(sum2), tree_sum(sum3)

    return multiply


@part
def pairwise_sum(lanes):
    """Return the sum of eight lanes: the upper half to the lower, then neighbours, then both."""
    return adjacent_sum(half_of(lanes, 0) + half_of(lanes, 1))


@part
def f32_rest(x, w, left, total):
    """Return total + x · w; `left` is above 3 while the value is among the last multiple of four."""
    return total + np.float32(w * x) if left > 3 else fma(w, x, total)


@part
def _float64_rest(x, w, left, total):
    return total + np.float64(np.float32(w * x))


def _llama_cpp_kernel(
    width: int, load: Callable, load_one: Callable, add_lanes: Callable, add_rest: Callable, wide: bool
) -> Callable:
    """Return the kernel `(raw, q, d, sums, out, first, end)` on rounded activations q."""
    number = np.float64 if wide else np.float32

    @kernel
    def multiply(raw, q, d, sums, out, first, end):
        n_tokens, d_in = q.shape
        row_bytes = raw.shape[1]
        flat = raw.reshape(-1)
        full = d_in // 32 * 32
        rows_at_once = end - first if n_tokens == 1 else max(2, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            half = (last - begin + 2) // 2
            for token in range(n_tokens):
                x = q[token]
                for row0 in range(begin, begin + half):
                    row1 = min(row0 + half, last)
                    at0, at1 = row0 * row_bytes, row1 * row_bytes
                    # sum0 holds accumulators 0 and 1, other0 2 and 3
                    sum0 = other0 = sum1 = other1 = zero_f32x16()
                    for i in range(0, full, 32):
                        lanes, others = load_f32x16(x, i), load_f32x16(x, i + 16)
                        sum0 = fma(load(flat, at0 + width * i), lanes, sum0)
                        other0 = fma(load(flat, at0 + width * (i + 16)), others, other0)
                        sum1 = fma(load(flat, at1 + width * i), lanes, sum1)
                        other1 = fma(load(flat, at1 + width * (i + 16)), others, other1)
                    both0, both1 = sum0 + other0, sum1 + other1
                    total0 = number(add_lanes(half_of(both0, 0) + half_of(both0, 1)))
                    total1 = number(add_lanes(half_of(both1, 0) + half_of(both1, 1)))
                    for i in range(full, d_in):
                        # beyond 3 while i is among the multiple of four
                        left = full + (d_in - full) // 4 * 4 - i + 3
                        total0 = add_rest(x[i], load_one(flat, at0 + width * i), left, total0)
                        total1 = add_rest(x[i], load_one(flat, at1 + width * i), left, total1)
                    out[token, row0], out[token, row1] = total0, total1

    return multiply


def _together_kernel(width: int, load: Callable) -> Callable:
    """Return the kernel `(raw, q, out, first, end)` for several tokens, q rounded; ranges of whole fours of rows."""

    @kernel
    def multiply(raw, q, out, first, end):
        n_tokens, d_in = q.shape
        row_bytes = raw.shape[1]
        flat, xs = raw.reshape(-1), q.reshape(-1)
        rows_at_once = max(4, CACHED_BYTES // row_bytes // 4 * 4)
        for begin in range(first, end, rows_at_once):
            for token in range(0, n_tokens, 2):
                other = min(token + 1, n_tokens - 1)
                x0, x1 = token * d_in, other * d_in
                for row in range(begin, min(begin + rows_at_once, end), 4):
                    at0 = row * row_bytes
                    at1, at2, at3 = at0 + row_bytes, at0 + 2 * row_bytes, at0 + 3 * row_bytes
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero_f32x8()
                    for i in range(0, d_in, 8):
                        a, b = load_f32x8(xs, x0 + i), load_f32x8(xs, x1 + i)
                        w0, w1 = load(flat, at0 + width * i), load(flat, at1 + width * i)
                        a0, b0, a1, b1 = fma(w0, a, a0), fma(w0, b, b0), fma(w1, a, a1), fma(w1, b, b1)
                        w2, w3 = load(flat, at2 + width * i), load(flat, at3 + width * i)
                        a2, b2, a3, b3 = fma(w2, a, a2), fma(w2, b, b2), fma(w3, a, a3), fma(w3, b, b3)
                    out[token, row], out[token, row + 1] = tree_sum(a0), tree_sum(a1)
                    out[token, row + 2], out[token, row + 3] = tree_sum(a2), tree_sum(a3)
                    out[other, row], out[other, row + 1] = tree_sum(b0), tree_sum(b1)
                    out[other, row + 2], out[other, row + 3] = tree_sum(b2), tree_sum(b3)

    return multiply


DOTS = (
    Dot(
        "F32",
        _exact_kernel(4, _f32_x16),
        "F32",
        _llama_cpp_kernel(4, _f32_x16, _f32, pairwise_sum, f32_rest, False),
        together=_together_kernel(4, _f32_x8),
    ),
    Dot(
        "F16",
        _exact_kernel(2, _f16_x16),
        "F16",
        _llama_cpp_kernel(2, _f16_x16, _f16, pairwise_sum, _float64_rest, True),
        together=_together_kernel(2, _f16_x8),
    ),
    Dot(
        "BF16",
        _exact_kernel(2, _bf16_x16),
        "BF16",
        _llama_cpp_kernel(2, _bf16_x16, _bf16, _tree_sum, _float64_rest, True),
        together=_together_kernel(2, _bf16_x8),
    ),
)
