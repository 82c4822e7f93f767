"""Dot products with IQ4_NL, IQ4_XS, MXFP4 and NVFP4 rows: 4-bit codes that name one of sixteen values.

The blocks are drawn in `quants/iq4.py` and `quants/fp4.py`. ggml takes the blocks of IQ4_NL and MXFP4 two at a
time, each into 8 lanes of its own; a last single block is added to the finished sum. Sources of the order in
llama.cpp numerics: ggml_vec_dot_iq4_nl_q8_0, ggml_vec_dot_iq4_xs_q8_K, ggml_vec_dot_mxfp4_q8_0 and
ggml_vec_dot_nvfp4_q8_0 in ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_madd_words, lane_sum
from refgguf.kernels.dots.panels import words_panel
from refgguf.kernels.dots.parts import (
    add_scaled,
    add_signed_dot4,
    finish_lanes,
    half_at_0,
    scaled_words,
    signed_halves,
    signed_words,
    start_lanes,
)
from refgguf.kernels.dots.placement import joined, spread_f32, spread_half_x8, spread_half_x16, swap_middle
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_row_pairs, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    half_of,
    load_u8,
    load_u8x16,
    load_u8x32,
    load_u16,
    signed_to_f32,
    spread,
)
from refgguf.kernels.lookup import look_up
from refgguf.kernels.quants.codebooks import codebook, fp4_values
from refgguf.kernels.quants.fp4 import e8m0_half, ue4m3_half
from refgguf.kernels.simd import fma, tree_sum, zero_f32x4, zero_f32x8, zero_i32x8

UNEVEN, FLOATS = codebook("iq4_nl"), fp4_values()


@part
def _values(table, flat, at):
    """Return the 32 values that the low halves and then the high halves of 16 bytes name."""
    packed = load_u8x16(flat, at)
    return joined(look_up(table, packed & 15), look_up(table, packed >> 4))


@part
def _iq4_nl_exact(flat, at, x, x_at, total):
    table, d, q = load_u8x16(UNEVEN, 0), spread_half_x16(flat, at), load_u8x16(flat, at + 2)
    total = add_scaled(look_up(table, q & 15), d, x, x_at, total)
    return add_scaled(look_up(table, q >> 4), d, x, x_at + 16, total)


@part
def _iq4_xs_scale(flat, at, s, high):
    """Return the scale of sub-block s, counted from 32."""
    low = load_u8(flat, at + 4 + s // 2) >> (4 * (s % 2)) & 15
    return np.int32(low | (high >> (2 * s) & 3) << 4) - np.int32(32)


@part
def _iq4_xs_exact(flat, at, x, x_at, total):
    table, d, high = load_u8x16(UNEVEN, 0), load_half(flat, at), load_u16(flat, at + 2)
    for s in range(8):
        scale = spread_f32(d * np.float32(_iq4_xs_scale(flat, at, s, high)), total)
        q, to = load_u8x16(flat, at + 8 + 16 * s), x_at + 32 * s
        total = add_scaled(look_up(table, q & 15), scale, x, to, total)
        total = add_scaled(look_up(table, q >> 4), scale, x, to + 16, total)
    return total


@part
def _mxfp4_exact(flat, at, x, x_at, total):
    table, q = load_u8x16(FLOATS, 0), load_u8x16(flat, at + 1)
    scale = spread_f32(e8m0_half(load_u8(flat, at)), total)
    total = add_scaled(look_up(table, q & 15), scale, x, x_at, total)
    return add_scaled(look_up(table, q >> 4), scale, x, x_at + 16, total)


@part
def _nvfp4_exact(flat, at, x, x_at, total):
    table = load_u8x16(FLOATS, 0)
    for s in range(0, 4, 2):
        values = swap_middle(_values(table, flat, at + 4 + 8 * s))
        scale = spread_f32(ue4m3_half(load_u8(flat, at + s)), total)
        total = add_scaled(half_of(values, 0), scale, x, x_at + 16 * s, total)
        scale = spread_f32(ue4m3_half(load_u8(flat, at + s + 1)), total)
        total = add_scaled(half_of(values, 1), scale, x, x_at + 16 * s + 16, total)
    return total


@part
def _start_pair():
    return zero_f32x8(), zero_f32x8()


@part
def _finish_pair(state):
    return tree_sum(state[0] + state[1])


@part
def _iq4_nl_lanes(flat, at, q, block):
    table = load_u8x16(UNEVEN, 0)
    return add_signed_dot4(zero_i32x8(), _values(table, flat, at + 2), load_u8x32(q, 32 * block))


@part
def _iq4_nl(flat, at, q, d, sums, block, state):
    first, second = state
    lanes = signed_to_f32(_iq4_nl_lanes(flat, at, q, block))
    first = fma(spread_half_x8(flat, at) * d[block], lanes, first)
    lanes = signed_to_f32(_iq4_nl_lanes(flat, at + 18, q, block + 1))
    return first, fma(spread_half_x8(flat, at + 18) * d[block + 1], lanes, second)


@part
def _iq4_nl_step(flat, at, s):
    return signed_halves(_values(load_u8x16(UNEVEN, 0), flat, at + 2))


@part
def _iq4_nl_odd(flat, at, q, d, sums, block, total):
    whole = np.float32(lane_sum(_iq4_nl_lanes(flat, at, q, block)))
    return fma(d[block] * load_half(flat, at), whole, total)


@part
def _mxfp4_lanes(flat, at, q, block):
    table = load_u8x16(FLOATS, 0)
    return add_signed_dot4(zero_i32x8(), _values(table, flat, at + 1), load_u8x32(q, 32 * block))


@part
def _mxfp4(flat, at, q, d, sums, block, state):
    first, second = state
    lanes = signed_to_f32(_mxfp4_lanes(flat, at, q, block))
    first = fma(spread_f32(e8m0_half(load_u8(flat, at)) * d[block], lanes), lanes, first)
    lanes = signed_to_f32(_mxfp4_lanes(flat, at + 17, q, block + 1))
    return first, fma(spread_f32(e8m0_half(load_u8(flat, at + 17)) * d[block + 1], lanes), lanes, second)


@part
def _mxfp4_scale(flat, at):
    return e8m0_half(load_u8(flat, at))


@part
def _mxfp4_step(flat, at, s):
    return signed_halves(_values(load_u8x16(FLOATS, 0), flat, at + 1))


@part
def _mxfp4_odd(flat, at, q, d, sums, block, total):
    whole = np.float32(lane_sum(_mxfp4_lanes(flat, at, q, block)))
    return fma(d[block] * e8m0_half(load_u8(flat, at)), whole, total)


@part
def _nvfp4(flat, at, q, d, sums, block, total):
    table = load_u8x16(FLOATS, 0)
    for s in range(0, 4, 2):
        # each sub-block of 16 has its low halves in 8 bytes, then its high halves: put them in order
        values = swap_middle(_values(table, flat, at + 4 + 8 * s))
        at_q = 2 * block + s // 2
        lanes = signed_to_f32(add_signed_dot4(zero_i32x8(), values, load_u8x32(q, 32 * at_q)))
        scale0 = spread_f32(ue4m3_half(load_u8(flat, at + s)) * d[at_q], zero_f32x4())
        scale1 = spread_f32(ue4m3_half(load_u8(flat, at + s + 1)) * d[at_q], zero_f32x4())
        total = fma(joined(scale0, scale1), lanes, total)
    return total


@part
def _iq4_xs(flat, at, q, d, sums, block, total):
    table, high = load_u8x16(UNEVEN, 0), load_u16(flat, at + 2)
    lanes = zero_i32x8()
    for s in range(8):
        words = signed_words(_values(table, flat, at + 8 + 16 * s), load_u8x32(q, 256 * block + 32 * s))
        lanes = add_madd_words(lanes, words, spread(_iq4_xs_scale(flat, at, s, high), words))
    return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)


@part
def _iq4_xs_step(flat, at, s):
    values = _values(load_u8x16(UNEVEN, 0), flat, at + 8 + 16 * s)
    scale = np.int16(_iq4_xs_scale(flat, at, s, load_u16(flat, at + 2)))
    return scaled_words(values, spread(scale, signed_halves(values)[0]))


DOTS = (
    Dot(
        "IQ4_NL",
        exact_rows(32, 18, _iq4_nl_exact),
        "Q8_0",
        llama_cpp_row_pairs(18, _start_pair, _iq4_nl, _finish_pair, _iq4_nl_odd),
        words_panel(18, 1, _iq4_nl_step, half_at_0, parts=2),
    ),
    Dot(
        "IQ4_XS",
        exact_rows(256, 136, _iq4_xs_exact),
        "Q8_K",
        llama_cpp_rows(136, start_lanes, _iq4_xs, finish_lanes),
        words_panel(136, 8, _iq4_xs_step, half_at_0),
    ),
    Dot(
        "MXFP4",
        exact_rows(32, 17, _mxfp4_exact),
        "Q8_0",
        llama_cpp_row_pairs(17, _start_pair, _mxfp4, _finish_pair, _mxfp4_odd),
        words_panel(17, 1, _mxfp4_step, _mxfp4_scale, parts=2),
    ),
    Dot(
        "NVFP4",
        exact_rows(64, 36, _nvfp4_exact),
        "Q8_0",
        llama_cpp_rows(36, start_lanes, _nvfp4, finish_lanes),
    ),
)
