"""IQ2_XXS, IQ2_XS and IQ2_S: eight weights at a time from a grid of magnitudes, and a sign for each.

    The block has 8 groups s = 0 … 7 of 32 weights, each 4 runs l = 0 … 3 of 8 weights (i = 0 … 7): weight
    32 s + 8 l + i.

    IQ2_XXS, 66 bytes     byte 0     2                66
                               | d f16 | qs: 32 x u16   |           8 bytes a group, g = 2 + 8 s:
    byte g + l            grid entry, one of 256
    u32 at g + 4          bits 7 l … + 6: signs of run l, bits 28-31: scale of the group
    w = (d * (0.5 + sc) * 0.25) * magnitude * sign

    IQ2_XS, 74 bytes      byte 0     2                66                 74
                               | d f16 | qs: 32 x u16   | scales: 8 bytes   |
    qs[4 s + l]           bits 0-8: grid entry, one of 512, bits 9-15: signs of the run
    scales[s]             bits 0-3: scale of runs 0 and 1, bits 4-7: of runs 2 and 3
    w as above

    IQ2_S, 82 bytes       byte 0     2              34               66           74                 82
                               | d f16 | qs: 32 bytes | signs: 32      | qh: 8      | scales: 8 bytes   |
    qs[4 s + l]           low 8 bits of the grid entry, one of 1024
    qh[s]                 bits 2 l, 2 l + 1: its upper 2 bits
    signs[4 s + l]        bit i: sign of weight i;  scales and w as above

    magnitude   8, 25 or 43, byte i of the grid entry, from codebooks.npz
    sign        -1 where bit i is set; where seven bits stand for eight signs, the eighth makes their number even

ggml-common.h has signs and qs of IQ2_S as one array. Source: ggml-common.h block_iq2_xxs, block_iq2_xs,
block_iq2_s; ggml-quants.c dequantize_row_iq2_xxs, dequantize_row_iq2_xs, dequantize_row_iq2_s.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_u8, load_u8x8, load_u16, load_u32, signed_to_f32, store
from refgguf.kernels.quants.codebooks import codebook, sign_byte, sign_masks
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32

XXS_GRID, XS_GRID, S_GRID = codebook("iq2_xxs"), codebook("iq2_xs"), codebook("iq2_s")
SIGNS_7, SIGNS_8 = sign_masks(128), sign_masks(256)


def _scaled(
    block: Block, grid: np.ndarray, entry: int, signs: int, i: int, d: np.float32, sc: int
) -> np.float32:
    """Return weight i of a run."""
    magnitude = block.entry("magnitude", grid, entry, 8, i)
    sign = block.made("sign", -1 if signs >> i & 1 else 1, f"bit {i} of the signs {signs:08b}")
    return d * (f32(0.5) + f32(sc)) * f32(0.25) * f32(magnitude) * f32(sign)


def iq2_xxs_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ2_XXS block."""
    group, run = 2 + 8 * (i // 32), i % 32 // 8
    d, sc = block.half("d", 0), block.bits("sc", group + 4, 28, 4)
    entry, signs = block.code("entry", group + run), sign_byte(block.code("signs", group + 4, 7 * run, 7))
    return _scaled(block, XXS_GRID, entry, signs, i % 8, d, sc)


def iq2_xs_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ2_XS block."""
    run = 2 + 2 * (i // 8)
    d, sc = block.half("d", 0), block.bits("sc", 66 + i // 32, 4 * (i % 32 // 16), 4)
    entry, signs = block.code("entry", run, 0, 9), sign_byte(block.code("signs", run, 9, 7))
    return _scaled(block, XS_GRID, entry, signs, i % 8, d, sc)


def iq2_s_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ2_S block."""
    d, sc = block.half("d", 0), block.bits("sc", 74 + i // 32, 4 * (i % 32 // 16), 4)
    low, high = block.code("low", 2 + i // 8), block.code("high", 66 + i // 32, 2 * (i % 32 // 8), 2)
    entry = block.made("entry", low | high << 8, "high × 256 + low")
    return _scaled(block, S_GRID, entry, block.code("signs", 34 + i // 8), i % 8, d, sc)


@inline
def signed_grid(grid, entry, masks, signs):
    """Return eight magnitudes of a grid with their signs, as float32 lanes."""
    mask = load_u8x8(masks, 8 * signs)
    return signed_to_f32((load_u8x8(grid, 8 * entry) ^ mask) - mask)


@inline
def group_scale(d, scale):
    """Return the scale of a run: four bits, counted from a half."""
    return d * (np.float32(0.5) + np.float32(scale)) * np.float32(0.25)


@kernel
def iq2_xxs_decode(raw, out):
    """Decode IQ2_XXS blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        d = load_half(flat, 66 * b)
        for s in range(8):
            group = 66 * b + 2 + 8 * s
            packed = np.int64(load_u32(flat, group + 4))
            db = group_scale(d, packed >> 28)
            for run in range(4):
                lanes = signed_grid(XXS_GRID, load_u8(flat, group + run), SIGNS_7, packed >> (7 * run) & 127)
                store(values, 256 * b + 32 * s + 8 * run, lanes * db)


@kernel
def iq2_xs_decode(raw, out):
    """Decode IQ2_XS blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 74 * b
        d = load_half(flat, at)
        for s in range(8):
            scales = load_u8(flat, at + 66 + s)
            db0, db1 = group_scale(d, scales & 15), group_scale(d, scales >> 4)
            for run in range(4):
                packed = load_u16(flat, at + 2 + 8 * s + 2 * run)
                lanes = signed_grid(XS_GRID, packed & 511, SIGNS_7, packed >> 9)
                store(values, 256 * b + 32 * s + 8 * run, lanes * (db0 if run < 2 else db1))


@kernel
def iq2_s_decode(raw, out):
    """Decode IQ2_S blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 82 * b
        d = load_half(flat, at)
        for s in range(8):
            scales, high = load_u8(flat, at + 74 + s), load_u8(flat, at + 66 + s)
            db0, db1 = group_scale(d, scales & 15), group_scale(d, scales >> 4)
            for run in range(4):
                entry = load_u8(flat, at + 2 + 4 * s + run) | (high >> (2 * run) & 3) << 8
                lanes = signed_grid(S_GRID, entry, SIGNS_8, load_u8(flat, at + 34 + 4 * s + run))
                store(values, 256 * b + 32 * s + 8 * run, lanes * (db0 if run < 2 else db1))


D = Field("d", "f16", 1, "scale of the scales")
SCALES = Field("scales", "u8", 8, "16 scales of 4 bits")
XXS_FIELDS = (D, Field("qs", "u16", 32, "8 groups: 4 grid entries of 8 bits, 4 times 7 signs, a 4-bit scale"))
XS_FIELDS = (D, Field("qs", "u16", 32, "32 grid entries of 9 bits, each with 7 signs"), SCALES)
S_FIELDS = (
    D,
    Field("qs", "u8", 32, "low 8 bits of 32 grid entries"),
    Field("signs", "u8", 32, "256 signs"),
    Field("qh", "u8", 8, "upper 2 bits of 32 grid entries"),
    SCALES,
)
FORMULA = "d * (0.5 + sc) * 0.25 * magnitude * sign"
SUMMARY = "2 bits, grid of {} by 8"
FORMATS = (
    QuantFormat(
        "IQ2_XXS", 256, XXS_FIELDS, iq2_xxs_weight, FORMULA, iq2_xxs_decode, summary=SUMMARY.format(256)
    ),
    QuantFormat("IQ2_XS", 256, XS_FIELDS, iq2_xs_weight, FORMULA, iq2_xs_decode, summary=SUMMARY.format(512)),
    QuantFormat("IQ2_S", 256, S_FIELDS, iq2_s_weight, FORMULA, iq2_s_decode, summary=SUMMARY.format(1024)),
)
