"""Dot products with Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 rows: 32 weights a block, one scale, perhaps a minimum.

The blocks are drawn in `quants/q4_q5.py` and `quants/q8.py`. Sources of the order in llama.cpp numerics:
ggml_vec_dot_q4_0_q8_0 and its sisters in ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_dot4
from refgguf.kernels.dots.panels import words_panel
from refgguf.kernels.dots.parts import (
    add_affine,
    add_scaled,
    add_signed_dot4,
    finish_lanes,
    finish_lanes_and_sum,
    half_at_0,
    nibbles,
    signed_halves,
    start_lanes,
    start_lanes_and_sum,
)
from refgguf.kernels.dots.placement import spread_half_x8, spread_half_x16
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import bits_x16, bits_x32, load_u8x16, load_u8x32, load_u32, signed_to_f32
from refgguf.kernels.simd import fma, zero_i32x8


@part
def _q4_0_exact(flat, at, x, x_at, total):
    d, q = spread_half_x16(flat, at), load_u8x16(flat, at + 2)
    total = add_scaled((q & 15) - 8, d, x, x_at, total)
    return add_scaled((q >> 4) - 8, d, x, x_at + 16, total)


@part
def _q4_1_exact(flat, at, x, x_at, total):
    d, m, q = spread_half_x16(flat, at), spread_half_x16(flat, at + 2), load_u8x16(flat, at + 4)
    total = add_affine(q & 15, d, m, x, x_at, total)
    return add_affine(q >> 4, d, m, x, x_at + 16, total)


@part
def _q5_0_exact(flat, at, x, x_at, total):
    d, high, q = spread_half_x16(flat, at), load_u32(flat, at + 2), load_u8x16(flat, at + 6)
    total = add_scaled((q & 15 | bits_x16(high) << 4) - 16, d, x, x_at, total)
    return add_scaled((q >> 4 | bits_x16(high >> 16) << 4) - 16, d, x, x_at + 16, total)


@part
def _q5_1_exact(flat, at, x, x_at, total):
    d, m, q = spread_half_x16(flat, at), spread_half_x16(flat, at + 2), load_u8x16(flat, at + 8)
    high = load_u32(flat, at + 4)
    total = add_affine(q & 15 | bits_x16(high) << 4, d, m, x, x_at, total)
    return add_affine(q >> 4 | bits_x16(high >> 16) << 4, d, m, x, x_at + 16, total)


@part
def _q8_0_exact(flat, at, x, x_at, total):
    d = spread_half_x16(flat, at)
    total = add_scaled(load_u8x16(flat, at + 2), d, x, x_at, total)
    return add_scaled(load_u8x16(flat, at + 18), d, x, x_at + 16, total)


@part
def _q4_0(flat, at, q, d, sums, block, total):
    lanes = add_signed_dot4(zero_i32x8(), nibbles(flat, at + 2) - 8, load_u8x32(q, 32 * block))
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)


@part
def _q4_1(flat, at, q, d, sums, block, state):
    total, minima = state
    lanes = add_dot4(zero_i32x8(), nibbles(flat, at + 4), load_u8x32(q, 32 * block))
    minima = fma(load_half(flat, at + 2), sums[block], minima)
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total), minima


@part
def _q5_0(flat, at, q, d, sums, block, total):
    codes = (nibbles(flat, at + 6) | bits_x32(load_u32(flat, at + 2)) << 4) - 16
    lanes = add_signed_dot4(zero_i32x8(), codes, load_u8x32(q, 32 * block))
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)


@part
def _q5_1(flat, at, q, d, sums, block, state):
    total, minima = state
    codes = nibbles(flat, at + 8) | bits_x32(load_u32(flat, at + 4)) << 4
    lanes = add_dot4(zero_i32x8(), codes, load_u8x32(q, 32 * block))
    minima = fma(load_half(flat, at + 2), sums[block], minima)
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total), minima


@part
def _q8_0(flat, at, q, d, sums, block, total):
    lanes = add_signed_dot4(zero_i32x8(), load_u8x32(flat, at + 2), load_u8x32(q, 32 * block))
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)


@part
def _q4_0_step(flat, at, s):
    return signed_halves(nibbles(flat, at + 2) - 8)


@part
def _q5_0_step(flat, at, s):
    return signed_halves((nibbles(flat, at + 6) | bits_x32(load_u32(flat, at + 2)) << 4) - 16)


@part
def _q8_0_step(flat, at, s):
    return signed_halves(load_u8x32(flat, at + 2))


def _with_minimum(type_size, add):
    return llama_cpp_rows(type_size, start_lanes_and_sum, add, finish_lanes_and_sum)


def _plain(type_size, add, step):
    return llama_cpp_rows(type_size, start_lanes, add, finish_lanes), words_panel(
        type_size, 1, step, half_at_0
    )


DOTS = (
    Dot("Q4_0", exact_rows(32, 18, _q4_0_exact), "Q8_0", *_plain(18, _q4_0, _q4_0_step)),
    Dot("Q4_1", exact_rows(32, 20, _q4_1_exact), "Q8_1", _with_minimum(20, _q4_1)),
    Dot("Q5_0", exact_rows(32, 22, _q5_0_exact), "Q8_0", *_plain(22, _q5_0, _q5_0_step)),
    Dot("Q5_1", exact_rows(32, 24, _q5_1_exact), "Q8_1", _with_minimum(24, _q5_1)),
    Dot("Q8_0", exact_rows(32, 34, _q8_0_exact), "Q8_0", *_plain(34, _q8_0, _q8_0_step)),
)
