"""The instructions that integer dot products are made of, each with a portable twin in plain LLVM.

Where the processor has the instruction it is used; elsewhere the same numbers are computed from additions,
multiplications and comparisons. Either way the result is the same, bit for bit. Bytes that a name calls unsigned
are read as 0 … 255, all others as -128 … 127.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels import simd
from refgguf.kernels.dots.placement import constant, shuffle, wider
from refgguf.kernels.simd import INDEX, SCALARS, call_llvm, vector

# the names of x86's instructions in LLVM by the lanes of the first operand, and what the processor must have
MADD_BYTES = {16: ("llvm.x86.ssse3.pmadd.ub.sw.128", "ssse3"), 32: ("llvm.x86.avx2.pmadd.ub.sw", "avx2")}
MADD_BYTES[64] = ("llvm.x86.avx512.pmaddubs.w.512", "avx512bw")
MADD_WORDS = {8: ("llvm.x86.sse2.pmadd.wd", "sse2"), 16: ("llvm.x86.avx2.pmadd.wd", "avx2")}
MADD_WORDS[32] = ("llvm.x86.avx512.pmaddw.d.512", "avx512bw")
SIGN_BYTES = {16: ("llvm.x86.ssse3.psign.b.128", "ssse3"), 32: ("llvm.x86.avx2.psign.b", "avx2")}


def _named(table: dict[int, tuple[str, str]], lanes: int) -> str | None:
    """Return the instruction for so many lanes, or None where the processor lacks it."""
    name, feature = table.get(lanes, ("", "none"))
    return name if simd.cpu_has(feature) else None


def _every(builder: ir.IRBuilder, value: ir.Value, first: int, step: int) -> ir.Value:
    return shuffle(builder, value, value, list(range(first, value.type.count, step)))


def _in_halves(builder: ir.IRBuilder, emit: Callable, operands: list[ir.Value]) -> ir.Value:
    """Emit an instruction for the lower and the upper half of the lanes: what is wider than the registers."""
    half = operands[0].type.count // 2
    parts = []
    for first in (0, half):
        parts.append(
            emit(builder, *(shuffle(builder, a, a, list(range(first, first + half))) for a in operands))
        )
    return shuffle(builder, *parts, list(range(2 * parts[0].type.count)))


def emit_madd_bytes(builder: ir.IRBuilder, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    """Emit u[2 i] * s[2 i] + u[2 i + 1] * s[2 i + 1], saturated to 16 bits."""
    lanes = unsigned.type.count
    result = ir.VectorType(ir.IntType(16), lanes // 2)
    if name := _named(MADD_BYTES, lanes):
        return call_llvm(builder, name, result, [unsigned, signed])
    if lanes > 32:
        return _in_halves(builder, emit_madd_bytes, [unsigned, signed])
    wide = wider(unsigned.type, 32)
    products = builder.mul(builder.zext(unsigned, wide), builder.sext(signed, wide))
    total = builder.add(_every(builder, products, 0, 2), _every(builder, products, 1, 2))
    low, high = constant(total.type, -32768), constant(total.type, 32767)
    total = builder.select(builder.icmp_signed("<", total, low), low, total)
    return builder.trunc(builder.select(builder.icmp_signed(">", total, high), high, total), result)


def emit_madd_words(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Emit a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] in 32 bits."""
    lanes = a.type.count
    if name := _named(MADD_WORDS, lanes):
        return call_llvm(builder, name, ir.VectorType(ir.IntType(32), lanes // 2), [a, b])
    if lanes > 16:
        return _in_halves(builder, emit_madd_words, [a, b])
    wide = wider(a.type, 32)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    return builder.add(_every(builder, products, 0, 2), _every(builder, products, 1, 2))


@intrinsic
def madd_bytes(typing, unsigned, signed):
    """Return u[2 i] * s[2 i] + u[2 i + 1] * s[2 i + 1], saturated, as 16-bit lanes (x86 pmaddubsw)."""

    def emit(context, builder, signature, arguments):
        return emit_madd_bytes(builder, *arguments)

    return vector("i16", unsigned.lanes // 2)(unsigned, signed), emit


@intrinsic
def madd_words(typing, a, b):
    """Return a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] as 32-bit lanes (x86 pmaddwd)."""

    def emit(context, builder, signature, arguments):
        return emit_madd_words(builder, *arguments)

    return vector("i32", a.lanes // 2)(a, b), emit


def _vnni(builder: ir.IRBuilder, name: str, arguments: list) -> ir.Value:
    """Emit an instruction that adds products to 32-bit lanes, in the lanes that its factors have for this LLVM."""
    total, *factors = arguments
    if not simd.LLVM_22:
        factors = [builder.bitcast(factor, total.type) for factor in factors]
    return call_llvm(builder, name, total.type, [total, *factors])


@intrinsic
def add_dot4(typing, total, unsigned, signed):
    """Return total[i] + the sum of u[4 i + k] * s[4 i + k], k = 0 … 3 (x86 vpdpbusd).

    Two neighbouring products must not exceed 16 bits together; where they do, processors without the instruction
    saturate.
    """

    def emit(context, builder, signature, arguments):
        bits = 32 * total.lanes
        if bits in (256, 512) and simd.cpu_has("avx512vnni", "avx512vl"):
            return _vnni(builder, f"llvm.x86.avx512.vpdpbusd.{bits}", arguments)
        words = emit_madd_bytes(builder, *arguments[1:])
        return builder.add(arguments[0], emit_madd_words(builder, words, constant(words.type, 1)))

    return total(total, unsigned, signed), emit


@intrinsic
def add_madd_words(typing, total, a, b):
    """Return total[i] + a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] as 32-bit lanes (x86 vpdpwssd)."""

    def emit(context, builder, signature, arguments):
        bits = 32 * total.lanes
        if bits in (256, 512) and simd.cpu_has("avx512vnni", "avx512vl"):
            return _vnni(builder, f"llvm.x86.avx512.vpdpwssd.{bits}", arguments)
        return builder.add(arguments[0], emit_madd_words(builder, *arguments[1:]))

    return total(total, a, b), emit


def emit_with_sign_of(builder: ir.IRBuilder, value: ir.Value, sign: ir.Value) -> ir.Value:
    """Emit value where sign > 0, -value where sign < 0, 0 where sign is 0."""
    if name := _named(SIGN_BYTES, value.type.count):
        return call_llvm(builder, name, value.type, [value, sign])
    zero = constant(value.type, 0)
    value = builder.select(builder.icmp_signed("<", sign, zero), builder.sub(zero, value), value)
    return builder.select(builder.icmp_signed("==", sign, zero), zero, value)


@intrinsic
def with_sign_of(typing, a, b):
    """Return a where b > 0, -a where b < 0, 0 where b is 0 (x86 psignb)."""

    def emit(context, builder, signature, arguments):
        return emit_with_sign_of(builder, *arguments)

    return a(a, a), emit


@intrinsic
def pair_sums(typing, a):
    """Return a[2 i] + a[2 i + 1]."""

    def emit(context, builder, signature, arguments):
        return builder.add(_every(builder, arguments[0], 0, 2), _every(builder, arguments[0], 1, 2))

    return vector(a.element, a.lanes // 2)(a), emit


@intrinsic
def lane_sum(typing, a):
    """Return the sum of integer lanes."""

    def emit(context, builder, signature, arguments):
        value = arguments[0]
        while value.type.count > 1:
            half = value.type.count // 2
            parts = (shuffle(builder, value, value, list(range(first, first + half))) for first in (0, half))
            value = builder.add(*parts)
        return builder.extract_element(value, ir.Constant(INDEX, 0))

    return SCALARS[a.element](a), emit


@intrinsic
def adjacent_sum(typing, a):
    """Return (a[0] + a[1]) + (a[2] + a[3]) of four float32 lanes."""

    def emit(context, builder, signature, arguments):
        a, b, c, d = (builder.extract_element(arguments[0], ir.Constant(INDEX, lane)) for lane in range(4))
        return builder.fadd(builder.fadd(a, b), builder.fadd(c, d))

    return types.float32(a), emit


@intrinsic
def negative_mask(typing, a):
    """Return -1 in the lanes that are negative, else 0."""

    def emit(context, builder, signature, arguments):
        return builder.ashr(arguments[0], constant(a.llvm, a.llvm.element.width - 1))

    return a(a), emit


@intrinsic
def third_digit(typing, a):
    """Return byte * 3 // 256 of unsigned bytes."""

    def emit(context, builder, signature, arguments):
        value, result = arguments[0], constant(a.llvm, 0)
        for least in (86, 171):  # the smallest bytes that give 1 and 2
            reached = builder.icmp_unsigned(">=", value, constant(a.llvm, least))
            result = builder.add(result, builder.zext(reached, a.llvm))
        return result

    return a(a), emit


@intrinsic
def magnitude(typing, a):
    """Return the absolute value of float32 lanes."""

    def emit(context, builder, signature, arguments):
        return call_llvm(builder, f"llvm.fabs.v{a.lanes}f32", a.llvm, list(arguments))

    return a(a), emit


@intrinsic
def larger(typing, a, b):
    """Return a where a > b, else b (x86 vmaxps)."""

    def emit(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, a), emit


@intrinsic
def largest(typing, a):
    """Return the largest of float32 lanes, none of which is NaN."""

    def emit(context, builder, signature, arguments):
        value = arguments[0]
        while value.type.count > 1:
            half = value.type.count // 2
            low, high = (
                shuffle(builder, value, value, list(range(first, first + half))) for first in (0, half)
            )
            value = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(value, ir.Constant(INDEX, 0))

    return types.float32(a), emit


@intrinsic
def to_nearest(typing, a):
    """Return float32 lanes rounded to 32-bit integers, ties to even."""
    result = vector("i32", a.lanes)

    def emit(context, builder, signature, arguments):
        rounded = call_llvm(builder, f"llvm.rint.v{a.lanes}f32", a.llvm, list(arguments))
        return builder.fptosi(rounded, result.llvm)

    return result(a), emit


@intrinsic
def narrow_to_i8(typing, a):
    """Return the lowest byte of each integer lane."""
    result = vector("i8", a.lanes)

    def emit(context, builder, signature, arguments):
        return builder.trunc(arguments[0], result.llvm)

    return result(a), emit
