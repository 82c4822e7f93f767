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

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_u8, load_u8x16, load_u16, signed_to_f32, store
from refgguf.kernels.lookup import look_up
from refgguf.kernels.quants.codebooks import codebook
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32

VALUES = codebook("iq4_nl")


def _value(block: Block, at: int, low: int) -> np.float32:
    q = block.code("q", at, low, 4)
    return f32(block.made("value", int(VALUES.view(np.int8)[q]), "entry q of the sixteen values"))


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
SUMMARY = "4 bits, sixteen uneven values"
XS_FORMULA = "(d * (sc - 32)) * value"
FORMATS = (
    QuantFormat("IQ4_NL", 32, NL_FIELDS, iq4_nl_weight, "d * value", iq4_nl_decode, summary=SUMMARY),
    QuantFormat(
        "IQ4_XS", 256, XS_FIELDS, iq4_xs_weight, XS_FORMULA, iq4_xs_decode, summary=SUMMARY + ", 8 scales"
    ),
)
