"""Q4_K and Q5_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.

    Q4_K, 144 bytes    byte 0     2        4              16                144
                            | d f16 | dmin f16 | scales: 12 | qs: 128         |
    Q5_K, 176 bytes    byte 0     2        4              16        48                176
                            | d f16 | dmin f16 | scales: 12 | qh: 32  | qs: 128         |

    scales  bit 7 6  5 4 3 2 1 0              sc[j], m[j]: scale and minimum of sub-block j
    byte j      S    sc[j]                    j = 0 … 3;  S = upper 2 bits of sc[j + 4]
    byte j + 4  M    m[j]                                 M = upper 2 bits of m[j + 4]
    byte j + 8  bits 0-3: low 4 of sc[j + 4], bits 4-7: low 4 of m[j + 4]

    qs[32 g + i]  low 4 bits of the code of weight i of sub-block 2 g (bits 0-3) and 2 g + 1 (bits 4-7)
    qh[i]         bit j: fifth bit of the code of weight i of sub-block j                     (Q5_K only)
                  g = 0 … 3, i = 0 … 31

    w = (d * sc) * q - (dmin * m)

Source: ggml-common.h block_q4_K, block_q5_K; ggml-quants.c get_scale_min_k4, dequantize_row_q4_K,
dequantize_row_q5_K.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8, load_u8x32, store, to_f32
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import ZERO, clipped, nearest, search_scale_and_min


def scale_and_min(block: Block, j: int) -> tuple[int, int]:
    """Return the 6-bit scale and minimum of sub-block j; both types have them at byte 4."""
    if j < 4:
        return block.bits("sc", 4 + j, 0, 6), block.bits("m", 8 + j, 0, 6)
    low, high = block.bits("sc low", 8 + j, 0, 4), block.bits("sc high", j, 6, 2)
    sc = block.made("sc", low | high << 4, "sc high × 16 + sc low")
    low, high = block.bits("m low", 8 + j, 4, 4), block.bits("m high", 4 + j, 6, 2)
    return sc, block.made("m", low | high << 4, "m high × 16 + m low")


def q4_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q4_K block."""
    j = i // 32
    d, dmin = block.half("d", 0), block.half("dmin", 2)
    sc, m = scale_and_min(block, j)
    q = block.code("q", 16 + 32 * (j // 2) + i % 32, 4 * (j % 2), 4)
    return d * f32(sc) * f32(q) - dmin * f32(m)


def q5_k_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of a Q5_K block."""
    j = i // 32
    d, dmin = block.half("d", 0), block.half("dmin", 2)
    sc, m = scale_and_min(block, j)
    low = block.code("low", 48 + 32 * (j // 2) + i % 32, 4 * (j % 2), 4)
    q = block.made("q", low | block.code("high", 16 + i % 32, j, 1) << 4, "high × 16 + low")
    return d * f32(sc) * f32(q) - dmin * f32(m)


@inline
def sub_scale(flat, scales, j):
    """Return the 6-bit scale and minimum of sub-block j; `scales` is where their 12 bytes begin."""
    if j < 4:
        return load_u8(flat, scales + j) & 63, load_u8(flat, scales + j + 4) & 63
    low = load_u8(flat, scales + j + 4)
    high_sc, high_m = load_u8(flat, scales + j - 4) >> 6, load_u8(flat, scales + j) >> 6
    return low & 15 | high_sc << 4, low >> 4 | high_m << 4


@kernel
def q4_k_decode(raw, out):
    """Decode Q4_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at, w = 144 * b, 256 * b
        d, dmin = load_half(flat, at), load_half(flat, at + 2)
        for g in range(4):
            q = load_u8x32(flat, at + 16 + 32 * g)
            sc, m = sub_scale(flat, at + 4, 2 * g)
            store(values, w + 64 * g, to_f32(q & 15) * (d * np.float32(sc)) - dmin * np.float32(m))
            sc, m = sub_scale(flat, at + 4, 2 * g + 1)
            store(values, w + 64 * g + 32, to_f32(q >> 4) * (d * np.float32(sc)) - dmin * np.float32(m))


@kernel
def q5_k_decode(raw, out):
    """Decode Q5_K blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at, w = 176 * b, 256 * b
        d, dmin = load_half(flat, at), load_half(flat, at + 2)
        high = load_u8x32(flat, at + 16)
        for g in range(4):
            low = load_u8x32(flat, at + 48 + 32 * g)
            sc, m = sub_scale(flat, at + 4, 2 * g)
            q = low & 15 | (high >> (2 * g) & 1) << 4
            store(values, w + 64 * g, to_f32(q) * (d * np.float32(sc)) - dmin * np.float32(m))
            sc, m = sub_scale(flat, at + 4, 2 * g + 1)
            q = low >> 4 | (high >> (2 * g + 1) & 1) << 4
            store(values, w + 64 * g + 32, to_f32(q) * (d * np.float32(sc)) - dmin * np.float32(m))


@inline
def store_scales(block, scales, minima):
    """Write d, dmin and the packed 6-bit scales and minima of eight sub-blocks."""
    top, top_min = ZERO, ZERO
    for j in range(8):
        if scales[j] > top:
            top = scales[j]
        if minima[j] > top_min:
            top_min = minima[j]
    iscale = np.float32(63) / top if top > ZERO else ZERO
    iscale_min = np.float32(63) / top_min if top_min > ZERO else ZERO
    store(block, 0, f32_to_half(top / np.float32(63)))
    store(block, 2, f32_to_half(top_min / np.float32(63)))
    for j in range(8):
        sc, m = min(63, nearest(iscale * scales[j]) & 255), min(63, nearest(iscale_min * minima[j]) & 255)
        if j < 4:
            block[4 + j], block[8 + j] = sc, m
        else:
            block[8 + j] = sc & 15 | (m & 15) << 4
            block[j] |= (sc >> 4) << 6
            block[4 + j] |= (m >> 4) << 6


@inline
def search_block(x, block, n_max, first, n_steps, codes, trial, weights):
    """Find scales and minima of a block, write them, and return in `codes` what fits them as they are stored."""
    scales, minima = np.empty(8, np.float32), np.empty(8, np.float32)
    for j in range(8):
        part = x[32 * j : 32 * j + 32]
        sum_x2 = ZERO
        for i in range(32):
            sum_x2 += part[i] * part[i]
        average = np.sqrt(sum_x2 / np.float32(32))
        for i in range(32):
            weights[i] = average + abs(part[i])
        scales[j], minima[j] = search_scale_and_min(
            part, weights, n_max, first, n_steps, False, codes[32 * j : 32 * j + 32], trial
        )
    store_scales(block, scales, minima)
    for j in range(8):
        sc, m = sub_scale(block, 4, j)
        d = load_half(block, 0) * np.float32(sc)
        if d == ZERO:
            continue
        low = load_half(block, 2) * np.float32(m)
        for i in range(32 * j, 32 * j + 32):
            codes[i] = clipped(nearest((x[i] + low) / d), 0, n_max)


@kernel
def q4_k_encode(values, out):
    """Quantize to Q4_K."""
    codes, trial, weights = np.empty(256, np.int64), np.empty(32, np.int64), np.empty(32, np.float32)
    for b in range(values.shape[0]):
        block = out[b]
        search_block(values[b], block, 15, np.float32(-1), 20, codes, trial, weights)
        for i in range(128):
            at = i // 32 * 64 + i % 32
            block[16 + i] = codes[at] | codes[at + 32] << 4


@kernel
def q5_k_encode(values, out):
    """Quantize to Q5_K."""
    codes, trial, weights = np.empty(256, np.int64), np.empty(32, np.int64), np.empty(32, np.float32)
    for b in range(values.shape[0]):
        block = out[b]
        search_block(values[b], block, 31, np.float32(-0.5), 15, codes, trial, weights)
        block[16:48] = 0
        for i in range(128):
            at = i // 32 * 64 + i % 32
            block[48 + i] = codes[at] & 15 | (codes[at + 32] & 15) << 4
        for i in range(256):
            block[16 + i % 32] |= (codes[i] >> 4) << i // 32


HEAD = (
    Field("d", "f16", 1, "scale of the scales"),
    Field("dmin", "f16", 1, "scale of the minima"),
    Field("scales", "u8", 12, "8 scales and 8 minima of 6 bits"),
)
QH = Field("qh", "u8", 32, "fifth bits of 256 codes")
QS = Field("qs", "u8", 128, "low 4 bits of 256 codes")
FORMULA = "(d * sc) * q - (dmin * m)"
Q4_SUMMARY, Q5_SUMMARY = "4 bits, 8 scales and minima", "5 bits, 8 scales and minima"
UNIT = (("scales", b"\1" * 4 + b"\0" * 4 + b"\1" * 4),)  # every scale 1
Q4_FIELDS, Q5_FIELDS = (*HEAD, QS), (*HEAD, QH, QS)
FORMATS = (
    QuantFormat("Q4_K", 256, Q4_FIELDS, q4_k_weight, FORMULA, q4_k_decode, q4_k_encode, Q4_SUMMARY, UNIT),
    QuantFormat("Q5_K", 256, Q5_FIELDS, q5_k_weight, FORMULA, q5_k_decode, q5_k_encode, Q5_SUMMARY, UNIT),
)
