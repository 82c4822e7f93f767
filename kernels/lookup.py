"""Sixteen-entry tables in a register: one instruction looks up all lanes at once.

SSSE3's PSHUFB on x86, TBL on aarch64; elsewhere lane by lane, with the same result.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba.extending import intrinsic

from refgguf.kernels.simd import call_llvm

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
