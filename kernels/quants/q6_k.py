"""Q6_K: 256 weights of six bits in 16 sub-blocks of 16, each with an 8-bit scale.

    byte 0            128        192             208     210
         | ql: 128      | qh: 64   | scales: 16 x i8 | d f16 |

    The block has two halves h = 0, 1 of 128 weights, each four runs r = 0 … 3 of 32 weights (i = 0 … 31):

    ql[64 h + 32 (r % 2) + i]   low 4 bits of the code: in bits 0-3 for r = 0, 1, in bits 4-7 for r = 2, 3
    qh[32 h + i]                bits 2 r, 2 r + 1: upper 2 bits of the code
    scales[8 h + 2 r + i // 16]

    w = (d * sc) * (q - 32)

Source: ggml-common.h block_q6_K; ggml-quants.c dequantize_row_q6_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import half_of, load_u8, load_u8x32, signed_to_f32, store
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import NOTHING, ONE, ZERO, clipped, largest, nearest, search_scale


def q6_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q6_K block."""
    h, r = i // 128, i % 128 // 32
    d, sc = block.half("d", 208), block.signed("sc", 192 + i // 16)
    low = block.code("low", 64 * h + 32 * (r % 2) + i % 32, 4 * (r // 2), 4)
    high = block.code("high", 128 + 32 * h + i % 32, 2 * r, 2)
    q = block.made("q", low | high << 4, "high × 16 + low")
    return d * f32(sc) * f32(q - 32)


@inline
def sub_scale(flat, at):
    """Return the signed scale at a byte as float32."""
    return np.float32(np.int8(load_u8(flat, at)))


@inline
def put(values, w, codes, d, flat, scales):
    """Write the weights of 32 codes, of which two scales have 16 each."""
    first, second = half_of(codes - 32, 0), half_of(codes - 32, 1)
    store(values, w, signed_to_f32(first) * (d * sub_scale(flat, scales)))
    store(values, w + 16, signed_to_f32(second) * (d * sub_scale(flat, scales + 1)))


@kernel
def q6_k_decode(raw, out):
    """Decode Q6_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 210 * b
        d = load_half(flat, at + 208)
        for h in range(2):
            low0, low1 = load_u8x32(flat, at + 64 * h), load_u8x32(flat, at + 64 * h + 32)
            high, scales, w = load_u8x32(flat, at + 128 + 32 * h), at + 192 + 8 * h, 256 * b + 128 * h
            put(values, w, low0 & 15 | (high & 3) << 4, d, flat, scales)
            put(values, w + 32, low1 & 15 | (high >> 2 & 3) << 4, d, flat, scales + 2)
            put(values, w + 64, low0 >> 4 | (high >> 4 & 3) << 4, d, flat, scales + 4)
            put(values, w + 96, low1 >> 4 | high >> 6 << 4, d, flat, scales + 6)


@kernel
def q6_k_encode(values, out):
    """Quantize to Q6_K."""
    codes, scales = np.empty(256, np.int64), np.empty(16, np.float32)
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        for j in range(16):
            scales[j] = search_scale(x[16 * j : 16 * j + 16], 32, codes[16 * j : 16 * j + 16])
        block[:] = 0
        top = largest(scales)
        if abs(top) < NOTHING:
            continue
        iscale = np.float32(-128) / top
        store(block, 208, f32_to_half(ONE / iscale))
        for j in range(16):
            block[192 + j] = min(127, nearest(iscale * scales[j])) & 255
            d = load_half(block, 208) * sub_scale(block, 192 + j)
            if d == ZERO:
                continue
            for i in range(16 * j, 16 * j + 16):
                codes[i] = clipped(nearest(x[i] / d), -32, 31) + 32
        for i in range(256):
            h, r = i // 128, i % 128 // 32
            block[64 * h + 32 * (r % 2) + i % 32] |= (codes[i] & 15) << 4 * (r // 2)
            block[128 + 32 * h + i % 32] |= (codes[i] >> 4) << 2 * r


FIELDS = (
    Field("ql", "u8", 128, "low 4 bits of 256 codes"),
    Field("qh", "u8", 64, "upper 2 bits of 256 codes"),
    Field("scales", "i8", 16, "scales of 16 sub-blocks"),
    Field("d", "f16", 1, "scale of the scales"),
)
FORMULA = "(d * sc) * (q - 32)"
SUMMARY = "6 bits, 16 scales"
UNIT = (("scales", b"\1"),)
FORMATS = (QuantFormat("Q6_K", 256, FIELDS, q6_k_weight, FORMULA, q6_k_decode, q6_k_encode, SUMMARY, UNIT),)
