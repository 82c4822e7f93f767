"""F32, F16, BF16 and F64: one number a block, nothing is packed.

    bit   31 30      23 22                    0
    F32   s  exponent:8 mantissa:23
    bit   15 14   10 9         0
    F16   s  exp:5   mantissa:10
    BF16  s  exponent:8 mantissa:7            the upper half of an F32
    F64   s  exponent:11 mantissa:52          rounded to the nearest float32

All little-endian. Widening keeps a NaN's sign and payload; F16 and F64 NaNs become quiet, F32 and BF16 ones stay as
they are. Source: ggml.c ggml_fp16_to_fp32_row, ggml_bf16_to_fp32_row; gguf-py quants.py.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels.half import load_half, load_half_x16
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import bits_to_f32, load_f32, load_f32x16, load_u16, store
from refgguf.kernels.quants.format import Field, QuantFormat, from_bits, half, plain, u16, u32
from refgguf.kernels.simd import address, load_at


@plain
def f32_plain(block: np.ndarray) -> np.ndarray:
    """Decode one F32 value."""
    return np.array([u32(block, 0)], np.uint32).view(np.float32)


@plain
def f16_plain(block: np.ndarray) -> np.ndarray:
    """Decode one F16 value."""
    return np.array([half(block, 0)], np.float32)


@plain
def bf16_plain(block: np.ndarray) -> np.ndarray:
    """Decode one BF16 value."""
    return np.array([from_bits(u16(block, 0) << 16)], np.float32)


@plain
def f64_plain(block: np.ndarray) -> np.ndarray:
    """Decode one F64 value, rounded to float32."""
    return np.array([u32(block, 0) | u32(block, 4) << 32], np.uint64).view(np.float64).astype(np.float32)


@intrinsic
def load_f64(typing, array, at):
    """Return the float64 whose bytes begin at `array[at]`."""

    def emit(context, builder, signature, arguments):
        return load_at(builder, address(context, builder, array, *arguments), ir.DoubleType())

    return types.float64(array, types.intp), emit


@kernel
def f32_decode(raw, out):
    """Decode F32 values: a copy."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    n = values.size
    n_wide = n // 16 * 16
    for i in range(0, n_wide, 16):
        store(values, i, load_f32x16(flat, 4 * i))
    for i in range(n_wide, n):
        values[i] = load_f32(flat, 4 * i)


@kernel
def f16_decode(raw, out):
    """Decode F16 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    n = values.size
    n_wide = n // 16 * 16
    for i in range(0, n_wide, 16):
        store(values, i, load_half_x16(flat, 2 * i))
    for i in range(n_wide, n):
        values[i] = load_half(flat, 2 * i)


@kernel
def bf16_decode(raw, out):
    """Decode BF16 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        values[i] = bits_to_f32(np.uint32(load_u16(flat, 2 * i)) << np.uint32(16))


@kernel
def f64_decode(raw, out):
    """Decode F64 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        values[i] = np.float32(load_f64(flat, 8 * i))


FORMATS = (
    QuantFormat(
        "F32", 1, 4, (Field("x", "f32", 1, "the value"),), f32_plain, f32_decode, summary="32-bit float"
    ),
    QuantFormat(
        "F16", 1, 2, (Field("x", "f16", 1, "the value"),), f16_plain, f16_decode, summary="16-bit float"
    ),
    QuantFormat(
        "BF16", 1, 2, (Field("x", "bf16", 1, "the value"),), bf16_plain, bf16_decode, summary="brain float"
    ),
    QuantFormat(
        "F64", 1, 8, (Field("x", "f64", 1, "the value"),), f64_plain, f64_decode, summary="64-bit float"
    ),
)
