"""Q1_0 and Q2_0: weights of one or two bits and one scale.

    Q1_0, 128 weights, 18 bytes    byte 0     2                18
                                        | d f16 | qs: 16 bytes   |
    qs[i // 8]   bit i % 8: the code of weight i;                             w = d if q else -d

    Q2_0, 64 weights, 18 bytes     byte 0     2                18
                                        | d f16 | qs: 16 bytes   |
    qs[i // 4]   bits 2 (i % 4), 2 (i % 4) + 1: the code of weight i;         w = (q - 1) * d

Source: ggml-common.h block_q1_0, block_q2_0; ggml-quants.c dequantize_row_q1_0, dequantize_row_q2_0.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import (
    bits_to_f32,
    bits_x32,
    crumbs_x32,
    f32_to_bits,
    load_u8x8,
    load_u32,
    store,
    to_f32,
    widen,
)
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import ONE, ZERO, clipped, largest, rounded, truncated


def q1_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q1_0 block."""
    d, q = block.half("d", 0), block.code("q", 2 + i // 8, i % 8, 1)
    return d if q else -d


def q2_0_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q2_0 block."""
    d, q = block.half("d", 0), block.code("q", 2 + i // 4, 2 * (i % 4), 2)
    return f32(q - 1) * d


@kernel
def q1_0_decode(raw, out):
    """Decode Q1_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        minus_d = f32_to_bits(-load_half(flat, 18 * b))
        for g in range(4):
            q = widen(bits_x32(load_u32(flat, 18 * b + 2 + 4 * g)))
            store(values, 128 * b + 32 * g, bits_to_f32(q << 31 ^ minus_d))


@kernel
def q2_0_decode(raw, out):
    """Decode Q2_0 blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 18 * b)
        for g in range(2):
            q = crumbs_x32(load_u8x8(flat, 18 * b + 2 + 8 * g))
            store(values, 64 * b + 32 * g, (to_f32(q) - np.float32(1)) * d)


@kernel
def q1_0_encode(values, out):
    """Quantize to Q1_0: the scale is the mean magnitude, a code the sign."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        total = ZERO
        for i in range(128):
            total += abs(x[i])
        store(block, 0, f32_to_half(total / np.float32(128)))
        for at in range(16):
            packed = 0
            for bit in range(8):
                if x[8 * at + bit] >= ZERO:
                    packed |= 1 << bit
            block[2 + at] = packed


@kernel
def q2_0_encode(values, out):
    """Quantize to Q2_0: the largest magnitude becomes the scale."""
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        d = abs(largest(x))
        scale = ONE / d if d > ZERO else ZERO
        store(block, 0, f32_to_half(d))
        for at in range(16):
            packed = 0
            for j in range(4):
                code = clipped(np.int64(truncated(rounded(x[4 * at + j] * scale))) + 1, 0, 3)
                packed |= code << 2 * j
            block[2 + at] = packed


D = Field("d", "f16", 1, "scale")
Q1_FIELDS = (D, Field("qs", "u8", 16, "128 codes of 1 bit"))
Q2_FIELDS = (D, Field("qs", "u8", 16, "64 codes of 2 bits"))
FORMATS = (
    QuantFormat(
        "Q1_0", 128, Q1_FIELDS, q1_0_weight, "d if q else -d", q1_0_decode, q1_0_encode, "1 bit, scale"
    ),
    QuantFormat("Q2_0", 64, Q2_FIELDS, q2_0_weight, "(q - 1) * d", q2_0_decode, q2_0_encode, "2 bits, scale"),
)
