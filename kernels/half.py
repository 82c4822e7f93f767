"""float16 in kernels: numba has no such type, so halves travel as their 16 bits.

One instruction where the processor has it (F16C, aarch64), integer arithmetic elsewhere; the bits are the
same. A signalling NaN becomes a quiet one with the same payload when it is widened. When a float32 is
narrowed, every NaN becomes 0x7E00 with its sign, as ggml-impl.h `ggml_compute_fp32_to_fp16` has it; the
instruction would keep the payload. Rounding is to nearest, ties to even.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels.simd import Vector, address, load_at, vector


def _has_half_instructions(context: object) -> bool:
    """Return whether the processor that code is made for converts halves itself."""
    features = str(context.codegen().magic_tuple()[2])
    return "+f16c" in features or platform.machine() in ("arm64", "aarch64")


def _like(kind: ir.Type, element: ir.Type) -> ir.Type:
    """Return `element`, or as many lanes of it as `kind` has."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


class _Emit:
    """Emits integer arithmetic on numbers or vectors alike."""

    def __init__(self, builder: ir.IRBuilder, shape: ir.Type):
        self.builder, self.shape = builder, shape
        self.i32, self.f32 = _like(shape, ir.IntType(32)), _like(shape, ir.FloatType())

    def constant(self, number: float, kind: ir.Type) -> ir.Constant:
        return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)

    def int(self, number: int) -> ir.Constant:
        return self.constant(number, self.i32)


def widen_half(context: object, builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """Emit the float32 value of 16 bits, or of many."""
    emit = _Emit(builder, bits.type)
    if _has_half_instructions(context):
        return builder.fpext(builder.bitcast(bits, _like(bits.type, ir.HalfType())), emit.f32)
    wide = builder.zext(bits, emit.i32)
    sign = builder.shl(builder.and_(wide, emit.int(0x8000)), emit.int(16))
    magnitude = builder.shl(builder.and_(wide, emit.int(0x7FFF)), emit.int(13))
    # a half's exponent counts from 15, a float's from 127: 2 ** 112 mends normal and subnormal numbers alike
    number = builder.fmul(builder.bitcast(magnitude, emit.f32), emit.constant(2.0**112, emit.f32))
    infinite = builder.or_(magnitude, emit.int(0x7F800000))
    nan = builder.icmp_unsigned(">", magnitude, emit.int(0x7C00 << 13))
    special = builder.select(nan, builder.or_(infinite, emit.int(0x400000)), infinite)
    is_special = builder.icmp_unsigned(">=", magnitude, emit.int(0x7C00 << 13))
    result = builder.select(is_special, special, builder.bitcast(number, emit.i32))
    return builder.bitcast(builder.or_(result, sign), emit.f32)


def narrow_to_half(context: object, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Emit the 16 bits of the half nearest to a float32, or of many."""
    emit = _Emit(builder, value.type)
    i16 = _like(value.type, ir.IntType(16))
    bits = builder.bitcast(value, emit.i32)
    magnitude = builder.and_(bits, emit.int(0x7FFFFFFF))
    sign = builder.lshr(builder.and_(bits, emit.int(0x80000000)), emit.int(16))
    if _has_half_instructions(context):
        narrow = builder.fptrunc(value, _like(value.type, ir.HalfType()))
        finite = builder.and_(builder.zext(builder.bitcast(narrow, i16), emit.i32), emit.int(0x7FFF))
    else:
        odd = builder.and_(builder.lshr(magnitude, emit.int(13)), emit.int(1))
        rounded = builder.add(magnitude, builder.add(odd, emit.int(0x0FFF)))
        normal = builder.sub(builder.lshr(rounded, emit.int(13)), emit.int(112 << 10))
        normal = builder.select(
            builder.icmp_unsigned(">=", magnitude, emit.int(0x47800000)), emit.int(0x7C00), normal
        )
        # between 0.5 and 1 a float32 counts in steps of 2 ** -24, as subnormal halves do
        small = builder.fadd(builder.bitcast(magnitude, emit.f32), emit.constant(0.5, emit.f32))
        small = builder.sub(builder.bitcast(small, emit.i32), emit.int(0x3F000000))
        finite = builder.select(builder.icmp_unsigned("<", magnitude, emit.int(0x38800000)), small, normal)
    nan = builder.icmp_unsigned(">", magnitude, emit.int(0x7F800000))
    return builder.trunc(builder.or_(sign, builder.select(nan, emit.int(0x7E00), finite)), i16)


@intrinsic
def half_to_f32(typing, bits):
    """Return the float32 value of a half's 16 bits (any integer type; the low 16 bits count)."""

    def emit(context, builder, signature, arguments):
        low = arguments[0]
        if low.type.width != 16:
            low = builder.trunc(low, ir.IntType(16))
        return widen_half(context, builder, low)

    return types.float32(bits), emit


@intrinsic
def f32_to_half(typing, value):
    """Return the 16 bits of the half nearest to a float32."""

    def emit(context, builder, signature, arguments):
        return narrow_to_half(context, builder, arguments[0])

    return types.uint16(types.float32), emit


@intrinsic
def load_half(typing, array, at):
    """Return the float32 value of the half whose two bytes begin at `array[at]` (one-dimensional uint8)."""

    def emit(context, builder, signature, arguments):
        bits = load_at(builder, address(context, builder, array, *arguments), ir.IntType(16))
        return widen_half(context, builder, bits)

    return types.float32(array, types.intp), emit


def _load_halves(lanes: int) -> Callable:
    """Return the intrinsic that reads so many halves, from byte `array[at]` on, as float32 lanes."""
    result = vector("f32", lanes)

    @intrinsic
    def load_halves(typing, array, at):
        def emit(context, builder, signature, arguments):
            start = address(context, builder, array, *arguments)
            return widen_half(context, builder, load_at(builder, start, ir.VectorType(ir.IntType(16), lanes)))

        return result(array, types.intp), emit

    return load_halves


load_half_x8, load_half_x16 = _load_halves(8), _load_halves(16)


@intrinsic
def lanes_to_half(typing, values):
    """Return float32 lanes as 16-bit lanes that hold the nearest halves."""
    if not isinstance(values, Vector):
        return None
    result = vector("i16", values.lanes)

    def emit(context, builder, signature, arguments):
        return narrow_to_half(context, builder, arguments[0])

    return result(values), emit
