"""Dot products with TQ1_0, TQ2_0, Q1_0 and Q2_0 rows: weights of one or two bits, or of three values.

The blocks are drawn in `quants/ternary.py` and `quants/q1_q2.py`. Sources of the order in llama.cpp numerics:
ggml_vec_dot_tq1_0_q8_K, ggml_vec_dot_tq2_0_q8_K and ggml_vec_dot_q1_0_q8_0 in ggml-cpu/arch/x86/quants.c;
ggml_vec_dot_q2_0_q8_0_generic in ggml-cpu/quants.c, for x86 has no other.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_dot4, lane_sum, narrow_to_i8, pair_sums, third_digit
from refgguf.kernels.dots.integer_tiles import bytes_less
from refgguf.kernels.dots.panels import bytes_panel
from refgguf.kernels.dots.parts import add_picked, add_signed_dot4, finish_lanes, start_lanes
from refgguf.kernels.dots.placement import (
    joined,
    load_i16x16,
    repeat_times_powers_of_three,
    spread_f32,
    spread_half_x8,
    to_i32,
)
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    bits_x32,
    crumbs_x32,
    fields_x16,
    half_of,
    load_f32x4,
    load_u8x8,
    load_u8x16,
    load_u8x32,
    load_u32,
    signed_to_f32,
    spread,
    widen,
)
from refgguf.kernels.simd import fma, zero_i16x16, zero_i32x8

# what the two lowest bits of a code mean, to be multiplied with the scale
FROM_MINUS_ONE = np.array([-1, 0, 1, 2], np.float32)
SIGN = np.array([-1, 1, -1, 1], np.float32)


@part
def _add_bytes(table, codes, x, x_at, total):
    """Add 32 codes."""
    total = add_picked(table, widen(half_of(codes, 0)), x, x_at, total)
    return add_picked(table, widen(half_of(codes, 1)), x, x_at + 16, total)


@part
def _tq1_0_exact(flat, at, x, x_at, total):
    table = load_f32x4(FROM_MINUS_ONE, 0) * load_half(flat, at + 52)
    first, second = load_u8x32(flat, at), load_u8x16(flat, at + 32)
    for n in range(5):
        total = _add_bytes(table, third_digit(first), x, x_at + 32 * n, total)
        first = first + first + first  # the bytes wrap around
    for n in range(5):
        total = add_picked(table, widen(third_digit(second)), x, x_at + 160 + 16 * n, total)
        second = second + second + second
    last = repeat_times_powers_of_three(load_u32(flat, at + 48))
    return add_picked(table, widen(third_digit(last)), x, x_at + 240, total)


@part
def _tq2_0_exact(flat, at, x, x_at, total):
    table = load_f32x4(FROM_MINUS_ONE, 0) * load_half(flat, at + 64)
    for h in range(2):
        q0, q1 = widen(load_u8x16(flat, at + 32 * h)), widen(load_u8x16(flat, at + 32 * h + 16))
        for r in range(4):
            total = add_picked(table, q0 >> (2 * r), x, x_at + 128 * h + 32 * r, total)
            total = add_picked(table, q1 >> (2 * r), x, x_at + 128 * h + 32 * r + 16, total)
    return total


@part
def _q1_0_exact(flat, at, x, x_at, total):
    table = load_f32x4(SIGN, 0) * load_half(flat, at)
    for g in range(4):
        bits = load_u32(flat, at + 2 + 4 * g)
        total = add_picked(table, fields_x16(bits, 1), x, x_at + 32 * g, total)
        total = add_picked(table, fields_x16(bits >> np.uint32(16), 1), x, x_at + 32 * g + 16, total)
    return total


@part
def _q2_0_exact(flat, at, x, x_at, total):
    table = load_f32x4(FROM_MINUS_ONE, 0) * load_half(flat, at)
    for g in range(4):
        codes = fields_x16(load_u32(flat, at + 2 + 4 * g), 2)
        total = add_picked(table, codes, x, x_at + 16 * g, total)
    return total


@part
def _finish_block(lanes, d, sums, block, total):
    """Add the lanes of a block whose codes count from 1, less the sums of the activations."""
    less = to_i32(pair_sums(load_i16x16(sums, 16 * block)))
    return fma(d, signed_to_f32(lanes - less), total)


@part
def _tq1_0(flat, at, q, d, sums, block, total):
    first, second, y = load_u8x32(flat, at), load_u8x16(flat, at + 32), 256 * block
    lanes = zero_i32x8()
    for n in range(5):
        lanes = add_dot4(lanes, third_digit(first), load_u8x32(q, y + 32 * n))
        first = first + first + first  # the bytes wrap around
    for n in range(0, 4, 2):
        third = second + second + second
        lanes = add_dot4(lanes, third_digit(joined(second, third)), load_u8x32(q, y + 160 + 16 * n))
        second = third + third + third
    last = repeat_times_powers_of_three(load_u32(flat, at + 48))
    lanes = add_dot4(lanes, third_digit(joined(second, last)), load_u8x32(q, y + 224))
    return _finish_block(lanes, spread_half_x8(flat, at + 52) * d[block], sums, block, total)


@part
def _tq2_0(flat, at, q, d, sums, block, total):
    lanes = zero_i32x8()
    for h in range(2):
        codes, y = load_u8x32(flat, at + 32 * h), 256 * block + 128 * h
        lanes = add_dot4(lanes, codes & 3, load_u8x32(q, y))
        lanes = add_dot4(lanes, codes >> 2 & 3, load_u8x32(q, y + 32))
        lanes = add_dot4(lanes, codes >> 4 & 3, load_u8x32(q, y + 64))
        lanes = add_dot4(lanes, codes >> 6, load_u8x32(q, y + 96))
    return _finish_block(lanes, spread_half_x8(flat, at + 64) * d[block], sums, block, total)


@part
def _ones():
    """Return scales of 1."""
    return spread(np.int16(1), zero_i16x16())


@part
def _tq1_0_group(flat, at, g):
    first, second = load_u8x32(flat, at), load_u8x16(flat, at + 32)
    if g == 0:
        low, high = first, first * 3
    elif g == 1:
        low, high = first * 9, first * 27
    elif g == 2:
        low, high = first * 81, joined(second, second * 3)
    else:
        last = repeat_times_powers_of_three(load_u32(flat, at + 48))
        low, high = joined(second * 9, second * 27), joined(second * 81, last)
    return third_digit(low), third_digit(high), _ones()


@part
def _tq1_0_rest(flat, at):
    # the codes count from 1: this is what the sums of 16 activations take off
    return _ones(), load_half(flat, at + 52), np.float32(0)


@part
def _tq2_0_group(flat, at, g):
    codes = load_u8x32(flat, at + 32 * (g // 2)) >> (4 * (g % 2))
    return codes & 3, codes >> 2 & 3, _ones()


@part
def _tq2_0_rest(flat, at):
    return _ones(), load_half(flat, at + 64), np.float32(0)


@part
def _q1_0_lanes(flat, at, q, y):
    """Return the lane sums of 32 activations, those negative whose bit is 0."""
    activations = load_u8x32(q, y)
    negative = bits_x32(load_u32(flat, at)) - 1
    one = spread(np.uint8(1), activations)
    return signed_to_f32(add_dot4(zero_i32x8(), one, (activations ^ negative) - negative))


@part
def _q1_0(flat, at, q, d, sums, block, total):
    lanes = _q1_0_lanes(flat, at + 2, q, 128 * block)
    within = lanes * d[4 * block]
    for k in range(1, 4):
        lanes = _q1_0_lanes(flat, at + 2 + 4 * k, q, 128 * block + 32 * k)
        within = fma(spread_f32(d[4 * block + k], lanes), lanes, within)
    return fma(spread_half_x8(flat, at), within, total)


@part
def _start_number():
    return np.float32(0)


@part
def _finish_number(total):
    return total


@part
def _q2_0(flat, at, q, d, sums, block, total):
    within = np.float32(0)
    for k in range(2):
        codes = narrow_to_i8(crumbs_x32(load_u8x8(flat, at + 2 + 8 * k))) - 1
        lanes = add_signed_dot4(zero_i32x8(), codes, load_u8x32(q, 64 * block + 32 * k))
        within = fma(d[2 * block + k], np.float32(lane_sum(lanes)), within)
    return fma(load_half(flat, at), within, total)


DOTS = (
    Dot(
        "TQ1_0",
        exact_rows(256, 54, _tq1_0_exact),
        "Q8_K",
        llama_cpp_rows(54, start_lanes, _tq1_0, finish_lanes),
        bytes_panel(54, _tq1_0_group, _tq1_0_rest, bytes_less),
    ),
    Dot(
        "TQ2_0",
        exact_rows(256, 66, _tq2_0_exact),
        "Q8_K",
        llama_cpp_rows(66, start_lanes, _tq2_0, finish_lanes),
        bytes_panel(66, _tq2_0_group, _tq2_0_rest, bytes_less),
    ),
    Dot(
        "Q1_0", exact_rows(128, 18, _q1_0_exact), "Q8_0", llama_cpp_rows(18, start_lanes, _q1_0, finish_lanes)
    ),
    Dot(
        "Q2_0",
        exact_rows(64, 18, _q2_0_exact),
        "Q8_0",
        llama_cpp_rows(18, _start_number, _q2_0, _finish_number),
    ),
)
