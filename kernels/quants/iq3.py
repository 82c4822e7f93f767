"""IQ3_XXS and IQ3_S: four weights at a time from a grid of magnitudes, and a sign for each.

    The block has 8 groups s = 0 … 7 of 32 weights, each 8 runs l = 0 … 7 of 4 weights (i = 0 … 3): weight
    32 s + 4 l + i.

    IQ3_XXS, 98 bytes     byte 0     2              66                          98
                               | d f16 | qs: 64       | signs_and_scales: 8 x u32 |
    qs[8 s + l]           grid entry, one of 256
    signs_and_scales[s]   bits 7 p … + 6: signs of runs 2 p and 2 p + 1 (p = 0 … 3), bits 28-31: scale
    w = (d * (0.5 + sc) * 0.5) * magnitude * sign

    IQ3_S, 110 bytes      byte 0     2              66           74               106                110
                               | d f16 | qs: 64       | qh: 8      | signs: 32      | scales: 4 bytes   |
    qs[8 s + l]           low 8 bits of the grid entry, one of 512
    qh[s]                 bit l: its ninth bit
    signs[4 s + p]        bit 4 (l % 2) + i: sign of weight i of run l = 2 p, 2 p + 1
    scales[s // 2]        bits 4 (s % 2) … + 3: scale of the group
    w = (d * (1 + 2 sc)) * magnitude * sign

    magnitude   byte i of the grid entry, from codebooks.npz
    sign        -1 where the bit is set; IQ3_XXS stores seven for eight, the eighth makes their number even

ggml-common.h has qs and signs_and_scales of IQ3_XXS as one array. Source: ggml-common.h block_iq3_xxs,
block_iq3_s; ggml-quants.c dequantize_row_iq3_xxs, dequantize_row_iq3_s.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import join_u8x8, load_u8, load_u8x8, load_u32, signed_to_f32, store
from refgguf.kernels.quants.codebooks import codebook, sign_byte, sign_masks
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32

XXS_GRID, S_GRID = codebook("iq3_xxs"), codebook("iq3_s")
SIGNS_7, SIGNS_8 = sign_masks(128), sign_masks(256)


def _magnitude_and_sign(block: Block, grid: np.ndarray, entry: int, signs: int, i: int) -> tuple[int, int]:
    """Return magnitude and sign of weight i, given the signs of its eight."""
    magnitude = block.entry("magnitude", grid, entry, 4, i % 4)
    sign = block.made("sign", -1 if signs >> i % 8 & 1 else 1, f"bit {i % 8} of the signs {signs:08b}")
    return magnitude, sign


def iq3_xxs_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ3_XXS block."""
    packed = 66 + 4 * (i // 32)
    d, sc = block.half("d", 0), block.bits("sc", packed, 28, 4)
    entry, signs = block.code("entry", 2 + i // 4), block.code("signs", packed, 7 * (i % 32 // 8), 7)
    magnitude, sign = _magnitude_and_sign(block, XXS_GRID, entry, sign_byte(signs), i)
    return d * (f32(0.5) + f32(sc)) * f32(0.5) * f32(magnitude) * f32(sign)


def iq3_s_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ3_S block."""
    d, sc = block.half("d", 0), block.bits("sc", 106 + i // 64, 4 * (i % 64 // 32), 4)
    low, high = block.code("low", 2 + i // 4), block.code("high", 66 + i // 32, i % 32 // 4, 1)
    entry = block.made("entry", low | high << 8, "high × 256 + low")
    magnitude, sign = _magnitude_and_sign(block, S_GRID, entry, block.code("signs", 74 + i // 8), i)
    return d * f32(1 + 2 * sc) * f32(magnitude) * f32(sign)


@inline
def signed_grid(grid, first, second, masks, signs):
    """Return four magnitudes of each of two grid entries with their signs, as float32 lanes."""
    mask = load_u8x8(masks, 8 * signs)
    magnitudes = join_u8x8(load_u32(grid, 4 * first), load_u32(grid, 4 * second))
    return signed_to_f32((magnitudes ^ mask) - mask)


@kernel
def iq3_xxs_decode(raw, out):
    """Decode IQ3_XXS blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 98 * b)
        for s in range(8):
            packed = np.int64(load_u32(flat, 98 * b + 66 + 4 * s))
            db = d * (np.float32(0.5) + np.float32(packed >> 28)) * np.float32(0.5)
            for p in range(4):
                at = 98 * b + 2 + 8 * s + 2 * p
                first, second = load_u8(flat, at), load_u8(flat, at + 1)
                lanes = signed_grid(XXS_GRID, first, second, SIGNS_7, packed >> (7 * p) & 127)
                store(values, 256 * b + 32 * s + 8 * p, lanes * db)


@kernel
def iq3_s_decode(raw, out):
    """Decode IQ3_S blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 110 * b
        d = load_half(flat, at)
        for s in range(8):
            high = load_u8(flat, at + 66 + s)
            scale = load_u8(flat, at + 106 + s // 2) >> (4 * (s % 2)) & 15
            db = d * np.float32(1 + 2 * scale)
            for p in range(4):
                entries = at + 2 + 8 * s + 2 * p
                first = load_u8(flat, entries) | (high >> (2 * p) & 1) << 8
                second = load_u8(flat, entries + 1) | (high >> (2 * p + 1) & 1) << 8
                lanes = signed_grid(S_GRID, first, second, SIGNS_8, load_u8(flat, at + 74 + 4 * s + p))
                store(values, 256 * b + 32 * s + 8 * p, lanes * db)


D = Field("d", "f16", 1, "scale of the scales")
XXS_FIELDS = (
    D,
    Field("qs", "u8", 64, "64 grid entries of 8 bits"),
    Field("signs_and_scales", "u32", 8, "4 times 7 signs and a 4-bit scale each"),
)
S_FIELDS = (
    D,
    Field("qs", "u8", 64, "low 8 bits of 64 grid entries"),
    Field("qh", "u8", 8, "ninth bits of 64 grid entries"),
    Field("signs", "u8", 32, "256 signs"),
    Field("scales", "u8", 4, "8 scales of 4 bits"),
)
XXS_FORMULA, S_FORMULA = "d * (0.5 + sc) * 0.5 * magnitude * sign", "d * (1 + 2 * sc) * magnitude * sign"
SUMMARY = "3 bits, grid of {} by 4"
FORMATS = (
    QuantFormat(
        "IQ3_XXS", 256, XXS_FIELDS, iq3_xxs_weight, XXS_FORMULA, iq3_xxs_decode, summary=SUMMARY.format(256)
    ),
    QuantFormat("IQ3_S", 256, S_FIELDS, iq3_s_weight, S_FORMULA, iq3_s_decode, summary=SUMMARY.format(512)),
)
