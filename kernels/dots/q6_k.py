"""Dot products with Q6_K rows: 256 weights a block, w = (d * scale) * (q - 32).

The block is drawn in `quants/q6_k.py`. Source of the order in llama.cpp numerics: ggml_vec_dot_q6_K_q8_K in
ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_madd_words, madd_bytes, madd_words
from refgguf.kernels.dots.integer_tiles import bytes_less
from refgguf.kernels.dots.panels import bytes_panel
from refgguf.kernels.dots.parts import add_scaled, alternating_scales, finish_lanes, four_scales, start_lanes
from refgguf.kernels.dots.placement import (
    in_memory,
    joined,
    load_i16x16,
    load_u8x64,
    spread_at,
    spread_half_x8,
    spread_half_x16,
    to_i16,
)
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    half_of,
    load_u8x16,
    load_u8x32,
    signed_to_f32,
)
from refgguf.kernels.simd import fma, zero_i32x16


@part
def _add_run(codes, factors, first, x, x_at, total):
    """Add 32 codes, which count from 32, with two scales."""
    signed = codes - 32
    total = add_scaled(half_of(signed, 0), spread_at(factors, first), x, x_at, total)
    return add_scaled(half_of(signed, 1), spread_at(factors, first + 1), x, x_at + 16, total)


@part
def _q6_k_exact(flat, at, x, x_at, total):
    factors = in_memory(signed_to_f32(load_u8x16(flat, at + 192)) * spread_half_x16(flat, at + 208))
    for h in range(2):
        low0, low1 = load_u8x32(flat, at + 64 * h), load_u8x32(flat, at + 64 * h + 32)
        high, s, to = load_u8x32(flat, at + 128 + 32 * h), 8 * h, x_at + 128 * h
        total = _add_run(low0 & 15 | (high & 3) << 4, factors, s, x, to, total)
        total = _add_run(low1 & 15 | (high & 12) << 2, factors, s + 2, x, to + 32, total)
        total = _add_run(low0 >> 4 | high & 48, factors, s + 4, x, to + 64, total)
        total = _add_run(low1 >> 4 | (high & 192) >> 2, factors, s + 6, x, to + 96, total)
    return total


@part
def _q6_k(flat, at, q, d, sums, block, total):
    scales = to_i16(load_u8x16(flat, at + 192))
    lanes = zero_i32x16()
    for h in range(2):
        low0, low1 = load_u8x32(flat, at + 64 * h), load_u8x32(flat, at + 64 * h + 32)
        high, y = load_u8x32(flat, at + 128 + 32 * h), 256 * block + 128 * h
        codes = joined(low0 & 15 | (high & 3) << 4, low1 & 15 | (high & 12) << 2)
        lanes = add_madd_words(lanes, madd_bytes(codes, load_u8x64(q, y)), four_scales(scales, 8 * h))
        codes = joined(low0 >> 4 | high & 48, low1 >> 4 | (high & 192) >> 2)
        lanes = add_madd_words(
            lanes, madd_bytes(codes, load_u8x64(q, y + 64)), four_scales(scales, 8 * h + 4)
        )
    # the codes count from 32; what that adds is taken off in the lanes where ggml has it
    offset = madd_words(load_i16x16(sums, 16 * block), scales) << 5
    lanes8 = half_of(lanes, 0) + half_of(lanes, 1) - offset
    return fma(spread_half_x8(flat, at + 208) * d[block], signed_to_f32(lanes8), total)


@part
def _group(flat, at, g):
    half, upper = g // 2, 4 * (g % 2)
    low0, low1 = load_u8x32(flat, at + 64 * half), load_u8x32(flat, at + 64 * half + 32)
    high = load_u8x32(flat, at + 128 + 32 * half) >> upper
    codes0, codes1 = low0 >> upper & 15 | (high & 3) << 4, low1 >> upper & 15 | (high & 12) << 2
    return codes0, codes1, alternating_scales(to_i16(load_u8x16(flat, at + 192)), g)


@part
def _rest(flat, at):
    # the codes count from 32: this is what the sums of 16 activations take off
    return to_i16(load_u8x16(flat, at + 192)) << 5, load_half(flat, at + 208), np.float32(0)


DOTS = (
    Dot(
        "Q6_K",
        exact_rows(256, 210, _q6_k_exact),
        "Q8_K",
        llama_cpp_rows(210, start_lanes, _q6_k, finish_lanes),
        bytes_panel(210, _group, _rest, bytes_less),
    ),
)
