"""What the quantizers share: C's conversions of floats, and the searches for the best scale of a few weights.

Every sum is taken in the order of ggml's reference code and every product rounded to float32 at the same place,
without fused multiplications, so that the codes are ggml's even where two scales are almost equally good. Conversions
have the results of x86 on what C leaves open (NaN, infinity, numbers too large).

Source: ggml-quants.c nearest_int, make_qx_quants, make_q3_quants, make_qkx2_quants, best_index_int8,
best_index_mxfp4.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels.jit import inline
from refgguf.kernels.lanes import f32_to_bits
from refgguf.kernels.simd import call_llvm

ZERO, ONE = np.float32(0), np.float32(1)
# sums of weights below this count as zero; ggml-quants.c GROUP_MAX_EPS
NOTHING = np.float32(1e-15)
# adding 1.5 * 2 ** 23 leaves the nearest whole number in the lowest bits of the sum
ROUNDING = np.float32(12582912.0)


@intrinsic
def truncated(typing, value):
    """Return a float32 cut to a 32-bit integer; -2 ** 31 where it is not a number or does not fit, as on x86."""

    def emit(context, builder, signature, arguments):
        value, i32 = arguments[0], ir.IntType(32)
        low, high = (ir.Constant(ir.FloatType(), limit) for limit in (-(2.0**31), 2.0**31))
        fits = builder.and_(builder.fcmp_ordered(">=", value, low), builder.fcmp_ordered("<", value, high))
        safe = builder.select(fits, value, ir.Constant(ir.FloatType(), 0.0))
        return builder.select(fits, builder.fptosi(safe, i32), ir.Constant(i32, -(2**31)))

    return types.int32(types.float32), emit


@intrinsic
def rounded(typing, value):
    """Return a float32 rounded to a whole number, halves away from zero: C's roundf."""

    def emit(context, builder, signature, arguments):
        return call_llvm(builder, "llvm.round.f32", ir.FloatType(), [arguments[0]])

    return types.float32(types.float32), emit


@inline
def nearest(value):
    """Return the nearest whole number, halves to even; for |value| < 2 ** 22."""
    return np.int64(f32_to_bits(value + ROUNDING) & np.uint32(0x007FFFFF)) - 0x00400000


@inline
def clipped(number, low, high):
    """Return a whole number, or the limit that it is beyond."""
    if number < low:
        return low
    return high if number > high else number


@inline
def byte_of(value):
    """Return the low eight bits of a float32 cut to an integer: C's (uint8_t)."""
    return truncated(value) & 255


@inline
def signed_byte_of(value):
    """Return those eight bits as a signed number: C's (int8_t)."""
    return np.int64(np.int8(truncated(value) & 255))


@inline
def inverse(value):
    """Return 1 / value, or 0 for 0."""
    return ONE / value if value != ZERO else ZERO


@inline
def clear(array):
    """Write zeros."""
    for i in range(array.size):
        array[i] = 0


@inline
def largest(x):
    """Return the element of the largest magnitude, the first of several."""
    top, magnitude = ZERO, ZERO
    for i in range(x.size):
        if abs(x[i]) > magnitude:
            top, magnitude = x[i], abs(x[i])
    return top


@inline
def magnitude_scale(x, n_max):
    """Return the scale that puts the largest magnitude on code n_max, and its inverse.

    C's MAX(a, b) is `a > b ? a : b`, so that a NaN is forgotten at the next element.
    """
    magnitude = ZERO
    for i in range(x.size):
        magnitude = magnitude if magnitude > abs(x[i]) else abs(x[i])
    d = magnitude / np.float32(n_max)
    return d, inverse(d)


@inline
def fit_of(x, iscale, n_max):
    """Return the weighted products of codes with weights and with themselves; each weight counts by its square."""
    sum_lx, sum_l2 = ZERO, ZERO
    for i in range(x.size):
        code = np.float32(clipped(nearest(iscale * x[i]), -n_max, n_max - 1))
        w = x[i] * x[i]
        sum_lx += w * x[i] * code
        sum_l2 += w * code * code
    return sum_lx, sum_l2


@inline
def search_scale(x, n_max, codes):
    """Find the scale for codes -n_max … n_max - 1, written counted from 0: make_qx_quants, error type 1."""
    top = largest(x)
    if abs(top) < NOTHING:
        clear(codes)
        return ZERO
    best_iscale = np.float32(-n_max) / top
    sum_lx, sum_l2 = fit_of(x, best_iscale, n_max)
    scale = sum_lx / sum_l2 if sum_l2 != ZERO else ZERO
    best = scale * sum_lx
    for step in range(-9, 10):
        if step == 0:
            continue
        iscale = -(np.float32(n_max) + np.float32(0.1) * np.float32(step)) / top
        sum_lx, sum_l2 = fit_of(x, iscale, n_max)
        if sum_l2 > ZERO and sum_lx * sum_lx > best * sum_l2:
            best_iscale, scale = iscale, sum_lx / sum_l2
            best = scale * sum_lx
    for i in range(x.size):
        codes[i] = n_max + clipped(nearest(best_iscale * x[i]), -n_max, n_max - 1)
    return scale


@inline
def search_scale_by_exchange(x, n_max, codes):
    """Find the scale, and move single codes while that helps; they are counted from 0: make_q3_quants."""
    top = largest(x)
    if abs(top) < NOTHING:
        clear(codes)
        return ZERO
    iscale = np.float32(-n_max) / top
    for i in range(x.size):
        codes[i] = clipped(nearest(iscale * x[i]), -n_max, n_max - 1)
    sum_lx, sum_l2 = fit_of(x, iscale, n_max)
    for _ in range(5):
        changed = False
        for i in range(x.size):
            w, code = x[i] * x[i], np.float32(codes[i])
            lx = sum_lx - w * x[i] * code
            if not lx > ZERO:
                continue
            l2 = sum_l2 - w * code * code
            other = clipped(nearest(x[i] * l2 / lx), -n_max, n_max - 1)
            if other == codes[i]:
                continue
            code = np.float32(other)
            lx += w * x[i] * code
            l2 += w * code * code
            if l2 > ZERO and lx * lx * sum_l2 > sum_lx * sum_lx * l2:
                codes[i], sum_lx, sum_l2, changed = other, lx, l2, True
        if not changed:
            break
    for i in range(x.size):
        codes[i] += n_max
    return sum_lx / sum_l2 if sum_l2 > ZERO else ZERO


@inline
def error_of(x, weights, codes, scale, low, by_magnitude):
    """Return the weighted error of scale * code + low, by magnitude or by square."""
    error = ZERO
    for i in range(x.size):
        difference = scale * np.float32(codes[i]) + low - x[i]
        error += weights[i] * (abs(difference) if by_magnitude else difference * difference)
    return error


@inline
def encode_above(x, low, iscale, n_max, codes):
    """Write the codes 0 … n_max of what lies above `low`."""
    for i in range(x.size):
        codes[i] = clipped(nearest(iscale * (x[i] - low)), 0, n_max)


@inline
def line_through(x, weights, codes, sum_w, sum_x):
    """Return scale and minimum that fit given codes best, and whether there are any. The minimum is 0 or less."""
    sum_l, sum_l2, sum_xl = ZERO, ZERO, ZERO
    for i in range(x.size):
        w, code = weights[i], np.float32(codes[i])
        sum_l += w * code
        sum_l2 += w * code * code
        sum_xl += w * code * x[i]
    determinant = sum_w * sum_l2 - sum_l * sum_l
    if not determinant > ZERO:
        return ZERO, ZERO, False
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    if low > ZERO:
        return sum_xl / sum_l2, ZERO, True
    return scale, low, True


@inline
def search_scale_and_min(x, weights, n_max, first, n_steps, by_magnitude, codes, trial):
    """Find scale and minimum for codes 0 … n_max: make_qkx2_quants.

    Args:
        x: the weights of one sub-block.
        weights: how much each counts.
        n_max: the largest code.
        first: n_max + first is the first number of steps that is tried; each following one is 0.1 larger.
        n_steps: how many follow.
        by_magnitude: whether errors count by magnitude rather than by square.
        codes: written.
        trial: room for as many codes.

    Returns:
        The scale, and the minimum with its sign changed.
    """
    low, high = x[0], x[0]
    sum_w = weights[0]
    sum_x = sum_w * x[0]
    for i in range(1, x.size):
        if x[i] < low:
            low = x[i]
        if x[i] > high:
            high = x[i]
        sum_w += weights[i]
        sum_x += weights[i] * x[i]
    if low > ZERO:
        low = ZERO
    if high == low:
        clear(codes)
        return ZERO, -low
    iscale = np.float32(n_max) / (high - low)
    scale = ONE / iscale
    encode_above(x, low, iscale, n_max, codes)
    best = error_of(x, weights, codes, scale, low, by_magnitude)
    for step in range(n_steps + 1):
        iscale = (first + np.float32(0.1) * np.float32(step) + np.float32(n_max)) / (high - low)
        encode_above(x, low, iscale, n_max, trial)
        trial_scale, trial_low, found = line_through(x, weights, trial, sum_w, sum_x)
        if found:
            error = error_of(x, weights, trial, trial_scale, trial_low, by_magnitude)
            if error < best:
                for i in range(x.size):  # numba takes seconds to compile codes[:] = trial
                    codes[i] = trial[i]
                best, scale, low = error, trial_scale, trial_low
    return scale, -low


@inline
def nearest_entry(table, value):
    """Return the index of the nearest entry of a rising table, the upper of two as near: best_index_int8."""
    last = table.size - 1
    if value <= np.float32(table[0]):
        return 0
    if value >= np.float32(table[last]):
        return last
    below, above = 0, last
    while above - below > 1:
        middle = (below + above) // 2
        if value < np.float32(table[middle]):
            above = middle
        else:
            below = middle
    return above - 1 if value - np.float32(table[above - 1]) < np.float32(table[above]) - value else above
