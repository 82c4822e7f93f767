"""Q3_K: 256 weights of three bits in 16 sub-blocks of 16, each with a 6-bit scale.

    byte 0            32              96              108     110
         | hmask: 32    | qs: 64        | scales: 12    | d f16 |

    The block has two halves h = 0, 1 of 128 weights, each four runs r = 0 … 3 of 32 weights (i = 0 … 31):

    qs[32 h + i]    bits 2 r, 2 r + 1: low 2 bits of the code
    hmask[i]        bit 4 h + r: third bit of the code

    Sub-block j = 8 h + 2 r + i // 16 has its scale in two places:

    scales[j % 8]       bits 0-3 for j < 8, bits 4-7 for j >= 8: low 4 bits
    scales[8 + j % 4]   bits 2 (j // 4), 2 (j // 4) + 1: upper 2 bits

    w = (d * (sc - 32)) * (q - 4)

Source: ggml-common.h block_q3_K; ggml-quants.c dequantize_row_q3_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import half_of, load_u8, load_u8x32, signed_to_f32, store
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import ONE, ZERO, clipped, largest, nearest, search_scale_by_exchange


def q3_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q3_K block."""
    h, r, j = i // 128, i % 128 // 32, i // 16
    d = block.half("d", 108)
    low = block.bits("sc low", 96 + j % 8, 4 * (j // 8), 4)
    high = block.bits("sc high", 104 + j % 4, 2 * (j // 4), 2)
    sc = block.made("sc", low | high << 4, "sc high × 16 + sc low")
    low, high = block.code("low", 32 + 32 * h + i % 32, 2 * r, 2), block.code("high", i % 32, 4 * h + r, 1)
    q = block.made("q", low | high << 2, "high × 4 + low")
    return d * f32(sc - 32) * f32(q - 4)


@inline
def sub_scale(flat, scales, j):
    """Return the scale of sub-block j, -32 … 31; `scales` is where the 12 bytes begin."""
    low = load_u8(flat, scales + j % 8) >> (4 * (j // 8)) & 15
    high = load_u8(flat, scales + 8 + j % 4) >> (2 * (j // 4)) & 3
    return np.int32(low | high << 4) - np.int32(32)


@kernel
def q3_k_decode(raw, out):
    """Decode Q3_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 110 * b
        d = load_half(flat, at + 108)
        for h in range(2):
            low, high = load_u8x32(flat, at + 32 + 32 * h), load_u8x32(flat, at) >> (4 * h)
            for r in range(4):
                q, s = (low >> (2 * r) & 3 | (high >> r & 1) << 2) - 4, 8 * h + 2 * r
                first = d * np.float32(sub_scale(flat, at + 96, s))
                second = d * np.float32(sub_scale(flat, at + 96, s + 1))
                store(values, 256 * b + 16 * s, signed_to_f32(half_of(q, 0)) * first)
                store(values, 256 * b + 16 * s + 16, signed_to_f32(half_of(q, 1)) * second)


@kernel
def q3_k_encode(values, out):
    """Quantize to Q3_K."""
    codes, scales = np.empty(256, np.int64), np.empty(16, np.float32)
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        for j in range(16):
            scales[j] = search_scale_by_exchange(x[16 * j : 16 * j + 16], 4, codes[16 * j : 16 * j + 16])
        block[:] = 0
        top = largest(scales)
        if top != ZERO:
            iscale = np.float32(-32) / top
            store(block, 108, f32_to_half(ONE / iscale))
            for j in range(16):
                sc = clipped(np.int64(np.int8(nearest(iscale * scales[j]) & 255)), -32, 31) + 32
                block[96 + j % 8] |= (sc & 15) << 4 * (j // 8)
                block[104 + j % 4] |= (sc >> 4) << 2 * (j // 4)
        for j in range(16):
            d = load_half(block, 108) * np.float32(sub_scale(block, 96, j))
            if d == ZERO:
                continue
            for i in range(16 * j, 16 * j + 16):
                codes[i] = clipped(nearest(x[i] / d), -4, 3) + 4
        for i in range(256):
            block[i % 32] |= (codes[i] >> 2) << i // 32
            block[32 + 32 * (i // 128) + i % 32] |= (codes[i] & 3) << 2 * (i % 128 // 32)


FIELDS = (
    Field("hmask", "u8", 32, "third bits of 256 codes"),
    Field("qs", "u8", 64, "low 2 bits of 256 codes"),
    Field("scales", "u8", 12, "16 scales of 6 bits"),
    Field("d", "f16", 1, "scale of the scales"),
)
FORMULA = "(d * (sc - 32)) * (q - 4)"
SUMMARY = "3 bits, 16 scales"
UNIT = (("scales", b"\x11" * 8 + b"\xaa" * 4),)  # every scale 33, which counts from 32
FORMATS = (QuantFormat("Q3_K", 256, FIELDS, q3_k_weight, FORMULA, q3_k_decode, q3_k_encode, SUMMARY, UNIT),)
