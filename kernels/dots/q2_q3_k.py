"""Dot products with Q2_K and Q3_K rows: 256 weights a block in 16 sub-blocks of 16.

The blocks are drawn in `quants/q2_k.py` and `quants/q3_k.py`. Sources of the order in llama.cpp numerics:
ggml_vec_dot_q2_K_q8_K and ggml_vec_dot_q3_K_q8_K in ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_madd_words, madd_bytes, madd_words
from refgguf.kernels.dots.integer_tiles import bytes_with_minima
from refgguf.kernels.dots.panels import bytes_panel, words_panel
from refgguf.kernels.dots.parts import (
    add_picked,
    add_scaled,
    alternating_scales,
    finish_lanes,
    four_scales,
    scaled_words,
    start_lanes,
    two_spread,
)
from refgguf.kernels.dots.placement import (
    bytes_of_words,
    four_at,
    in_memory,
    joined,
    load_f32x64,
    load_i16x16,
    load_u8x64,
    repeat_each,
    spread_at,
    spread_half_x8,
    spread_half_x16,
    to_i16,
    unsigned_to_i16,
)
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    half_of,
    load_u8x16,
    load_u8x32,
    load_u32,
    signed_to_f32,
    spread,
    to_f32,
    widen,
)
from refgguf.kernels.simd import fma, zero_i32x16

FOUR_CODES = np.tile(np.arange(4, dtype=np.float32), 16)


@part
def _q2_k_exact(flat, at, x, x_at, total):
    packed = load_u8x16(flat, at)
    scales = to_f32(packed & 15) * spread_half_x16(flat, at + 80)
    minima = to_f32(packed >> 4) * spread_half_x16(flat, at + 82)
    # the four values that the weights of each sub-block can have
    values = in_memory(repeat_each(scales, 4) * load_f32x64(FOUR_CODES, 0) - repeat_each(minima, 4))
    for h in range(2):
        q0, q1 = widen(load_u8x16(flat, at + 16 + 32 * h)), widen(load_u8x16(flat, at + 32 + 32 * h))
        for r in range(4):
            s, to = 8 * h + 2 * r, x_at + 128 * h + 32 * r
            total = add_picked(four_at(values, 4 * s), q0 >> (2 * r), x, to, total)
            total = add_picked(four_at(values, 4 * s + 4), q1 >> (2 * r), x, to + 16, total)
    return total


@part
def _q3_k_scales(flat, at):
    """Return the 16 scales, counted from 32, as signed bytes; `at` is where their 12 bytes begin."""
    first, second, high = load_u32(flat, at), load_u32(flat, at + 4), load_u32(flat, at + 8)
    low, two = np.uint32(0x0F0F0F0F), np.uint32(0x30303030)
    packed = bytes_of_words(
        first & low | high << np.uint32(4) & two,
        second & low | high << np.uint32(2) & two,
        first >> np.uint32(4) & low | high & two,
        second >> np.uint32(4) & low | high >> np.uint32(2) & two,
    )
    return packed - 32


@part
def _q3_k_exact(flat, at, x, x_at, total):
    scales = in_memory(signed_to_f32(_q3_k_scales(flat, at + 96)) * spread_half_x16(flat, at + 108))
    mask0, mask1 = widen(load_u8x16(flat, at)), widen(load_u8x16(flat, at + 16))
    for h in range(2):
        q0, q1 = widen(load_u8x16(flat, at + 32 + 32 * h)), widen(load_u8x16(flat, at + 48 + 32 * h))
        for r in range(4):
            s, to = 8 * h + 2 * r, x_at + 128 * h + 32 * r
            codes = (q0 & 3 | (mask0 & 1) << 2) - 4
            total = add_scaled(codes, spread_at(scales, s), x, to, total)
            codes = (q1 & 3 | (mask1 & 1) << 2) - 4
            total = add_scaled(codes, spread_at(scales, s + 1), x, to + 16, total)
            q0, q1, mask0, mask1 = q0 >> 2, q1 >> 2, mask0 >> 1, mask1 >> 1
    return total


@part
def _q2_k(flat, at, q, d, sums, block, total):
    packed = load_u8x16(flat, at)
    minima = madd_words(unsigned_to_i16(packed >> 4), load_i16x16(sums, 16 * block))
    total = fma(spread_half_x8(flat, at + 82) * -d[block], signed_to_f32(minima), total)
    scales = unsigned_to_i16(packed & 15)
    lanes = zero_i32x16()
    for h in range(2):
        codes, y = load_u8x32(flat, at + 16 + 32 * h), 256 * block + 128 * h
        words = madd_bytes(joined(codes & 3, codes >> 2 & 3), load_u8x64(q, y))
        lanes = add_madd_words(lanes, words, four_scales(scales, 8 * h))
        words = madd_bytes(joined(codes >> 4 & 3, codes >> 6), load_u8x64(q, y + 64))
        lanes = add_madd_words(lanes, words, four_scales(scales, 8 * h + 4))
    lanes8 = half_of(lanes, 0) + half_of(lanes, 1)
    return fma(spread_half_x8(flat, at + 80) * d[block], signed_to_f32(lanes8), total)


@part
def _q3_k(flat, at, q, d, sums, block, total):
    scales = to_i16(_q3_k_scales(flat, at + 96))
    mask = load_u8x32(flat, at)
    lanes = zero_i32x16()
    for h in range(2):
        codes, y = load_u8x32(flat, at + 32 + 32 * h), 256 * block + 128 * h
        for r in range(0, 4, 2):
            bit = 4 * h + r
            first = codes >> (2 * r) & 3 | (mask >> bit & 1) << 2
            second = codes >> (2 * r + 2) & 3 | (mask >> (bit + 1) & 1) << 2
            activations = load_u8x64(q, y + 32 * r)
            four = spread(np.uint8(4), activations)
            words = madd_bytes(joined(first, second), activations) - madd_bytes(four, activations)
            lanes = add_madd_words(lanes, words, four_scales(scales, 8 * h + 2 * r))
    lanes8 = half_of(lanes, 0) + half_of(lanes, 1)
    return fma(spread_half_x8(flat, at + 108) * d[block], signed_to_f32(lanes8), total)


@part
def _q2_k_group(flat, at, g):
    codes = load_u8x32(flat, at + 16 + 32 * (g // 2)) >> (4 * (g % 2))
    return codes & 3, codes >> 2 & 3, alternating_scales(unsigned_to_i16(load_u8x16(flat, at) & 15), g)


@part
def _q2_k_rest(flat, at):
    minima = unsigned_to_i16(load_u8x16(flat, at) >> 4)
    return minima, load_half(flat, at + 80), -load_half(flat, at + 82)


@part
def _q3_k_step(flat, at, s):
    codes, mask = load_u8x32(flat, at + 32 + 32 * (s // 4)), load_u8x32(flat, at)
    signed = (codes >> (2 * (s % 4)) & 3 | (mask >> s & 1) << 2) - 4
    scales = to_i16(_q3_k_scales(flat, at + 96))
    return scaled_words(signed, two_spread(scales, 2 * s, 2 * s + 1))


@part
def _q3_k_d(flat, at):
    return load_half(flat, at + 108)


DOTS = (
    Dot(
        "Q2_K",
        exact_rows(256, 84, _q2_k_exact),
        "Q8_K",
        llama_cpp_rows(84, start_lanes, _q2_k, finish_lanes),
        bytes_panel(84, _q2_k_group, _q2_k_rest, bytes_with_minima),
    ),
    Dot(
        "Q3_K",
        exact_rows(256, 110, _q3_k_exact),
        "Q8_K",
        llama_cpp_rows(110, start_lanes, _q3_k, finish_lanes),
        words_panel(110, 8, _q3_k_step, _q3_k_d),
    ),
)
