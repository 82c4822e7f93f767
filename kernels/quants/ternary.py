"""TQ1_0 and TQ2_0: 256 weights of three values, -1, 0 and 1, and one scale.

    TQ2_0, 66 bytes    byte 0               64      66
                            | qs: 64 bytes    | d f16 |
    qs[32 h + i]   bits 2 r, 2 r + 1: the code of weight 128 h + 32 r + i     h = 0, 1, r = 0 … 3, i = 0 … 31

    TQ1_0, 54 bytes    byte 0               48              52      54
                            | qs: 48 bytes    | qh: 4 bytes   | d f16 |
    A byte holds five base-3 digits q0 … q4 (four in qh), as the fraction q0/3 + q1/9 + … of 256, rounded
    up. Hence digit n is (byte * 3**n mod 256) * 3 // 256. qs[i]        digit n: weight 32 n + i
    i = 0 … 31, n = 0 … 4 qs[32 + i]   digit n: weight 160 + 16 n + i        i = 0 … 15, n = 0 … 4 qh[i]
    digit n: weight 240 + 4 n + i         i = 0 … 3,  n = 0 … 3

    w = (q - 1) * d

Source: ggml-common.h block_tq1_0, block_tq2_0; ggml-quants.c dequantize_row_tq1_0, dequantize_row_tq2_0.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8x4, load_u8x16, load_u8x32, store, to_f32, widen
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import magnitude_scale, rounded, truncated


def tq1_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a TQ1_0 block."""
    d = block.half("d", 52)
    if i < 160:
        at, n = i % 32, i // 32
    elif i < 240:
        at, n = 32 + (i - 160) % 16, (i - 160) // 16
    else:
        at, n = 48 + (i - 240) % 4, (i - 240) // 4
    byte = block.code("byte", at)
    q = block.made("q", byte * 3**n % 256 * 3 // 256, f"base-3 digit {n}: (byte × {3**n} mod 256) × 3 // 256")
    return f32(q - 1) * d


def tq2_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a TQ2_0 block."""
    d, q = block.half("d", 64), block.code("q", i // 128 * 32 + i % 32, 2 * (i % 128 // 32), 2)
    return f32(q - 1) * d


@kernel
def tq1_0_decode(raw, out):
    """Decode TQ1_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at, w = 54 * b, 256 * b
        d = load_half(flat, at + 52)
        first, second, third = load_u8x32(flat, at), load_u8x16(flat, at + 32), load_u8x4(flat, at + 48)
        for n in range(5):
            store(values, w + 32 * n, (to_f32(widen(first) * 3 >> 8) - np.float32(1)) * d)
            first = first * 3  # the bytes wrap around
        for n in range(5):
            store(values, w + 160 + 16 * n, (to_f32(widen(second) * 3 >> 8) - np.float32(1)) * d)
            second = second * 3
        for n in range(4):
            store(values, w + 240 + 4 * n, (to_f32(widen(third) * 3 >> 8) - np.float32(1)) * d)
            third = third * 3


@kernel
def tq2_0_decode(raw, out):
    """Decode TQ2_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 66 * b + 64)
        for h in range(2):
            q = load_u8x32(flat, 66 * b + 32 * h)
            for r in range(4):
                store(values, 256 * b + 128 * h + 32 * r, (to_f32(q >> (2 * r) & 3) - np.float32(1)) * d)


@inline
def trit(x, scale):
    """Return -1, 0 or 1 as 0, 1 or 2."""
    return truncated(rounded(x * scale)) + 1


@inline
def five_trits(x, first, stride, n, scale):
    """Return the byte of five digits, of which n are given from x[first] on, `stride` apart."""
    number = 0
    for digit in range(5):
        number *= 3
        if digit < n:
            number += trit(x[first + digit * stride], scale)
    return ((number & 255) * 256 + 242) // 243 & 255


@kernel
def tq1_0_encode(values, out):
    """Quantize to TQ1_0."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = magnitude_scale(x, 1)
        store(block, 52, f32_to_half(d))
        for i in range(32):
            block[i] = five_trits(x, i, 32, 5, scale)
        for i in range(16):
            block[32 + i] = five_trits(x, 160 + i, 16, 5, scale)
        for i in range(4):
            block[48 + i] = five_trits(x, 240 + i, 4, 4, scale)


@kernel
def tq2_0_encode(values, out):
    """Quantize to TQ2_0."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d, scale = magnitude_scale(x, 1)
        store(block, 64, f32_to_half(d))
        for i in range(64):
            at, packed = i // 32 * 128 + i % 32, 0
            for r in range(4):
                packed |= (trit(x[at + 32 * r], scale) & 3) << 2 * r
            block[i] = packed


D = Field("d", "f16", 1, "scale")
TQ1_FIELDS = (
    Field("qs", "u8", 48, "240 codes, five base-3 digits a byte"),
    Field("qh", "u8", 4, "16 codes, four base-3 digits a byte"),
    D,
)
TQ2_FIELDS = (Field("qs", "u8", 64, "256 codes of 2 bits"), D)
FORMULA, SUMMARY = "(q - 1) * d", "ternary, scale"
ENDS = (-1.0, 1.0)  # two bits could hold a 2 besides
FORMATS = (
    QuantFormat("TQ1_0", 256, TQ1_FIELDS, tq1_0_weight, FORMULA, tq1_0_decode, tq1_0_encode, SUMMARY),
    QuantFormat(
        "TQ2_0", 256, TQ2_FIELDS, tq2_0_weight, FORMULA, tq2_0_decode, tq2_0_encode, SUMMARY, (), ENDS
    ),
)
