"""F32, F16, BF16 and F64: one number a block, nothing is packed.

    bit   31 30      23 22                    0
    F32   s  exponent:8 mantissa:23
    bit   15 14   10 9         0
    F16   s  exp:5   mantissa:10
    BF16  s  exponent:8 mantissa:7            the upper half of an F32
    F64   s  exponent:11 mantissa:52          rounded to the nearest float32

All little-endian. Widening keeps a NaN's sign and payload; F16 and F64 NaNs become quiet, F32 and BF16 ones
stay as they are. Source: ggml.c ggml_fp16_to_fp32_row, ggml_bf16_to_fp32_row; gguf-py quants.py.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels.half import f32_to_half, load_half, load_half_x16
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import (
    bits_to_f32,
    f32_to_bits,
    load_f32,
    load_f32x16,
    load_u16,
    load_u16x16,
    store,
    widen,
)
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block, from_bits
from refgguf.kernels.simd import address, load_at


def f32_weight(block: Block, i: int) -> np.float32:
    """Decode one F32 value."""
    return block.f32("x", 0)


def f16_weight(block: Block, i: int) -> np.float32:
    """Decode one F16 value."""
    return block.half("x", 0)


def bf16_weight(block: Block, i: int) -> np.float32:
    """Decode one BF16 value."""
    bits = block.bits("bits", 0, 0, 16)
    return block.made("x", from_bits(bits << 16), "the float32 whose upper 16 bits these are")


def f64_weight(block: Block, i: int) -> np.float32:
    """Decode one F64 value, rounded to float32."""
    bits = block.bits("bits", 0, 0, 64)
    value = np.array([bits], np.uint64).view(np.float64).astype(np.float32)[0]
    return block.made("x", value, "the float64 with these bits, rounded to float32")


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
        store(values, i, load_f32(flat, 4 * i))


@kernel
def f16_decode(raw, out):
    """Decode F16 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    n = values.size
    n_wide = n // 16 * 16
    for i in range(0, n_wide, 16):
        store(values, i, load_half_x16(flat, 2 * i))
    for i in range(n_wide, n):
        store(values, i, load_half(flat, 2 * i))


@kernel
def bf16_decode(raw, out):
    """Decode BF16 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    n = values.size
    n_wide = n // 16 * 16
    for i in range(0, n_wide, 16):
        store(values, i, bits_to_f32(widen(load_u16x16(flat, 2 * i)) << 16))
    for i in range(n_wide, n):
        store(values, i, bits_to_f32(np.uint32(load_u16(flat, 2 * i)) << np.uint32(16)))


@kernel
def f64_decode(raw, out):
    """Decode F64 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        store(values, i, np.float32(load_f64(flat, 8 * i)))


@kernel
def f32_encode(values, out):
    """Copy float32 values."""
    flat, packed = values.reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        store(packed, 4 * i, f32_to_bits(flat[i]))


@kernel
def f16_encode(values, out):
    """Round float32 values to F16."""
    flat, packed = values.reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        store(packed, 2 * i, f32_to_half(flat[i]))


@kernel
def bf16_encode(values, out):
    """Round float32 values to BF16, ties to even; a NaN becomes quiet."""
    flat, packed = values.reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        bits = np.int64(f32_to_bits(flat[i]))
        nan = bits & 0x7FFFFFFF > 0x7F800000
        upper = bits >> 16 | 64 if nan else bits + 0x7FFF + (bits >> 16 & 1) >> 16
        store(packed, 2 * i, np.uint16(upper))


def _format(name: str, kind: str, weight, decode, encode, summary: str) -> QuantFormat:
    return QuantFormat(name, 1, (Field("x", kind, 1, "the value"),), weight, "x", decode, encode, summary)


FORMATS = (
    _format("F32", "f32", f32_weight, f32_decode, f32_encode, "32-bit float"),
    _format("F16", "f16", f16_weight, f16_decode, f16_encode, "16-bit float"),
    _format("BF16", "bf16", bf16_weight, bf16_decode, bf16_encode, "upper half of a 32-bit float"),
    _format("F64", "f64", f64_weight, f64_decode, None, "64-bit float"),
)
