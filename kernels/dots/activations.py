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

import math
import threading
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
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
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


@kernel
def _to_f16(x, q):
    flat, rounded = x.reshape(-1), q.reshape(-1)
    for i in range(flat.size):
        # a value beyond float16 becomes infinite, there as here
        rounded[i] = _rounded_half(flat[i])


@kernel
def _to_bf16(x, q):
    """Round to the upper half of a float32, ties to even; a NaN becomes quiet (ggml_compute_fp32_to_bf16)."""
    flat, rounded = x.reshape(-1).view(np.uint32), q.reshape(-1).view(np.uint32)
    for i in range(flat.size):
        bits = flat[i]
        if bits & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
            bits = bits | np.uint32(0x400000)
        else:
            bits = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
        rounded[i] = bits & np.uint32(0xFFFF0000)


def _as_they_are(x: np.ndarray, q: np.ndarray, d: np.ndarray, sums: np.ndarray) -> None:
    q[...] = x


@dataclass(frozen=True)
class Conversion:
    """How activations of one kind are made.

    Args:
        run: writes q, d and sums, given x and the three.
        block: how many values share a scale; 0 for float32 values without scales.
        summed: how many values share a sum; 0 for no sums.
        sum_type: dtype of the sums.
    """

    run: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]
    block: int = 0
    summed: int = 0
    sum_type: type = np.float32

    def room(self, n: int, d_in: int) -> Activations:
        """Return arrays to write to, uninitialized."""
        return Activations(
            aligned((n, d_in), np.int8 if self.block else np.float32),
            np.empty((n, d_in // self.block if self.block else 0), np.float32),
            np.empty((n, d_in // self.summed if self.summed else 0), self.sum_type),
        )


CONVERSIONS = {
    "Q8_0": Conversion(lambda x, q, d, sums: _to_q8_0(x, q, d, sums, False), block=32),
    "Q8_1": Conversion(lambda x, q, d, sums: _to_q8_0(x, q, d, sums, True), block=32, summed=32),
    "Q8_K": Conversion(_to_q8_k, block=256, summed=16, sum_type=np.int16),
    "F16": Conversion(lambda x, q, d, sums: _to_f16(x, q)),
    "BF16": Conversion(lambda x, q, d, sums: _to_bf16(x, q)),
    "F32": Conversion(_as_they_are),
}


def _shown(room: Activations) -> Activations:
    return Activations(read_only(room.q), read_only(room.d), read_only(room.sums))


def convert(x: np.ndarray, kind: str) -> Activations:
    """Convert activations.

    Args:
        x: (n, d_in) float32, C-contiguous; d_in a multiple of the block (32, or 256 for Q8_K).
        kind: Q8_0, Q8_1, Q8_K, F16, BF16 or F32.

    Returns:
        Read-only arrays.
    """
    room = CONVERSIONS[kind].room(*x.shape)
    CONVERSIONS[kind].run(x, room.q, room.d, room.sums)
    return _shown(room)


class _Rooms(threading.local):
    """A thread's own arrays for converted activations: by kind and shape, to write to and read-only."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, tuple[int, ...]], tuple[Activations, Activations]] = {}


_ROOMS = _Rooms()
MOST_ROOMS = 64


def convert_briefly(x: np.ndarray, kind: str) -> Activations:
    """Convert activations of a few tokens as `convert` does, without asking for memory each time.

    Returns:
        Read-only arrays that the next call in this thread overwrites.
    """
    kept, conversion = _ROOMS.kept, CONVERSIONS[kind]
    found = kept.get((kind, x.shape))
    if found is None:
        if len(kept) >= MOST_ROOMS:
            kept.clear()
        room = conversion.room(*x.shape)
        found = kept[kind, x.shape] = room, _shown(room)
    room, shown = found
    conversion.run(x, room.q, room.d, room.sums)
    return shown
