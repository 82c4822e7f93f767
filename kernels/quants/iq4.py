"""IQ4_NL and IQ4_XS: weights of four bits that name one of sixteen values, more of them near zero.

    IQ4_NL, 32 weights, 18 bytes      byte 0     2                18
                                           | d f16 | qs: 16 bytes   |
    qs[j]   bits 0-3: code of weight j, bits 4-7: of weight j + 16                     j = 0 … 15
    w = d * value[q]

    IQ4_XS, 256 weights in 8 sub-blocks of 32, 136 bytes
                                      byte 0     2              4             8                136
                                           | d f16 | scales_h u16 | scales_l: 4 | qs: 128        |
    qs[16 s + j]         bits 0-3: code of weight 32 s + j, bits 4-7: of weight 32 s + 16 + j
    scales_l[s // 2]     bits 4 (s % 2) … + 3: low 4 bits of the scale of sub-block s
    scales_h             bits 2 s, 2 s + 1: its upper 2 bits                           s = 0 … 7, j = 0 … 15
    w = (d * (sc - 32)) * value[q]

    value   -127 … 113, from codebooks.npz

Source: ggml-common.h block_iq4_nl, block_iq4_xs; ggml-quants.c dequantize_row_iq4_nl, dequantize_row_iq4_xs.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import f32_to_half, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8, load_u8x16, load_u16, signed_to_f32, store
from refgguf.kernels.lookup import look_up
from refgguf.kernels.quants.codebooks import codebook
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32
from refgguf.kernels.quants.search import (
    NOTHING,
    ONE,
    ZERO,
    clipped,
    inverse,
    largest,
    nearest,
    nearest_entry,
)

VALUES = codebook("iq4_nl")
TABLE = VALUES.view(np.int8)


def _value(block: Block, at: int, low: int) -> np.float32:
    q = block.code("q", at, low, 4)
    return f32(block.entry("value", TABLE, 0, 16, q))


def iq4_nl_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ4_NL block."""
    return block.half("d", 0) * _value(block, 2 + i % 16, 4 * (i // 16))


def iq4_xs_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ4_XS block."""
    s = i // 32
    d = block.half("d", 0)
    low = block.bits("sc low", 4 + s // 2, 4 * (s % 2), 4)
    high = block.bits("sc high", 2 + s // 4, 2 * (s % 4), 2)
    sc = block.made("sc", low | high << 4, "sc high × 16 + sc low")
    return d * f32(sc - 32) * _value(block, 8 + 16 * s + i % 16, 4 * (i % 32 // 16))


@kernel
def iq4_nl_decode(raw, out):
    """Decode IQ4_NL blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    table = load_u8x16(VALUES, 0)
    for b in range(raw.shape[0]):
        d = load_half(flat, 18 * b)
        q = load_u8x16(flat, 18 * b + 2)
        store(values, 32 * b, signed_to_f32(look_up(table, q & 15)) * d)
        store(values, 32 * b + 16, signed_to_f32(look_up(table, q >> 4)) * d)


@kernel
def iq4_xs_decode(raw, out):
    """Decode IQ4_XS blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    table = load_u8x16(VALUES, 0)
    for b in range(raw.shape[0]):
        at, w = 136 * b, 256 * b
        d, high = load_half(flat, at), load_u16(flat, at + 2)
        for s in range(8):
            scale = (load_u8(flat, at + 4 + s // 2) >> (4 * (s % 2)) & 15) | (high >> (2 * s) & 3) << 4
            dl = d * np.float32(np.int32(scale) - np.int32(32))
            q = load_u8x16(flat, at + 8 + 16 * s)
            store(values, w + 32 * s, signed_to_f32(look_up(table, q & 15)) * dl)
            store(values, w + 32 * s + 16, signed_to_f32(look_up(table, q >> 4)) * dl)


@inline
def fit_of(x, iscale):
    """Return the products of values with weights and with themselves, each weight counting by its square."""
    sum_qx, sum_q2 = ZERO, ZERO
    for i in range(32):
        w, q = x[i] * x[i], np.float32(TABLE[nearest_entry(TABLE, iscale * x[i])])
        sum_qx += w * q * x[i]
        sum_q2 += w * q * q
    return sum_qx, sum_q2


@inline
def search_scale(x):
    """Find the scale of 32 weights for the sixteen values: quantize_row_iq4_nl_impl with 7 tries each way."""
    top = largest(x)
    if abs(top) < NOTHING:
        return ZERO
    lowest = np.float32(TABLE[0])
    sum_qx, sum_q2 = fit_of(x, ONE / (-top / lowest))
    d = sum_qx / sum_q2 if sum_q2 > ZERO else ZERO
    best = d * sum_qx
    for step in range(-7, 8):
        sum_qx, sum_q2 = fit_of(x, (np.float32(step) + lowest) / top)
        if sum_q2 > ZERO and sum_qx * sum_qx > best * sum_q2:
            d = sum_qx / sum_q2
            best = d * sum_qx
    return d


@inline
def store_codes(block, at, x, iscale):
    """Write the codes of 32 weights from byte `at` on."""
    for i in range(16):
        low, high = nearest_entry(TABLE, iscale * x[i]), nearest_entry(TABLE, iscale * x[i + 16])
        block[at + i] = low | high << 4


@kernel
def iq4_nl_encode(values, out):
    """Quantize to IQ4_NL."""
    for b in range(values.shape[0]):
        d = search_scale(values[b])
        store(out[b], 0, f32_to_half(d))
        store_codes(out[b], 2, values[b], inverse(d))


@kernel
def iq4_xs_encode(values, out):
    """Quantize to IQ4_XS."""
    scales = np.empty(8, np.float32)
    for b in range(values.shape[0]):
        block = out[b]
        for s in range(8):
            scales[s] = search_scale(values[b, 32 * s : 32 * s + 32])
        d = -largest(scales) / np.float32(32)
        block[2:8] = 0
        store(block, 0, f32_to_half(d))
        for s in range(8):
            sc = clipped(nearest(inverse(d) * scales[s]), -32, 31)
            store_codes(block, 8 + 16 * s, values[b, 32 * s : 32 * s + 32], inverse(d * np.float32(sc)))
            block[4 + s // 2] |= (sc + 32 & 15) << 4 * (s % 2)
            block[2 + s // 4] |= (sc + 32 >> 4) << 2 * (s % 4)


NL_FIELDS = (
    Field("d", "f16", 1, "scale"),
    Field(
        "qs", "u8", 16, "32 codes of 4 bits, of weight j in the low half, of weight j + 16 in the high half"
    ),
)
XS_FIELDS = (
    Field("d", "f16", 1, "scale of the scales"),
    Field("scales_h", "u16", 1, "upper 2 bits of 8 scales"),
    Field("scales_l", "u8", 4, "low 4 bits of 8 scales"),
    Field("qs", "u8", 128, "256 codes of 4 bits"),
)
NL_SUMMARY = "4 bits, sixteen uneven values"
XS_SUMMARY = NL_SUMMARY + ", 8 scales"
XS_UNIT = (("scales_h", b"\xaa"), ("scales_l", b"\x11"))  # every scale 33, which counts from 32
XS_FORMULA = "(d * (sc - 32)) * value"
FORMATS = (
    QuantFormat(
        "IQ4_NL", 32, NL_FIELDS, iq4_nl_weight, "d * value", iq4_nl_decode, iq4_nl_encode, NL_SUMMARY
    ),
    QuantFormat(
        "IQ4_XS", 256, XS_FIELDS, iq4_xs_weight, XS_FORMULA, iq4_xs_decode, iq4_xs_encode, XS_SUMMARY, XS_UNIT
    ),
)
