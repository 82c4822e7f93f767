"""exp of several numbers at once, as ggml computes it on AVX2, to the bit.

    n = round(x / ln 2)                     by adding and taking away 1.5 · 2^23
    b = x − n ln 2                          ln 2 in two parts, an FMA each
    j = e^b − 1                             a polynomial of degree five
    e^x = 2^n + 2^n · j                     one FMA; beyond 2^±126 in two factors of 2^±126 and 2^(n ∓ 126)

It lies within 2 units in the last place of e^x. Below −103.97 it gives 0, above 88.72 infinity. The numbers of a row
that fill no whole eight go through the C library's expf, there as here, so whoever calls this has to know rows.

Source: constants and order of ggml_v_expf (AVX2 with FMA) in ggml/src/ggml-cpu/vec.h, after Arm's optimized routines.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.simd import call_llvm

ROUNDER = np.float32(float.fromhex("0x1.8p23"))
LOG2_E = np.float32(float.fromhex("0x1.715476p+0"))
LN2_HIGH, LN2_LOW = np.float32(float.fromhex("0x1.62e4p-1")), np.float32(float.fromhex("0x1.7f7d1cp-20"))
# of the first to the fifth power of b
C1, C2, C3, C4, C5 = (
    np.float32(float.fromhex(c))
    for c in ("0x1.ffffecp-1", "0x1.fffdb6p-2", "0x1.555e66p-3", "0x1.573e2ep-5", "0x1.0e4020p-7")
)
ONE = np.uint32(0x3F800000)  # the bits of 1
LARGE, HUGE = np.float32(126), np.float32(192)
HALF_SCALE, DOWN = np.uint32(0x7F000000), np.uint32(0x82000000)  # 2^127; what makes of it 2^-125


def exp_plain(x: np.ndarray) -> np.ndarray:
    """Return what `exp_lanes` returns for each number of x, float32, in NumPy: the plain twin."""
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        z = fma_plain(x, LOG2_E, ROUNDER)
        n = z - ROUNDER
        b = fma_plain(-n, LN2_LOW, fma_plain(-n, LN2_HIGH, x))
        square = b * b
        upper = fma_plain(fma_plain(C5, b, C4), square, fma_plain(C3, b, C2))
        j = fma_plain(upper, square, C1 * b)
        exponent = z.view(np.uint32) << np.uint32(23)
        k = (exponent + ONE).view(np.float32)
        down = np.where(n <= 0, DOWN, np.uint32(0))
        first, second = (down + HALF_SCALE).view(np.float32), (exponent - down).view(np.float32)
        large = np.where(np.abs(n) > LARGE, fma_plain(second, j, second) * first, fma_plain(k, j, k))
        return np.where(np.abs(n) > HUGE, first * first, large)


@intrinsic
def exp_lanes(typing, x):
    """Return exp of float32 lanes."""

    def emit(context, builder, signature, arguments):
        (value,), kind = arguments, x.llvm
        words = ir.VectorType(ir.IntType(32), x.lanes)

        def floats(number):
            return ir.Constant(kind, [float(number)] * x.lanes)

        def bits(number):
            return ir.Constant(words, [int(number)] * x.lanes)

        def fma(*terms):
            return call_llvm(builder, f"llvm.fma.v{x.lanes}f32", kind, list(terms))

        def as_floats(number):
            return builder.bitcast(number, kind)

        z = fma(value, floats(LOG2_E), floats(ROUNDER))
        n = builder.fsub(z, floats(ROUNDER))
        minus = builder.fneg(n)
        b = fma(minus, floats(LN2_LOW), fma(minus, floats(LN2_HIGH), value))
        square = builder.fmul(b, b)
        upper = fma(fma(floats(C5), b, floats(C4)), square, fma(floats(C3), b, floats(C2)))
        j = fma(upper, square, builder.fmul(floats(C1), b))
        exponent = builder.shl(builder.bitcast(z, words), bits(23))
        k = as_floats(builder.add(exponent, bits(ONE)))
        low = builder.fcmp_ordered("<=", n, floats(0))
        down = builder.select(low, bits(DOWN), bits(0))
        first, second = (
            as_floats(builder.add(down, bits(HALF_SCALE))),
            as_floats(builder.sub(exponent, down)),
        )
        size = call_llvm(builder, f"llvm.fabs.v{x.lanes}f32", kind, [n])
        far = builder.fmul(fma(second, j, second), first)
        near = builder.select(builder.fcmp_ordered(">", size, floats(LARGE)), far, fma(k, j, k))
        beyond = builder.fcmp_ordered(">", size, floats(HUGE))
        return builder.select(beyond, builder.fmul(first, first), near)

    return x(x), emit
