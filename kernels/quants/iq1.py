"""IQ1_S and IQ1_M: eight weights at a time from a grid of -1, 0 and 1, all moved up or down by an eighth.

    The block has 8 groups s = 0 … 7 of 32 weights, each 4 runs l = 0 … 3 of 8 weights (i = 0 … 7): weight
    32 s + 8 l + i.

    IQ1_S, 50 bytes       byte 0     2              34               50
                               | d f16 | qs: 32       | qh: 8 x u16    |
    qs[4 s + l]           low 8 bits of the grid entry, one of 2048
    qh[s]                 bits 3 l … + 2: its upper 3 bits, bits 12-14: scale of the group, bit 15: shift down

    IQ1_M, 56 bytes       byte 0              32           48                  56
                               | qs: 32         | qh: 16     | scales: 4 x u16   |
    qs[4 s + l]           low 8 bits of the grid entry, one of 2048
    qh[2 s + l // 2]      bits 4 (l % 2) … + 2: its upper 3 bits, bit 4 (l % 2) + 3: shift down
    scales[s // 2]        bits 6 (s % 2) + 3 (l // 2) … + 2: scale of runs l = 0, 1 or 2, 3
    scales[0 … 3]         bits 12-15: bits 0-3, 4-7, 8-11, 12-15 of d, a float16

    w = (d * (2 sc + 1)) * (grid + shift)

    grid    byte i of the grid entry, from codebooks.npz;  shift  0.125, or -0.125 where its bit is set

Source: ggml-common.h block_iq1_s, block_iq1_m, IQ1S_DELTA; ggml-quants.c dequantize_row_iq1_s,
dequantize_row_iq1_m.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.half import half_to_f32, load_half
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.lanes import load_f32, load_u8, load_u8x8, load_u16, load_u64, signed_to_f32, store
from refgguf.kernels.quants.codebooks import codebook
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, f32, half_value

GRID = codebook("iq1_s")
SHIFT = np.float32(0.125)
SHIFTS = np.array([SHIFT, -SHIFT])


def _shifted(block: Block, low: int, high: int, down: int, i: int) -> np.float32:
    entry = block.made("entry", low | high << 8, "high × 256 + low")
    grid = block.entry("grid", GRID.view(np.int8), entry, 8, i)
    shift = block.made("shift", -SHIFT if down else SHIFT, "an eighth, down if the bit is set")
    return f32(grid) + shift


def iq1_s_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ1_S block."""
    group = 34 + 2 * (i // 32)
    d, sc = block.half("d", 0), block.bits("sc", group, 12, 3)
    low, high = block.code("low", 2 + i // 8), block.code("high", group, 3 * (i % 32 // 8), 3)
    return d * f32(2 * sc + 1) * _shifted(block, low, high, block.code("down", group, 15, 1), i % 8)


def iq1_m_weight(block: Block, i: int) -> np.float32:
    """Decode weight i of an IQ1_M block."""
    parts = [block.bits(f"d part {n}", 49 + 2 * n, 4, 4) for n in range(4)]
    d_bits = parts[0] | parts[1] << 4 | parts[2] << 8 | parts[3] << 12
    d = block.made("d", half_value(d_bits), "the float16 of the four parts, part 0 lowest")
    sc = block.bits("sc", 48 + 2 * (i // 64), 3 * (i % 64 // 16), 3)
    low, high = block.code("low", i // 8), block.code("high", 32 + i // 16, 4 * (i % 16 // 8), 3)
    return (
        d
        * f32(2 * sc + 1)
        * _shifted(block, low, high, block.code("down", 32 + i // 16, 4 * (i % 16 // 8) + 3, 1), i % 8)
    )


@inline
def shifted_grid(entry, down):
    """Return eight values of a grid entry, moved up (0) or down (1) by an eighth."""
    return signed_to_f32(load_u8x8(GRID, 8 * entry)) + load_f32(
        SHIFTS, down
    )  # a branch would be guessed wrong


@kernel
def iq1_s_decode(raw, out):
    """Decode IQ1_S blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 50 * b
        d = load_half(flat, at)
        for s in range(8):
            high = load_u16(flat, at + 34 + 2 * s)
            dl = d * np.float32(2 * (high >> 12 & 7) + 1)
            for run in range(4):
                entry = load_u8(flat, at + 2 + 4 * s + run) | (high >> (3 * run) & 7) << 8
                store(values, 256 * b + 32 * s + 8 * run, shifted_grid(entry, high >> 15) * dl)


@kernel
def iq1_m_decode(raw, out):
    """Decode IQ1_M blocks."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for b in range(raw.shape[0]):
        at = 56 * b
        packed = load_u64(flat, at + 48)
        d = half_to_f32(
            packed >> np.uint64(12) & np.uint64(0xF)
            | packed >> np.uint64(24) & np.uint64(0xF0)
            | packed >> np.uint64(36) & np.uint64(0xF00)
            | packed >> np.uint64(48) & np.uint64(0xF000)
        )
        for s in range(8):
            scales = load_u16(flat, at + 48 + 2 * (s // 2)) >> (6 * (s % 2))
            for run in range(4):
                dl = d * np.float32(2 * (scales >> (3 * (run // 2)) & 7) + 1)
                high = load_u8(flat, at + 32 + 2 * s + run // 2) >> (4 * (run % 2))
                entry = load_u8(flat, at + 4 * s + run) | (high & 7) << 8
                store(values, 256 * b + 32 * s + 8 * run, shifted_grid(entry, high >> 3 & 1) * dl)


QS = Field("qs", "u8", 32, "low 8 bits of 32 grid entries")
S_FIELDS = (
    Field("d", "f16", 1, "scale of the scales"),
    QS,
    Field("qh", "u16", 8, "upper 3 bits of 4 grid entries, a 3-bit scale and a shift each"),
)
M_FIELDS = (
    QS,
    Field("qh", "u8", 16, "upper 3 bits of 2 grid entries, with a shift each"),
    Field("scales", "u16", 4, "4 scales of 3 bits and a quarter of the scale of the scales each"),
)
FORMULA = "d * (2 * sc + 1) * (grid + shift)"
M_UNIT = (("scales", bytes((0, 0, 0, 0, 0, 0xC0, 0, 0x30))),)  # d is the float16 0x3C00, 1
SUMMARY = "ternary grid of 2048 by 8, {} scales"
FORMATS = (
    QuantFormat("IQ1_S", 256, S_FIELDS, iq1_s_weight, FORMULA, iq1_s_decode, summary=SUMMARY.format(8)),
    QuantFormat(
        "IQ1_M", 256, M_FIELDS, iq1_m_weight, FORMULA, iq1_m_decode, None, SUMMARY.format(16), M_UNIT
    ),
)
