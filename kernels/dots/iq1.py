"""Dot products with IQ1_S and IQ1_M rows: a grid of -1, 0 and 1, moved up or down by an eighth.

The blocks are drawn in `quants/iq1.py`. Sources of the order in llama.cpp numerics: ggml_vec_dot_iq1_s_q8_K and
ggml_vec_dot_iq1_m_q8_K in ggml-cpu/arch/x86/quants.c. The moves are summed apart and come in at the end.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import (
    add_madd_words,
    lane_sum,
    madd_bytes,
    madd_words,
    negative_mask,
    pair_sums,
)
from refgguf.kernels.dots.parts import add_picked, four_runs, signed_words, start_lanes_and_sum
from refgguf.kernels.dots.placement import (
    joined,
    load_i16x8,
    load_i16x16,
    run_masks,
    spread_f32,
    spread_half_x8,
    spread_lane,
    three_bit_fields,
)
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import half_to_f32, load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    fields_x8,
    half_of,
    load_f32x4,
    load_f32x16,
    load_u8,
    load_u8x32,
    load_u16,
    load_u64,
    signed_to_f32,
    spread,
)
from refgguf.kernels.lookup import pick
from refgguf.kernels.quants.codebooks import as_crumbs, codebook
from refgguf.kernels.simd import fma, tree_sum, zero_f32x8, zero_i16x16, zero_i32x8

GRID = codebook("iq1_s")
SHIFT = np.float32(0.125)
CRUMBS, VALUES = as_crumbs("iq1_s")
MOVED = np.concatenate([VALUES + SHIFT, VALUES - SHIFT])


@part
def _crumbs(entry):
    """Return the eight codes of a grid entry."""
    return fields_x8(CRUMBS, entry, 2)


@part
def _iq1_s_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        low, high = at + 2 + 4 * s, np.int64(load_u16(flat, at + 34 + 2 * s))
        values = load_f32x4(MOVED, 4 * (high >> 15)) * (d * np.float32(2 * (high >> 12 & 7) + 1))
        first = _crumbs(load_u8(flat, low) | (high & 7) << 8)
        second = _crumbs(load_u8(flat, low + 1) | (high & 56) << 5)
        total = add_picked(values, joined(first, second), x, x_at + 32 * s, total)
        first = _crumbs(load_u8(flat, low + 2) | (high & 448) << 2)
        second = _crumbs(load_u8(flat, low + 3) | (high & 3584) >> 1)
        total = add_picked(values, joined(first, second), x, x_at + 32 * s + 16, total)
    return total


@part
def _iq1_s(flat, at, q, d, sums, block, state):
    total, moves = state
    high_words = load_i16x8(flat, at + 34)
    odd = (high_words >> 12 & 7) << 1 | 1
    lanes, wide = zero_i32x8(), zero_i16x16()
    for s in range(8):
        low, high = at + 2 + 4 * s, np.int64(load_u16(flat, at + 34 + 2 * s))
        grid = four_runs(
            GRID,
            load_u8(flat, low) | (high & 7) << 8,
            load_u8(flat, low + 1) | (high & 56) << 5,
            load_u8(flat, low + 2) | (high & 448) << 2,
            load_u8(flat, low + 3) | (high & 3584) >> 1,
        )
        words = signed_words(grid, load_u8x32(q, 256 * block + 32 * s))
        lanes = add_madd_words(lanes, words, spread_lane(odd, s, wide))
    down = negative_mask(high_words)
    moved = lane_sum(madd_words(pair_sums(load_i16x16(sums, 16 * block)), (odd ^ down) - down))
    total = fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)
    return total, fma(load_half(flat, at) * d[block], np.float32(moved), moves)


@part
def _finish_iq1_s(state):
    return tree_sum(state[0]) + SHIFT * state[1]


@part
def _iq1_m_scale(packed):
    """Return the float16 whose parts are the upper four bits of four words."""
    return half_to_f32(
        packed >> np.uint64(12) & np.uint64(0xF)
        | packed >> np.uint64(24) & np.uint64(0xF0)
        | packed >> np.uint64(36) & np.uint64(0xF00)
        | packed >> np.uint64(48) & np.uint64(0xF000)
    )


@part
def _iq1_m_run(low, high, scale):
    """Return the eight weights of a run: `high` has its three upper bits and, as bit 3, its move."""
    return pick(load_f32x4(MOVED, (high & 8) >> 1) * scale, _crumbs(low | (high & 7) << 8))


@part
def _iq1_m_exact(flat, at, x, x_at, total):
    d = _iq1_m_scale(load_u64(flat, at + 48))
    for s in range(8):
        low, high = at + 4 * s, np.int64(load_u16(flat, at + 32 + 2 * s))
        scales = np.int64(load_u16(flat, at + 48 + 2 * (s // 2))) >> (6 * (s % 2))
        scale = d * np.float32(2 * (scales & 7) + 1)
        first, second = (
            _iq1_m_run(load_u8(flat, low), high, scale),
            _iq1_m_run(load_u8(flat, low + 1), high >> 4, scale),
        )
        total = fma(joined(first, second), load_f32x16(x, x_at + 32 * s), total)
        scale = d * np.float32(2 * (scales >> 3 & 7) + 1)
        first, second = (
            _iq1_m_run(load_u8(flat, low + 2), high >> 8, scale),
            _iq1_m_run(load_u8(flat, low + 3), high >> 12, scale),
        )
        total = fma(joined(first, second), load_f32x16(x, x_at + 32 * s + 16), total)
    return total


@part
def _iq1_m(flat, at, q, d, sums, block, state):
    total, moves = state
    packed = load_u64(flat, at + 48)
    scale = _iq1_m_scale(packed)
    odd = three_bit_fields(packed) << 1 | 1
    lanes = moved = zero_i32x8()
    for s in range(8):
        low, high = at + 4 * s, np.int64(load_u16(flat, at + 32 + 2 * s))
        grid = four_runs(
            GRID,
            load_u8(flat, low) | (high & 7) << 8,
            load_u8(flat, low + 1) | (high & 112) << 4,
            load_u8(flat, low + 2) | high & 1792,
            load_u8(flat, low + 3) | (high & 28672) >> 4,
        )
        y, eight = load_u8x32(q, 256 * block + 32 * s), half_of(odd, 0)
        scales = joined(spread_lane(odd, 2 * s, eight), spread_lane(odd, 2 * s + 1, eight))
        lanes = add_madd_words(lanes, signed_words(grid, y), scales)
        down = run_masks(high)
        moved = add_madd_words(moved, madd_bytes(spread(np.uint8(1), y), (y ^ down) - down), scales)
    factor = spread_f32(d[block] * scale, total)
    return fma(factor, signed_to_f32(lanes), total), fma(factor, signed_to_f32(moved), moves)


@part
def _start_pair():
    return zero_f32x8(), zero_f32x8()


@part
def _finish_iq1_m(state):
    return tree_sum(state[0]) + SHIFT * tree_sum(state[1])


DOTS = (
    Dot(
        "IQ1_S",
        exact_rows(256, 50, _iq1_s_exact),
        "Q8_K",
        llama_cpp_rows(50, start_lanes_and_sum, _iq1_s, _finish_iq1_s),
    ),
    Dot(
        "IQ1_M",
        exact_rows(256, 56, _iq1_m_exact),
        "Q8_K",
        llama_cpp_rows(56, _start_pair, _iq1_m, _finish_iq1_m),
    ),
)
