"""Q2_K: 256 weights of two bits in 16 sub-blocks of 16, each with a 4-bit scale and a 4-bit minimum.

    byte 0             16              80      82         84
         | scales: 16    | qs: 64        | d f16 | dmin f16 |

    scales[j]  bits 0-3: scale, bits 4-7: minimum of sub-block j

    The block has two halves h = 0, 1 of 128 weights, each four runs r = 0 … 3 of 32 weights (i = 0 … 31):

    qs[32 h + i]    bits 2 r, 2 r + 1: the code
    scales[8 h + 2 r + i // 16]

    w = (d * sc) * q - (dmin * m)

Source: ggml-common.h block_q2_K; ggml-quants.c dequantize_row_q2_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, half_to_f32, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8, load_u8x16, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import ZERO, clear, clipped, nearest, search_scale_and_min


def q2_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q2_K block."""
    h, r = i // 128, i % 128 // 32
    d, dmin = block.half("d", 80), block.half("dmin", 82)
    sc, m = block.bits("sc", i // 16, 0, 4), block.bits("m", i // 16, 4, 4)
    q = block.code("q", 16 + 32 * h + i % 32, 2 * r, 2)
    return d * f32(sc) * f32(q) - dmin * f32(m)


@kernel
def q2_k_decode(raw, out):
    """Decode Q2_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 84 * b
        d, dmin = load_half(flat, at + 80), load_half(flat, at + 82)
        for s in range(16):  # 16 weights each, eight times for each half
            h, r, i = s // 8, s % 8 // 2, 16 * (s % 2)
            q = load_u8x16(flat, at + 16 + 32 * h + i) >> (2 * r) & 3
            scale = load_u8(flat, at + s)
            dl, ml = d * np.float32(scale & 15), dmin * np.float32(scale >> 4)
            store(values, 256 * b + 16 * s, to_f32(q) * dl - ml)


@inline
def shared_scale(numbers, n_max, codes):
    """Write codes 0 … n_max of numbers of one sign, and return the scale that is stored for them, as a half."""
    top = ZERO
    for j in range(numbers.size):
        if numbers[j] > top:
            top = numbers[j]
    if not top > ZERO:
        clear(codes)
        return f32_to_half(ZERO)
    iscale = np.float32(n_max) / top
    for j in range(numbers.size):
        codes[j] = nearest(iscale * numbers[j]) & 255
    return f32_to_half(top / np.float32(n_max))


@kernel
def q2_k_encode(values, out):
    """Quantize to Q2_K."""
    codes, trial = np.empty(256, np.int64), np.empty(16, np.int64)
    weights, scales, minima = np.empty(16, np.float32), np.empty(16, np.float32), np.empty(16, np.float32)
    sc, m = np.empty(16, np.int64), np.empty(16, np.int64)
    for b in range(values.shape[0]):
        x, block = values[b], out[b]
        for j in range(16):
            part = x[16 * j : 16 * j + 16]
            for i in range(16):
                weights[i] = abs(part[i])
            scales[j], minima[j] = search_scale_and_min(
                part, weights, 3, np.float32(-0.5), 15, True, codes[16 * j : 16 * j + 16], trial
            )
        d_bits, dmin_bits = shared_scale(scales, 15, sc), shared_scale(minima, 15, m)
        store(block, 80, d_bits)
        store(block, 82, dmin_bits)
        for j in range(16):
            block[j] = (sc[j] | m[j] << 4) & 255
            d = half_to_f32(d_bits) * np.float32(block[j] & 15)
            if d == ZERO:
                continue
            low = half_to_f32(dmin_bits) * np.float32(block[j] >> 4)
            for i in range(16 * j, 16 * j + 16):
                codes[i] = clipped(nearest((x[i] + low) / d), 0, 3)
        for h in range(2):
            for i in range(32):
                c = codes[128 * h + i :]
                block[16 + 32 * h + i] = c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6


FIELDS = (
    Field("scales", "u8", 16, "4-bit scale (low) and minimum (high) of 16 sub-blocks"),
    Field("qs", "u8", 64, "256 codes of 2 bits"),
    Field("d", "f16", 1, "scale of the scales"),
    Field("dmin", "f16", 1, "scale of the minima"),
)
FORMATS = (
    QuantFormat(
        "Q2_K",
        256,
        FIELDS,
        q2_k_weight,
        "(d * sc) * q - (dmin * m)",
        q2_k_decode,
        q2_k_encode,
        "2 bits, 16 scales and minima",
        unit=(("scales", b"\x01"),),
    ),
)
