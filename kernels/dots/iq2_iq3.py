"""Dot products with IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S rows: grids of magnitudes with signs.

The blocks are drawn in `quants/iq2.py` and `quants/iq3.py`. The signs go to the activations, the scales, odd
whole numbers, to the sums of products; what is left of the formula is a factor for the row. Sources of the order
in llama.cpp numerics: ggml_vec_dot_iq2_xxs_q8_K and its sisters in ggml-cpu/arch/x86/quants.c.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels.dots import Dot
from refgguf.kernels.dots.instructions import add_madd_words, madd_bytes
from refgguf.kernels.dots.panels import words_panel
from refgguf.kernels.dots.parts import (
    add_with_signs,
    finish_lanes,
    four_runs,
    half_at_0,
    scaled_words,
    start_lanes,
)
from refgguf.kernels.dots.placement import joined, mask_x32, spread_half_x8
from refgguf.kernels.dots.rows import exact_rows, llama_cpp_rows
from refgguf.kernels.half import load_half
from refgguf.kernels.jit import part
from refgguf.kernels.lanes import (
    fields_x8,
    half_of,
    join_u8x8,
    load_f32x4,
    load_f32x8,
    load_u8,
    load_u8x32,
    load_u16,
    load_u32,
    signed_to_f32,
    spread,
)
from refgguf.kernels.lookup import pick
from refgguf.kernels.quants.codebooks import as_crumbs, as_floats, codebook, sign_bits, sign_masks
from refgguf.kernels.simd import fma, tree_sum, zero_i16x16, zero_i32x8

XXS2_GRID, XS2_GRID, S2_GRID = codebook("iq2_xxs"), codebook("iq2_xs"), codebook("iq2_s")
XXS3_GRID, S3_GRID = codebook("iq3_xxs"), codebook("iq3_s")
SIGNS_7 = sign_masks(128)
XXS2_FLOATS, XS2_FLOATS = as_floats("iq2_xxs"), as_floats("iq2_xs")
XXS3_FLOATS, S3_FLOATS = as_floats("iq3_xxs"), as_floats("iq3_s")
S2_CRUMBS, S2_VALUES = as_crumbs("iq2_s")
FLIPS_7, FLIPS_8 = sign_bits(128), sign_bits(256)


@part
def _quarter_scale(d, bits):
    """Return the scale of a run of IQ2: four bits, counted from a half."""
    return d * (np.float32(0.5) + np.float32(bits)) * np.float32(0.25)


@part
def _eights(grid, first, second):
    """Return two entries of eight float32 each."""
    return joined(load_f32x8(grid, 8 * first), load_f32x8(grid, 8 * second))


@part
def _iq2_xxs_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        group, to = at + 2 + 8 * s, x_at + 32 * s
        packed = np.int64(load_u32(flat, group + 4))
        scale = _quarter_scale(d, packed >> 28)
        weights = _eights(XXS2_FLOATS, load_u8(flat, group), load_u8(flat, group + 1)) * scale
        total = add_with_signs(weights, FLIPS_7, packed & 127, packed >> 7 & 127, x, to, total)
        weights = _eights(XXS2_FLOATS, load_u8(flat, group + 2), load_u8(flat, group + 3)) * scale
        total = add_with_signs(weights, FLIPS_7, packed >> 14 & 127, packed >> 21 & 127, x, to + 16, total)
    return total


@part
def _iq2_xs_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        run, to, scales = at + 2 + 8 * s, x_at + 32 * s, load_u8(flat, at + 66 + s)
        first, second = np.int64(load_u16(flat, run)), np.int64(load_u16(flat, run + 2))
        weights = _eights(XS2_FLOATS, first & 511, second & 511) * _quarter_scale(d, scales & 15)
        total = add_with_signs(weights, FLIPS_7, first >> 9, second >> 9, x, to, total)
        first, second = np.int64(load_u16(flat, run + 4)), np.int64(load_u16(flat, run + 6))
        weights = _eights(XS2_FLOATS, first & 511, second & 511) * _quarter_scale(d, scales >> 4)
        total = add_with_signs(weights, FLIPS_7, first >> 9, second >> 9, x, to + 16, total)
    return total


@part
def _iq2_s_runs(flat, low, high, scale):
    """Return the weights of two runs but for their signs; bits 0-3 of `high` complete their entries."""
    first = fields_x8(S2_CRUMBS, load_u8(flat, low) | (high & 3) << 8, 2)
    second = fields_x8(S2_CRUMBS, load_u8(flat, low + 1) | (high & 12) << 6, 2)
    return pick(load_f32x4(S2_VALUES, 0) * scale, joined(first, second))


@part
def _iq2_s_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        low, signs, to = at + 2 + 4 * s, at + 34 + 4 * s, x_at + 32 * s
        high, scales = np.int64(load_u8(flat, at + 66 + s)), load_u8(flat, at + 74 + s)
        weights = _iq2_s_runs(flat, low, high, _quarter_scale(d, scales & 15))
        total = add_with_signs(weights, FLIPS_8, load_u8(flat, signs), load_u8(flat, signs + 1), x, to, total)
        weights = _iq2_s_runs(flat, low + 2, high >> 4, _quarter_scale(d, scales >> 4))
        total = add_with_signs(
            weights, FLIPS_8, load_u8(flat, signs + 2), load_u8(flat, signs + 3), x, to + 16, total
        )
    return total


@part
def _fours(grid, first, second, third, fourth):
    """Return four entries of four float32 each."""
    low = joined(load_f32x4(grid, 4 * first), load_f32x4(grid, 4 * second))
    return joined(low, joined(load_f32x4(grid, 4 * third), load_f32x4(grid, 4 * fourth)))


@part
def _iq3_xxs_fours(flat, at):
    return _fours(
        XXS3_FLOATS, load_u8(flat, at), load_u8(flat, at + 1), load_u8(flat, at + 2), load_u8(flat, at + 3)
    )


@part
def _iq3_xxs_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        entries, packed = at + 2 + 8 * s, np.int64(load_u32(flat, at + 66 + 4 * s))
        scale, to = d * (np.float32(0.5) + np.float32(packed >> 28)) * np.float32(0.5), x_at + 32 * s
        weights = _iq3_xxs_fours(flat, entries) * scale
        total = add_with_signs(weights, FLIPS_7, packed & 127, packed >> 7 & 127, x, to, total)
        weights = _iq3_xxs_fours(flat, entries + 4) * scale
        total = add_with_signs(weights, FLIPS_7, packed >> 14 & 127, packed >> 21 & 127, x, to + 16, total)
    return total


@part
def _iq3_s_fours(flat, at, high):
    return _fours(
        S3_FLOATS,
        load_u8(flat, at) | (high & 1) << 8,
        load_u8(flat, at + 1) | (high & 2) << 7,
        load_u8(flat, at + 2) | (high & 4) << 6,
        load_u8(flat, at + 3) | (high & 8) << 5,
    )


@part
def _iq3_s_exact(flat, at, x, x_at, total):
    d = load_half(flat, at)
    for s in range(8):
        entries, signs, to = at + 2 + 8 * s, at + 74 + 4 * s, x_at + 32 * s
        high = np.int64(load_u8(flat, at + 66 + s))
        scale = d * np.float32(1 + 2 * (load_u8(flat, at + 106 + s // 2) >> (4 * (s % 2)) & 15))
        weights = _iq3_s_fours(flat, entries, high) * scale
        total = add_with_signs(weights, FLIPS_8, load_u8(flat, signs), load_u8(flat, signs + 1), x, to, total)
        weights = _iq3_s_fours(flat, entries + 4, high >> 4) * scale
        total = add_with_signs(
            weights, FLIPS_8, load_u8(flat, signs + 2), load_u8(flat, signs + 3), x, to + 16, total
        )
    return total


@part
def _seven_bit_signs(packed):
    """Return the 32 mask bytes of four 7-bit sign indexes, the lowest 28 bits of a number."""
    return four_runs(SIGNS_7, packed & 127, packed >> 7 & 127, packed >> 14 & 127, packed >> 21 & 127)


@part
def _odd_scale(bits, words):
    """Return 2 * bits + 1 in 16 lanes."""
    return spread(np.int16(2 * bits + 1), words)


@part
def _two_odd_scales(packed, like):
    """Return 2 * bits + 1 of the low and of the high half of a byte, in eight lanes each."""
    eight = half_of(like, 0)
    return joined(_odd_scale(packed & 15, eight), _odd_scale(packed >> 4, eight))


# A run is 32 weights: their magnitudes, bytes of 255 where they are negative, 16-bit scales.


@part
def _iq2_xxs_run(flat, at, s):
    group = at + 2 + 8 * s
    packed = np.int64(load_u32(flat, group + 4))
    magnitudes = four_runs(
        XXS2_GRID,
        load_u8(flat, group),
        load_u8(flat, group + 1),
        load_u8(flat, group + 2),
        load_u8(flat, group + 3),
    )
    return magnitudes, _seven_bit_signs(packed), _odd_scale(packed >> 28, zero_i16x16())


@part
def _iq2_xs_run(flat, at, s):
    run = at + 2 + 8 * s
    first, second = np.int64(load_u16(flat, run)), np.int64(load_u16(flat, run + 2))
    third, fourth = np.int64(load_u16(flat, run + 4)), np.int64(load_u16(flat, run + 6))
    magnitudes = four_runs(XS2_GRID, first & 511, second & 511, third & 511, fourth & 511)
    negative = four_runs(SIGNS_7, first >> 9, second >> 9, third >> 9, fourth >> 9)
    return magnitudes, negative, _two_odd_scales(load_u8(flat, at + 66 + s), zero_i16x16())


@part
def _iq2_s_run(flat, at, s):
    low, high = at + 2 + 4 * s, np.int64(load_u8(flat, at + 66 + s))
    magnitudes = four_runs(
        S2_GRID,
        load_u8(flat, low) | (high & 3) << 8,
        load_u8(flat, low + 1) | (high & 12) << 6,
        load_u8(flat, low + 2) | (high & 48) << 4,
        load_u8(flat, low + 3) | (high & 192) << 2,
    )
    negative = mask_x32(load_u32(flat, at + 34 + 4 * s))
    return magnitudes, negative, _two_odd_scales(load_u8(flat, at + 74 + s), zero_i16x16())


@part
def _two_runs(grid, first, second):
    """Return two entries of four bytes each."""
    return join_u8x8(load_u32(grid, 4 * first), load_u32(grid, 4 * second))


@part
def _iq3_xxs_runs(flat, at):
    return _two_runs(XXS3_GRID, np.int64(load_u8(flat, at)), np.int64(load_u8(flat, at + 1)))


@part
def _iq3_xxs_run(flat, at, s):
    entries, packed = at + 2 + 8 * s, np.int64(load_u32(flat, at + 66 + 4 * s))
    low = joined(_iq3_xxs_runs(flat, entries), _iq3_xxs_runs(flat, entries + 2))
    high = joined(_iq3_xxs_runs(flat, entries + 4), _iq3_xxs_runs(flat, entries + 6))
    return joined(low, high), _seven_bit_signs(packed), _odd_scale(packed >> 28, zero_i16x16())


@part
def _iq3_s_runs(flat, at, high):
    first, second = load_u8(flat, at) | (high & 1) << 8, load_u8(flat, at + 1) | (high & 2) << 7
    return _two_runs(S3_GRID, first, second)


@part
def _iq3_s_run(flat, at, s):
    entries, bits = at + 2 + 8 * s, np.int64(load_u8(flat, at + 66 + s))
    low = joined(_iq3_s_runs(flat, entries, bits), _iq3_s_runs(flat, entries + 2, bits >> 2))
    high = joined(_iq3_s_runs(flat, entries + 4, bits >> 4), _iq3_s_runs(flat, entries + 6, bits >> 6))
    scale = _odd_scale(load_u8(flat, at + 106 + s // 2) >> (4 * (s % 2)) & 15, zero_i16x16())
    return joined(low, high), mask_x32(load_u32(flat, at + 74 + 4 * s)), scale


@part
def _finish_eighth(total):
    return np.float32(0.125) * tree_sum(total)


@part
def _finish_quarter(total):
    return np.float32(0.25) * tree_sum(total)


def _kernels(type_size, run, finish, factor):
    """Return how rows meet tokens one by one and many at once, from what a run is."""

    @part
    def add(flat, at, q, d, sums, block, total):
        lanes = zero_i32x8()
        for s in range(8):
            magnitudes, negative, scale = run(flat, at, s)
            y = load_u8x32(q, 256 * block + 32 * s)
            lanes = add_madd_words(lanes, madd_bytes(magnitudes, (y ^ negative) - negative), scale)
        return fma(spread_half_x8(flat, at) * d[block], signed_to_f32(lanes), total)

    @part
    def step(flat, at, s):
        magnitudes, negative, scale = run(flat, at, s)
        return scaled_words((magnitudes ^ negative) - negative, scale)

    return llama_cpp_rows(type_size, start_lanes, add, finish), words_panel(
        type_size, 8, step, half_at_0, factor
    )


DOTS = (
    Dot(
        "IQ2_XXS",
        exact_rows(256, 66, _iq2_xxs_exact),
        "Q8_K",
        *_kernels(66, _iq2_xxs_run, _finish_eighth, 0.125),
    ),
    Dot(
        "IQ2_XS",
        exact_rows(256, 74, _iq2_xs_exact),
        "Q8_K",
        *_kernels(74, _iq2_xs_run, _finish_eighth, 0.125),
    ),
    Dot("IQ2_S", exact_rows(256, 82, _iq2_s_exact), "Q8_K", *_kernels(82, _iq2_s_run, _finish_eighth, 0.125)),
    Dot(
        "IQ3_XXS",
        exact_rows(256, 98, _iq3_xxs_exact),
        "Q8_K",
        *_kernels(98, _iq3_xxs_run, _finish_quarter, 0.25),
    ),
    Dot("IQ3_S", exact_rows(256, 110, _iq3_s_exact), "Q8_K", *_kernels(110, _iq3_s_run, finish_lanes, 1.0)),
)
