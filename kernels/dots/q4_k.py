"""Dot products with Q4_K and Q5_K rows: 256 weights a block, w = (d * sc) * q - (dmin * m).

The blocks are drawn in `quants/q4_k.py`. Source of the order in llama.cpp numerics: ggml_vec_dot_q4_K_q8_K
and ggml_vec_dot_q5_K_q8_K in ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_madd_words, lane_sum, madd_bytes, madd_words, pair_sums
from refgguf.kernels.dots.integer_tiles import bytes_four_minima, bytes_one_minimum
from refgguf.kernels.dots.panels import bytes_panel
from refgguf.kernels.dots.parts import (
    add_affine,
    finish_lanes_and_minima,
    finish_lanes_and_sum,
    start_lanes_and_minima,
    start_lanes_and_sum,
)
from refgguf.kernels.dots.placement import (
    alternating,
    bytes_of_words,
    in_memory,
    joined,
    load_i16x16,
    load_u8x64,
    spread_at,
    spread_half_x4,
    spread_half_x8,
    spread_lane,
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
    to_f32,
    widen,
)
from refgguf.kernels.simd import fma, zero_i32x16


@part
def _scales_and_minima(flat, at):
    """Return the 8 scales, then the 8 minima, as 16 bytes; `at` is where their 12 bytes begin."""
    first, second, third = load_u32(flat, at), load_u32(flat, at + 4), load_u32(flat, at + 8)
    six, four, two = np.uint32(0x3F3F3F3F), np.uint32(0x0F0F0F0F), np.uint32(0x30303030)
    return bytes_of_words(
        first & six,
        third & four | first >> np.uint32(2) & two,
        second & six,
        third >> np.uint32(4) & four | second >> np.uint32(2) & two,
    )


@part
def _factors(flat, at):
    """Return the 8 scales and then the 8 minima, negative, as float32."""
    d, dmin = spread_half_x8(flat, at), spread_half_x8(flat, at + 2)
    return to_f32(_scales_and_minima(flat, at + 4)) * joined(d, dmin * np.float32(-1))


@part
def _q4_k_exact(flat, at, x, x_at, total):
    factors = in_memory(_factors(flat, at))
    for g in range(4):
        q0, q1 = widen(load_u8x16(flat, at + 16 + 32 * g)), widen(load_u8x16(flat, at + 32 + 32 * g))
        to = x_at + 64 * g
        scale, minimum = spread_at(factors, 2 * g), spread_at(factors, 2 * g + 8)
        total = add_affine(q0 & 15, scale, minimum, x, to, total)
        total = add_affine(q1 & 15, scale, minimum, x, to + 16, total)
        scale, minimum = spread_at(factors, 2 * g + 1), spread_at(factors, 2 * g + 9)
        total = add_affine(q0 >> 4, scale, minimum, x, to + 32, total)
        total = add_affine(q1 >> 4, scale, minimum, x, to + 48, total)
    return total


@part
def _q5_k_exact(flat, at, x, x_at, total):
    factors = in_memory(_factors(flat, at))
    high0, high1 = widen(load_u8x16(flat, at + 16)), widen(load_u8x16(flat, at + 32))
    for g in range(4):
        q0, q1 = widen(load_u8x16(flat, at + 48 + 32 * g)), widen(load_u8x16(flat, at + 64 + 32 * g))
        to = x_at + 64 * g
        scale, minimum = spread_at(factors, 2 * g), spread_at(factors, 2 * g + 8)
        total = add_affine(q0 & 15 | (high0 & 1) << 4, scale, minimum, x, to, total)
        total = add_affine(q1 & 15 | (high1 & 1) << 4, scale, minimum, x, to + 16, total)
        scale, minimum = spread_at(factors, 2 * g + 1), spread_at(factors, 2 * g + 9)
        total = add_affine(q0 >> 4 | (high0 & 2) << 3, scale, minimum, x, to + 32, total)
        total = add_affine(q1 >> 4 | (high1 & 2) << 3, scale, minimum, x, to + 48, total)
        high0, high1 = high0 >> 2, high1 >> 2
    return total


@part
def _minima(both, sums, block):
    """Return the 4 sums of two minima times the sums of the activations they stand with."""
    return madd_words(half_of(both, 1), pair_sums(load_i16x16(sums, 16 * block)))


@part
def _q4_k(flat, at, q, d, sums, block, state):
    total, minima = state
    both = unsigned_to_i16(_scales_and_minima(flat, at + 4))
    negative = spread_half_x4(flat, at + 2) * -d[block]
    minima = fma(negative, signed_to_f32(_minima(both, sums, block)), minima)
    lanes = zero_i32x16()
    for g in range(4):
        codes = load_u8x32(flat, at + 16 + 32 * g)
        words = madd_bytes(joined(codes & 15, codes >> 4), load_u8x64(q, 256 * block + 64 * g))
        scale = joined(spread_lane(both, 2 * g, both), spread_lane(both, 2 * g + 1, both))
        lanes = add_madd_words(lanes, words, scale)
    lanes8 = half_of(lanes, 0) + half_of(lanes, 1)
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes8), total), minima


@part
def _q5_k(flat, at, q, d, sums, block, state):
    total, minima = state
    both = unsigned_to_i16(_scales_and_minima(flat, at + 4))
    negative = load_half(flat, at + 2) * -d[block]
    minima = fma(negative, np.float32(lane_sum(_minima(both, sums, block))), minima)
    lanes = zero_i32x16()
    high = load_u8x32(flat, at + 16)
    for g in range(4):
        codes = load_u8x32(flat, at + 48 + 32 * g)
        low0, low1 = codes & 15, codes >> 4
        high0, high1 = (high >> (2 * g) & 1) << 4, (high >> (2 * g + 1) & 1) << 4
        words = madd_bytes(joined(low0 | high0, low1 | high1), load_u8x64(q, 256 * block + 64 * g))
        scale = joined(spread_lane(both, 2 * g, both), spread_lane(both, 2 * g + 1, both))
        lanes = add_madd_words(lanes, words, scale)
    lanes8 = half_of(lanes, 0) + half_of(lanes, 1)
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes8), total), minima


@part
def _two_scales(both, g):
    """Return the scales of sub-blocks 2 g and 2 g + 1 in turn."""
    return alternating(spread_lane(both, 2 * g, both), spread_lane(both, 2 * g + 1, both))


@part
def _q4_k_group(flat, at, g):
    codes, both = load_u8x32(flat, at + 16 + 32 * g), unsigned_to_i16(_scales_and_minima(flat, at + 4))
    return codes & 15, codes >> 4, _two_scales(both, g)


@part
def _q5_k_group(flat, at, g):
    codes, high = load_u8x32(flat, at + 48 + 32 * g), load_u8x32(flat, at + 16) >> (2 * g)
    both = unsigned_to_i16(_scales_and_minima(flat, at + 4))
    return codes & 15 | (high & 1) << 4, codes >> 4 | (high & 2) << 3, _two_scales(both, g)


@part
def _rest(flat, at):
    both = unsigned_to_i16(_scales_and_minima(flat, at + 4))
    return both, load_half(flat, at), -load_half(flat, at + 2)


DOTS = (
    Dot(
        "Q4_K",
        exact_rows(256, 144, _q4_k_exact),
        "Q8_K",
        llama_cpp_rows(144, start_lanes_and_minima, _q4_k, finish_lanes_and_minima),
        bytes_panel(144, _q4_k_group, _rest, bytes_four_minima, 4),
    ),
    Dot(
        "Q5_K",
        exact_rows(256, 176, _q5_k_exact),
        "Q8_K",
        llama_cpp_rows(176, start_lanes_and_sum, _q5_k, finish_lanes_and_sum),
        bytes_panel(176, _q5_k_group, _rest, bytes_one_minimum, 1),
    ),
)
