"""What llama.cpp's CPU backend makes of activations before they meet quantized weights.

    Q8_0   32 values a block   d = max|x| / 127 as float16       q = x * (127 / max|x|), nearest, ties to even
    Q8_1   the same, and       s = d * sum of q as float16, with d before it was rounded
    Q8_K   256 values          the x of largest |x| becomes -127: i = -127 / x; q = i * x, nearest, ties to
                               even, at most 127; d = 1 / i; and the sum of each 16 values of q
    F16, BF16, F32             x rounded to that type

Scales are kept here as float32 numbers of the rounded values. Source: quantize_row_q8_0, quantize_row_q8_1 in
ggml-cpu/arch/x86/quants.c (AVX2), quantize_row_q8_K_ref in ggml-quants.c. What the sources do with NaN and
infinity is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refgguf.kernels.dots.instructions import lane_sum, larger, largest, magnitude, narrow_to_i8, to_nearest
from refgguf.kernels.dots.placement import spread_f32
from refgguf.kernels.half import f32_to_half, half_to_f32
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_f32x16, store

CACHE_LINE = 64


@dataclass(frozen=True)
class Activations:
    """Activations of n tokens as they meet the weights.

    Args:
        q: (n, d_in) int8 codes; for F16, BF16 and F32 the rounded values as float32.
        d: (n, blocks) float32 scales.
        sums: (n, d_in / 16) int16 sums of codes for Q8_K, (n, blocks) float32 `s` for Q8_1, else empty.
    """

    q: np.ndarray
    d: np.ndarray
    sums: np.ndarray


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return an uninitialized array that begins at a cache line, as wide loads like it."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(n_bytes + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    return room[first : first + n_bytes].view(dtype).reshape(shape)


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written: numba compiles a kernel once more for a writable array."""
    view = array.view()
    view.flags.writeable = False
    return view


@inline
def _rounded_half(number):
    return half_to_f32(f32_to_half(number))


@kernel
def _to_q8_0(x, q, d, s, with_sum):
    flat, codes, scales, sums = x.reshape(-1), q.reshape(-1), d.reshape(-1), s.reshape(-1)
    for block in range(scales.size):
        low, high = load_f32x16(flat, 32 * block), load_f32x16(flat, 32 * block + 16)
        top = largest(larger(magnitude(low), magnitude(high)))
        scale = top / np.float32(127)
        factor = spread_f32(np.float32(127) / top if top != 0 else np.float32(0), low)
        low_codes, high_codes = to_nearest(low * factor), to_nearest(high * factor)
        store(codes, 32 * block, narrow_to_i8(low_codes))
        store(codes, 32 * block + 16, narrow_to_i8(high_codes))
        scales[block] = _rounded_half(scale)
        if with_sum:
            sums[block] = _rounded_half(scale * np.float32(lane_sum(low_codes + high_codes)))


@kernel
def _to_q8_k(x, q, d, sums):
    flat, codes, scales, totals = x.reshape(-1), q.reshape(-1), d.reshape(-1), sums.reshape(-1)
    for block in range(scales.size):
        first = 256 * block
        lanes = magnitude(load_f32x16(flat, first))
        for i in range(first + 16, first + 256, 16):
            lanes = larger(lanes, magnitude(load_f32x16(flat, i)))
        top = largest(lanes)
        if top == 0:
            scales[block] = 0
            codes[first : first + 256] = 0
            totals[16 * block : 16 * block + 16] = 0
            continue
        at = first
        while abs(flat[at]) != top and at < first + 255:
            at += 1
        inverse = np.float32(-127) / flat[at]
        factor = spread_f32(inverse, lanes)
        for part in range(16):
            rounded = to_nearest(load_f32x16(flat, first + 16 * part) * factor)
            # 127.5 and more would need an |x| above the largest one
            store(codes, first + 16 * part, narrow_to_i8(rounded))
            totals[16 * block + part] = lane_sum(rounded)
        scales[block] = np.float32(1) / inverse


def _q8_0(x: np.ndarray) -> Activations:
    n, d_in = x.shape
    q, d, none = (
        aligned((n, d_in), np.int8),
        np.empty((n, d_in // 32), np.float32),
        np.empty((n, 0), np.float32),
    )
    _to_q8_0(x, q, d, none, False)
    return Activations(q, d, none)


def _q8_1(x: np.ndarray) -> Activations:
    n, d_in = x.shape
    q, d = aligned((n, d_in), np.int8), np.empty((n, d_in // 32), np.float32)
    sums = np.empty_like(d)
    _to_q8_0(x, q, d, sums, True)
    return Activations(q, d, sums)


def _q8_k(x: np.ndarray) -> Activations:
    n, d_in = x.shape
    q, d = aligned((n, d_in), np.int8), np.empty((n, d_in // 256), np.float32)
    sums = np.empty((n, d_in // 16), np.int16)
    _to_q8_k(x, q, d, sums)
    return Activations(q, d, sums)


def _floats(rounded: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], Activations]:
    def convert(x: np.ndarray) -> Activations:
        q, none = aligned(x.shape, np.float32), np.empty((len(x), 0), np.float32)
        q[:] = rounded(x)
        return Activations(q, none, none)

    return convert


def _to_f16(x: np.ndarray) -> np.ndarray:
    # a value beyond float16 becomes infinite, there as here
    with np.errstate(over="ignore"):
        return x.astype(np.float16)


def _to_bf16(x: np.ndarray) -> np.ndarray:
    """Round to the upper half of a float32, ties to even; a NaN becomes quiet (ggml_compute_fp32_to_bf16)."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
    quiet = bits | np.uint32(0x400000)
    return (np.where(np.isnan(x), quiet, rounded) & np.uint32(0xFFFF0000)).view(np.float32)


CONVERSIONS: dict[str, Callable[[np.ndarray], Activations]] = {
    "Q8_0": _q8_0,
    "Q8_1": _q8_1,
    "Q8_K": _q8_k,
    "F16": _floats(_to_f16),
    "BF16": _floats(_to_bf16),
    "F32": _floats(lambda x: x),
}


def convert(x: np.ndarray, kind: str) -> Activations:
    """Convert activations.

    Args:
        x: (n, d_in) float32, C-contiguous; d_in a multiple of the block (32, or 256 for Q8_K).
        kind: Q8_0, Q8_1, Q8_K, F16, BF16 or F32.

    Returns:
        Read-only arrays.
    """
    made = CONVERSIONS[kind](x)
    return Activations(read_only(made.q), read_only(made.d), read_only(made.sums))
