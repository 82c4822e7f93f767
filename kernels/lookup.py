"""Sixteen-entry tables in a register: one instruction looks up all lanes at once.

SSSE3's PSHUFB on x86, TBL on aarch64; elsewhere lane by lane, with the same result.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba.extending import intrinsic

from refgguf.kernels.simd import call_llvm, cpu_has, fill, vector

INDEX = ir.IntType(32)


def _instruction(context: object) -> str | None:
    """Return LLVM's name of the look-up instruction of the processor that code is made for."""
    if "+ssse3" in str(context.codegen().magic_tuple()[2]):
        return "llvm.x86.ssse3.pshuf.b.128"
    if platform.machine() in ("arm64", "aarch64"):
        return "llvm.aarch64.neon.tbl1.v16i8"
    return None


def _lane_by_lane(builder: ir.IRBuilder, table: ir.Value, codes: ir.Value) -> ir.Value:
    result = ir.Constant(codes.type, ir.Undefined)
    for lane in range(codes.type.count):
        at = ir.Constant(INDEX, lane)
        code = builder.zext(builder.extract_element(codes, at), INDEX)
        result = builder.insert_element(result, builder.extract_element(table, code), at)
    return result


def _resized(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Emit the first `lanes` lanes of a vector; lanes beyond its end repeat the first one."""
    order = [lane if lane < value.type.count else 0 for lane in range(lanes)]
    undefined = ir.Constant(value.type, ir.Undefined)
    return builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(INDEX, lanes), order))


def _in_eights(builder: ir.IRBuilder, table: ir.Value, codes: ir.Value, result: ir.VectorType) -> ir.Value:
    """Emit eight look-ups an instruction; every four lanes of `table` hold the same entries."""
    eight = ir.VectorType(ir.FloatType(), 8)
    parts = []
    for first in range(0, codes.type.count, 8):
        order = ir.Constant(ir.VectorType(INDEX, 8), list(range(first, first + 8)))
        halves = [builder.shuffle_vector(value, value, order) for value in (table, codes)]
        parts.append(call_llvm(builder, "llvm.x86.avx.vpermilvar.ps.256", eight, halves))
    while len(parts) > 1:
        lanes = ir.Constant(
            ir.VectorType(INDEX, 2 * parts[0].type.count), list(range(2 * parts[0].type.count))
        )
        parts = [builder.shuffle_vector(*parts[i : i + 2], lanes) for i in range(0, len(parts), 2)]
    return parts[0]


def _selected(builder: ir.IRBuilder, table: ir.Value, codes: ir.Value, result: ir.VectorType) -> ir.Value:
    """Emit a choice by bit 1 between two choices by bit 0."""
    zero, one, two = (ir.Constant(codes.type, [n] * codes.type.count) for n in (0, 1, 2))
    odd, upper = (builder.icmp_signed("!=", builder.and_(codes, bit), zero) for bit in (one, two))
    entries = [fill(builder, builder.extract_element(table, ir.Constant(INDEX, n)), result) for n in range(4)]
    low, high = (builder.select(odd, entries[n + 1], entries[n]) for n in (0, 2))
    return builder.select(upper, high, low)


@intrinsic
def look_up(typing, table, codes):
    """Return the bytes of `table` (u8x16) that `codes` (u8x8 or u8x16, each below 16) name."""

    def emit(context, builder, signature, arguments):
        entries, wanted = arguments
        name = _instruction(context)
        if name is None:
            return _lane_by_lane(builder, entries, wanted)
        found = call_llvm(builder, name, entries.type, [entries, _resized(builder, wanted, 16)])
        return _resized(builder, found, codes.lanes)

    return codes(table, codes), emit


@intrinsic
def pick(typing, table, codes):
    """Return float32 lanes of `table` (f32x4), lane j the one that the lowest two bits of `codes[j]` name.

    The upper bits of a code count for nothing. VPERMILPS on x86 with AVX; elsewhere three selections.
    """
    result = vector("f32", codes.lanes)

    def emit(context, builder, signature, arguments):
        entries, wanted = arguments
        repeated = [lane % 4 for lane in range(codes.lanes)]
        order = ir.Constant(ir.VectorType(INDEX, codes.lanes), repeated)
        wide = builder.shuffle_vector(entries, ir.Constant(entries.type, ir.Undefined), order)
        if cpu_has("avx"):
            return _in_eights(builder, wide, wanted, result.llvm)
        return _selected(builder, entries, wanted, result.llvm)

    return result(table, codes), emit
