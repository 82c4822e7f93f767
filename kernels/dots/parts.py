"""The steps that the dot products of several tensor types share."""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots.instructions import add_dot4, madd_bytes, with_sign_of
from refgguf.kernels.dots.placement import alternating, byte_pairs, joined, spread_lane, to_i16
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    bits_to_f32,
    f32_to_bits,
    half_of,
    load_f32x16,
    load_i32x8,
    load_u8x8,
    load_u8x16,
    signed_to_f32,
    to_f32,
)
from refgguf.kernels.lookup import pick
from refgguf.kernels.simd import fma, tree_sum, zero_f32x4, zero_f32x8


@part
def add_affine(codes, scale, minimum, x, x_at, total):
    """Add x * (code * scale + minimum) of 16 codes 0 … 255 to the lanes of the fixed order.

    Where 24 bits hold code * scale, the FMA rounds where decoding rounds, at the addition of the minimum.
    """
    return fma(fma(to_f32(codes), scale, minimum), load_f32x16(x, x_at), total)


@part
def add_scaled(codes, scale, x, x_at, total):
    """Add x * (code * scale) of 16 codes -128 … 127 to the lanes of the fixed order."""
    return fma(signed_to_f32(codes) * scale, load_f32x16(x, x_at), total)


@part
def add_picked(table, codes, x, x_at, total):
    """Add x * table[code] of 16 codes, of which the lowest two bits count, to the lanes of the fixed order."""
    return fma(pick(table, codes), load_f32x16(x, x_at), total)


@part
def add_with_signs(weights, signs, first, second, x, x_at, total):
    """Add x * weight of 16 weights, of which two entries of a table of eight sign bits each flip some."""
    flips = joined(load_i32x8(signs, 8 * first), load_i32x8(signs, 8 * second))
    return fma(bits_to_f32(f32_to_bits(weights) ^ flips), load_f32x16(x, x_at), total)


@part
def nibbles(flat, at):
    """Return the low halves of 16 bytes, then their high halves, as 32 bytes."""
    packed = load_u8x16(flat, at)
    return joined(packed & 15, packed >> 4)


@part
def signed_words(w, y):
    """Return w[2 i] * y[2 i] + w[2 i + 1] * y[2 i + 1] of 32 signed bytes as 16-bit lanes."""
    return madd_bytes(with_sign_of(w, w), with_sign_of(y, w))


@part
def add_signed_dot4(total, w, y):
    """Return total[i] + the sum of w[4 i + k] * y[4 i + k], k = 0 … 3, of 32 signed bytes."""
    return add_dot4(total, with_sign_of(w, w), with_sign_of(y, w))


@part
def start_lanes():
    """Return eight sums."""
    return zero_f32x8()


@part
def finish_lanes(total):
    """Return the sum of eight lanes, as ggml's hsum_float_8 adds them."""
    return tree_sum(total)


@part
def start_lanes_and_minima():
    """Return eight sums of products and four of minima."""
    return zero_f32x8(), zero_f32x4()


@part
def finish_lanes_and_minima(state):
    """Return the sum of the products plus that of the minima."""
    return tree_sum(state[0]) + tree_sum(state[1])


@part
def start_lanes_and_sum():
    """Return eight sums of products and one of minima."""
    return zero_f32x8(), np.float32(0)


@part
def finish_lanes_and_sum(state):
    """Return the sum of the products plus that of the minima."""
    return tree_sum(state[0]) + state[1]


@part
def four_scales(scales, first):
    """Return scales[first], [first + 1], [first + 2] and [first + 3], each eight times, as 16-bit lanes."""
    like = half_of(scales, 0)
    low = joined(spread_lane(scales, first, like), spread_lane(scales, first + 1, like))
    return joined(low, joined(spread_lane(scales, first + 2, like), spread_lane(scales, first + 3, like)))


@part
def alternating_scales(scales, g):
    """Return the scales of values 64 g … 64 g + 31 and of the next 32 in turn, 16 values each."""
    like = half_of(scales, 0)
    first = joined(spread_lane(scales, 4 * g, like), spread_lane(scales, 4 * g + 1, like))
    return alternating(
        first, joined(spread_lane(scales, 4 * g + 2, like), spread_lane(scales, 4 * g + 3, like))
    )


@part
def two_spread(scales, first, second):
    """Return scales[first] and scales[second], each eight times, as 16-bit lanes."""
    like = half_of(scales, 0)
    return joined(spread_lane(scales, first, like), spread_lane(scales, second, like))


@part
def signed_halves(codes):
    """Return 32 signed bytes as two vectors of words, in the order of `byte_pairs`."""
    return to_i16(byte_pairs(codes, 0)), to_i16(byte_pairs(codes, 1))


@part
def scaled_words(codes, scales):
    """Return 32 signed bytes times scales, a lane for each two values, in the order of `byte_pairs`."""
    even, odd = signed_halves(codes)
    return even * scales, odd * scales


@part
def half_at_0(flat, at):
    """Return the scale of a block that begins with it."""
    return load_half(flat, at)


@part
def four_runs(table, first, second, third, fourth):
    """Return four entries of a table of eight-byte entries, side by side."""
    low = joined(load_u8x8(table, 8 * first), load_u8x8(table, 8 * second))
    return joined(low, joined(load_u8x8(table, 8 * third), load_u8x8(table, 8 * fourth)))
