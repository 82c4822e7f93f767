"""Decoding many values at once: loads, conversions and the operators + - * & | ^ >> << on SIMD vectors.

Built on the vector types of `simd.py`. With the operators a decoder reads like its drawing, `d * to_f32(q &
15)`, and yet is a handful of instructions. A number beside a vector stands for a vector of that number.
Integer lanes wrap around and shift in zeros; bytes are unsigned until `signed_to_f32` says otherwise. All
of it is plain LLVM, the same result on every CPU, and no float operation is ever reordered or fused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, type_callable

from refgguf.kernels.simd import Vector, address, fill, load_at, store_at, stream_at, vector

u8x4, u8x8, u8x16, u8x32 = (vector("i8", lanes) for lanes in (4, 8, 16, 32))
u16x16 = vector("i16", 16)
i32x8, i32x16, i32x32 = (vector("i32", lanes) for lanes in (8, 16, 32))
f32x4, f32x8, f32x16, f32x32 = (vector("f32", lanes) for lanes in (4, 8, 16, 32))

STREAMED = types.uint32  # what an array of float32 that bypasses the cache is passed as

INTEGER_OPERATORS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.and_: "and_",
    operator.or_: "or_",
    operator.xor: "xor",
    operator.rshift: "lshr",
    operator.lshift: "shl",
}
FLOAT_OPERATORS = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul"}


def _number_as_lanes(
    builder: ir.IRBuilder, number: ir.Value, kind: types.Type, lanes: ir.VectorType
) -> ir.Value:
    """Emit the vector that has `number` in every lane."""
    wanted = lanes.element
    if isinstance(kind, types.Integer) and number.type != wanted:
        number = (
            builder.trunc(number, wanted)
            if number.type.width > wanted.width
            else builder.zext(number, wanted)
        )
    return fill(builder, number, lanes)


def _accepts(operation: Callable, left: types.Type, right: types.Type) -> Vector | None:
    """Return the type of the result, or None where the operator is not ours."""
    vectors = [kind for kind in (left, right) if isinstance(kind, Vector)]
    if not vectors or (len(vectors) == 2 and left != right):
        return None
    result = vectors[0]
    if operation not in (FLOAT_OPERATORS if result.is_float else INTEGER_OPERATORS):
        return None
    # a float64 beside float32 lanes would have to be rounded unseen
    numbers = types.float32 if result.is_float else types.Integer
    for kind in (left, right):
        if not isinstance(kind, Vector) and not (
            kind == numbers if result.is_float else isinstance(kind, numbers)
        ):
            return None
    return result


def _define_operator(operation: Callable) -> None:
    @type_callable(operation)
    def type_operator(context):
        def typer(left, right):
            return _accepts(operation, left, right)

        return typer

    def emit(context, builder, signature, arguments):
        lanes = signature.return_type.llvm
        both = [
            value if isinstance(kind, Vector) else _number_as_lanes(builder, value, kind, lanes)
            for value, kind in zip(arguments, signature.args, strict=True)
        ]
        names = FLOAT_OPERATORS if signature.return_type.is_float else INTEGER_OPERATORS
        return getattr(builder, names[operation])(*both)

    for number in (types.Integer, types.Float):
        lower_builtin(operation, Vector, number)(emit)
        lower_builtin(operation, number, Vector)(emit)
    lower_builtin(operation, Vector, Vector)(emit)


for _operation in INTEGER_OPERATORS:
    _define_operator(_operation)


def _load(result: types.Type, llvm: ir.Type) -> Callable:
    """Return the intrinsic that reads `result` from `array` at element `at`, whatever its alignment."""

    @intrinsic
    def load(typing, array, at):
        def emit(context, builder, signature, arguments):
            return load_at(builder, address(context, builder, array, *arguments), llvm)

        return result(array, types.intp), emit

    return load


load_u8x4, load_u8x8, load_u8x16, load_u8x32 = (_load(kind, kind.llvm) for kind in (u8x4, u8x8, u8x16, u8x32))
load_f32x4, load_f32x8, load_f32x16 = (_load(kind, kind.llvm) for kind in (f32x4, f32x8, f32x16))
load_u16x16 = _load(u16x16, u16x16.llvm)
load_i32x8 = _load(i32x8, i32x8.llvm)
load_u8 = _load(types.uint8, ir.IntType(8))
load_u16 = _load(types.uint16, ir.IntType(16))
load_u32 = _load(types.uint32, ir.IntType(32))
load_u64 = _load(types.uint64, ir.IntType(64))
load_f32 = _load(types.float32, ir.FloatType())


@intrinsic
def store(typing, array, at, value):
    """Write a vector or a number to `array` from element `at` on, whatever the alignment.

    Float32 lanes that go to an array of uint32 go past the cache, and must be aligned (`simd.stream_at`): so one
    kernel serves results that are used at once and results too large for that.
    """
    put = stream_at if array.dtype == STREAMED and getattr(value, "element", "") == "f32" else store_at

    def emit(context, builder, signature, arguments):
        target, at, value = arguments
        put(builder, address(context, builder, array, target, at), value)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


def _convert(extend: str) -> Callable:
    @intrinsic
    def convert(typing, value):
        result = vector("f32", value.lanes)

        def emit(context, builder, signature, arguments):
            wide = ir.VectorType(ir.IntType(32), value.lanes)
            lanes = arguments[0]
            if lanes.type != wide:
                lanes = getattr(builder, extend)(lanes, wide)
            return builder.sitofp(lanes, result.llvm)

        return result(value), emit

    return convert


to_f32 = _convert("zext")
signed_to_f32 = _convert("sext")


@intrinsic
def widen(typing, value):
    """Return the lanes as 32-bit integers, bytes counted as unsigned."""
    result = vector("i32", value.lanes)

    def emit(context, builder, signature, arguments):
        return builder.zext(arguments[0], result.llvm)

    return result(value), emit


@intrinsic
def bits_to_f32(typing, value):
    """Return 32-bit lanes, or a 32-bit number, read as float32 with the same bits."""
    result = vector("f32", value.lanes) if isinstance(value, Vector) else types.float32
    llvm = result.llvm if isinstance(result, Vector) else ir.FloatType()

    def emit(context, builder, signature, arguments):
        bits = arguments[0]
        if not isinstance(value, Vector) and bits.type.width > 32:
            bits = builder.trunc(bits, ir.IntType(32))
        return builder.bitcast(bits, llvm)

    return result(value), emit


@intrinsic
def f32_to_bits(typing, value):
    """Return float32 lanes, or a float32 number, as 32-bit integers with the same bits."""
    result = vector("i32", value.lanes) if isinstance(value, Vector) else types.uint32

    def emit(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], result.llvm if isinstance(result, Vector) else ir.IntType(32))

    return result(value), emit


@intrinsic
def spread(typing, number, like):
    """Return a vector with `number` in every lane, of the type of `like`."""

    def emit(context, builder, signature, arguments):
        return _number_as_lanes(builder, arguments[0], number, like.llvm)

    return like(number, like), emit


@intrinsic
def add_first(typing, left, right):
    """Return left + right; where both are NaN, left's, which `+` would leave to the compiler."""
    kind = _accepts(operator.add, left, right)

    def emit(context, builder, signature, arguments):
        both = [
            value if isinstance(given, Vector) else _number_as_lanes(builder, value, given, kind.llvm)
            for value, given in zip(arguments, (left, right), strict=True)
        ]
        nan = builder.fcmp_unordered("uno", both[0], both[0])
        return builder.select(nan, both[0], builder.fadd(*both))

    return kind(left, right), emit


@intrinsic
def half_of(typing, a, upper):
    """Return the lower (0) or upper (1) half of the lanes; `upper` must be written as a number."""
    if not isinstance(upper, types.IntegerLiteral):
        return None
    first = upper.literal_value * a.lanes // 2

    def emit(context, builder, signature, arguments):
        lanes = ir.Constant(
            ir.VectorType(ir.IntType(32), a.lanes // 2), list(range(first, first + a.lanes // 2))
        )
        return builder.shuffle_vector(arguments[0], arguments[0], lanes)

    return vector(a.element, a.lanes // 2)(a, upper), emit


def _bit_lanes(lanes: int) -> Callable:
    @intrinsic
    def bit_lanes(typing, number):
        result = vector("i8", lanes)

        def emit(context, builder, signature, arguments):
            bits = arguments[0]
            if bits.type.width != lanes:
                bits = builder.trunc(bits, ir.IntType(lanes))
            return builder.zext(builder.bitcast(bits, ir.VectorType(ir.IntType(1), lanes)), result.llvm)

        return result(number), emit

    return bit_lanes


@intrinsic
def fields_x8(typing, array, at, width):
    """Return eight 32-bit lanes, lane j the number `array[at]` shifted right by `width` * j, not masked.

    `array` is uint32; `width` must be written as a number.
    """
    if not isinstance(width, types.IntegerLiteral):
        return None

    def emit(context, builder, signature, arguments):
        word = load_at(builder, address(context, builder, array, *arguments[:2]), ir.IntType(32))
        shifts = ir.Constant(i32x8.llvm, [width.literal_value * lane for lane in range(8)])
        return builder.lshr(fill(builder, word, i32x8.llvm), shifts)

    return i32x8(array, types.intp, width), emit


@intrinsic
def fields_x16(typing, number, width):
    """Return 16 32-bit lanes, lane j a uint32 number shifted right by `width` * j; `width` as in `fields_x8`."""
    if not isinstance(width, types.IntegerLiteral):
        return None

    def emit(context, builder, signature, arguments):
        shifts = ir.Constant(i32x16.llvm, [width.literal_value * lane for lane in range(16)])
        return builder.lshr(fill(builder, arguments[0], i32x16.llvm), shifts)

    return i32x16(types.uint32, width), emit


# lane j is bit j of a number, 0 or 1
bits_x16, bits_x32 = _bit_lanes(16), _bit_lanes(32)


@intrinsic
def crumbs_x32(typing, packed):
    """Return the 32 two-bit numbers in eight bytes, lowest bits first, as 32-bit lanes."""
    result = vector("i32", 32)

    def emit(context, builder, signature, arguments):
        undefined = ir.Constant(packed.llvm, ir.Undefined)
        order = ir.Constant(ir.VectorType(ir.IntType(32), 32), [lane // 4 for lane in range(32)])
        wide = builder.zext(builder.shuffle_vector(arguments[0], undefined, order), result.llvm)
        shifts = ir.Constant(result.llvm, [2 * (lane % 4) for lane in range(32)])
        return builder.and_(builder.lshr(wide, shifts), ir.Constant(result.llvm, [3] * 32))

    return result(u8x8), emit


@intrinsic
def join_u8x8(typing, low, high):
    """Return eight bytes made of two 32-bit numbers, the bytes of `low` first."""

    def emit(context, builder, signature, arguments):
        pair = ir.Constant(ir.VectorType(ir.IntType(32), 2), ir.Undefined)
        for lane, number in enumerate(arguments):
            pair = builder.insert_element(pair, number, ir.Constant(ir.IntType(32), lane))
        return builder.bitcast(pair, u8x8.llvm)

    return u8x8(types.uint32, types.uint32), emit
