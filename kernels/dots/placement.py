"""Where lanes stand: loads, halves, one lane for all, bits and packed fields as lanes; plain LLVM everywhere."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from refgguf.kernels import simd
from refgguf.kernels.half import widen_half
from refgguf.kernels.simd import ELEMENTS, INDEX, SCALARS, address, fill, load_at, vector


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, picks: list[int]) -> ir.Value:
    """Emit the lanes that `picks` names, counted over a and then b."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INDEX, len(picks)), picks))


def constant(kind: ir.VectorType, number: int) -> ir.Constant:
    """Return a vector with a number in every lane."""
    return ir.Constant(kind, [number] * kind.count)


def wider(kind: ir.VectorType, width: int) -> ir.VectorType:
    """Return the type of as many integers of another width."""
    return ir.VectorType(ir.IntType(width), kind.count)


@intrinsic
def joined(typing, low, high):
    """Return one vector with the lanes of `low`, then those of `high`."""

    def emit(context, builder, signature, arguments):
        return shuffle(builder, *arguments, list(range(2 * low.lanes)))

    return vector(low.element, 2 * low.lanes)(low, low), emit


@intrinsic
def swap_middle(typing, a):
    """Return the four quarters of the lanes in the order 0, 2, 1, 3."""
    quarter = a.lanes // 4

    def emit(context, builder, signature, arguments):
        picks = [first * quarter + lane for first in (0, 2, 1, 3) for lane in range(quarter)]
        return shuffle(builder, arguments[0], arguments[0], picks)

    return a(a), emit


@intrinsic
def spread_lane(typing, a, lane, like):
    """Return a vector of the type of `like` with a[lane] in every lane."""

    def emit(context, builder, signature, arguments):
        scalar = builder.extract_element(arguments[0], builder.trunc(arguments[1], INDEX))
        return fill(builder, scalar, like.llvm)

    return like(a, types.intp, like), emit


@intrinsic
def spread_pair(typing, a, pair):
    """Return the 16-bit lanes 2 * pair and 2 * pair + 1 in turn, eight times."""

    def emit(context, builder, signature, arguments):
        both = builder.bitcast(arguments[0], ir.VectorType(INDEX, a.lanes // 2))
        scalar = builder.extract_element(both, builder.trunc(arguments[1], INDEX))
        return builder.bitcast(fill(builder, scalar, ir.VectorType(INDEX, 8)), result.llvm)

    result = vector("i16", 16)
    return result(a, types.intp), emit


@intrinsic
def byte_pairs(typing, a, odd):
    """Return bytes 0 1 4 5 8 9 … (0) or 2 3 6 7 10 11 … (1); `odd` must be written as a number."""
    if not isinstance(odd, types.IntegerLiteral):
        return None
    picks = [4 * (lane // 2) + 2 * odd.literal_value + lane % 2 for lane in range(a.lanes // 2)]

    def emit(context, builder, signature, arguments):
        return shuffle(builder, arguments[0], arguments[0], picks)

    return vector("i8", a.lanes // 2)(a, odd), emit


@intrinsic
def byte_pairs_of_both(typing, a, b, odd):
    """Return bytes 0 1 of a, 0 1 of b, 4 5 of a … (0) or 2 3 of a, 2 3 of b, 6 7 … (1); `odd` is a number."""
    if not isinstance(odd, types.IntegerLiteral):
        return None
    picks = [
        lane // 4 * 4 + 2 * odd.literal_value + lane % 2 + a.lanes * (lane // 2 % 2)
        for lane in range(a.lanes)
    ]

    def emit(context, builder, signature, arguments):
        return shuffle(builder, *arguments[:2], picks)

    return a(a, b, odd), emit


@intrinsic
def alternating(typing, a, b):
    """Return lanes 0, 2, 4 … of a and lanes 1, 3, 5 … of b, each where it stands."""

    def emit(context, builder, signature, arguments):
        return shuffle(builder, *arguments, [lane + a.lanes * (lane % 2) for lane in range(a.lanes)])

    return a(a, b), emit


@intrinsic
def high_words_to_f32(typing, a):
    """Return the float32 numbers of which 16-bit lanes are the upper halves."""
    result = vector("f32", a.lanes)

    def emit(context, builder, signature, arguments):
        wide = wider(arguments[0].type, 32)
        shifted = builder.shl(builder.zext(arguments[0], wide), constant(wide, 16))
        return builder.bitcast(shifted, result.llvm)

    return result(a), emit


@intrinsic
def mask_x32(typing, number):
    """Return 255 in lane j where bit j of a uint32 is set, else 0."""
    result = vector("i8", 32)

    def emit(context, builder, signature, arguments):
        return builder.sext(builder.bitcast(arguments[0], ir.VectorType(ir.IntType(1), 32)), result.llvm)

    return result(types.uint32), emit


@intrinsic
def run_masks(typing, number):
    """Return 32 bytes, of which 8 for each of the bits 3, 7, 11 and 15 of a number: 255 where it is set."""
    result = vector("i8", 32)

    def emit(context, builder, signature, arguments):
        four = ir.VectorType(ir.IntType(64), 4)
        bits = builder.and_(fill(builder, arguments[0], four), ir.Constant(four, [8, 128, 2048, 32768]))
        return builder.bitcast(
            builder.sext(builder.icmp_unsigned("!=", bits, constant(four, 0)), four), result.llvm
        )

    return result(types.int64), emit


@intrinsic
def three_bit_fields(typing, number):
    """Return the 16 fields of three bits in bits 0-11 of four 16-bit words, as 16-bit lanes."""
    result = vector("i16", 16)

    def emit(context, builder, signature, arguments):
        words = builder.bitcast(arguments[0], ir.VectorType(ir.IntType(16), 4))
        repeated = shuffle(builder, words, words, [lane // 4 for lane in range(16)])
        shifted = builder.lshr(repeated, ir.Constant(result.llvm, [3 * (lane % 4) for lane in range(16)]))
        return builder.and_(shifted, constant(result.llvm, 7))

    return result(types.uint64), emit


@intrinsic
def repeat_times_powers_of_three(typing, number):
    """Return 16 bytes: the four bytes of a uint32, then three, nine and twenty-seven times them, modulo 256."""
    result = vector("i8", 16)

    def emit(context, builder, signature, arguments):
        four = builder.bitcast(arguments[0], ir.VectorType(ir.IntType(8), 4))
        repeated = shuffle(builder, four, four, [lane % 4 for lane in range(16)])
        return builder.mul(repeated, ir.Constant(result.llvm, [3 ** (lane // 4) for lane in range(16)]))

    return result(types.uint32), emit


@intrinsic
def bytes_of_words(typing, a, b, c, d):
    """Return the 16 bytes of four uint32, the lowest byte of `a` first."""

    def emit(context, builder, signature, arguments):
        words = ir.Constant(ir.VectorType(ir.IntType(32), 4), ir.Undefined)
        for lane, word in enumerate(arguments):
            words = builder.insert_element(words, word, ir.Constant(INDEX, lane))
        return builder.bitcast(words, vector("i8", 16).llvm)

    return vector("i8", 16)(types.uint32, types.uint32, types.uint32, types.uint32), emit


@intrinsic
def in_memory(typing, a):
    """Return where the lanes of `a` lie in memory, for `spread_at`: reading one costs no shuffle."""

    def emit(context, builder, signature, arguments):
        slot = cgutils.alloca_once(builder, a.llvm)
        builder.store(arguments[0], slot)
        pointer = builder.bitcast(slot, ir.PointerType(ELEMENTS[a.element]))
        # an empty instruction that could have read the lanes and changed the address, else LLVM shuffles
        hide = ir.FunctionType(pointer.type, [pointer.type])
        return builder.asm(hide, "", "=r,0,~{memory}", [pointer], side_effect=True)

    return types.CPointer(SCALARS[a.element])(a), emit


@intrinsic
def spread_at(typing, pointer, lane):
    """Return 16 lanes that all hold one lane of what `in_memory` stored."""

    def emit(context, builder, signature, arguments):
        value = builder.load(builder.gep(arguments[0], [arguments[1]]))
        return fill(builder, value, simd.f32x16.llvm)

    return simd.f32x16(pointer, types.intp), emit


@intrinsic
def four_at(typing, pointer, lane):
    """Return four lanes of what `in_memory` stored, from `lane` on."""

    def emit(context, builder, signature, arguments):
        return load_at(builder, builder.gep(arguments[0], [arguments[1]]), result.llvm)

    result = vector("f32", 4)
    return result(pointer, types.intp), emit


@intrinsic
def prefetch(typing, array, at):
    """Ask for the cache line of element `at` to be brought near; any address will do."""

    def emit(context, builder, signature, arguments):
        pointer = address(context, builder, array, *arguments)
        read, near, data = (ir.Constant(INDEX, number) for number in (0, 2, 1))
        simd.call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, read, near, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@intrinsic
def repeat_each(typing, a, times):
    """Return each lane of `a` so many times in a row; `times` must be written as a number."""
    if not isinstance(times, types.IntegerLiteral):
        return None
    n = times.literal_value

    def emit(context, builder, signature, arguments):
        return shuffle(builder, arguments[0], arguments[0], [i // n for i in range(n * a.lanes)])

    return vector(a.element, n * a.lanes)(a, times), emit


@intrinsic
def spread_f32(typing, number, like):
    """Return a vector of the type of `like` with a float32 number in every lane."""

    def emit(context, builder, signature, arguments):
        return fill(builder, arguments[0], like.llvm)

    return like(types.float32, like), emit


def _spread_half(lanes: int) -> Callable:
    @intrinsic
    def spread_half(typing, array, at):
        result = vector("f32", lanes)

        def emit(context, builder, signature, arguments):
            bits = load_at(builder, address(context, builder, array, *arguments), ir.IntType(16))
            # converting all lanes keeps LLVM from inserting the half into a register that something else fills:
            # such an insertion would have to wait for it
            return widen_half(context, builder, fill(builder, bits, ir.VectorType(ir.IntType(16), lanes)))

        return result(array, types.intp), emit

    return spread_half


spread_half_x4, spread_half_x8, spread_half_x16 = (_spread_half(lanes) for lanes in (4, 8, 16))


def _extend(element: str, how: str) -> Callable:
    @intrinsic
    def extend(typing, a):
        result = vector(element, a.lanes)

        def emit(context, builder, signature, arguments):
            return getattr(builder, how)(arguments[0], result.llvm)

        return result(a), emit

    return extend


to_i16, to_i32, unsigned_to_i16 = _extend("i16", "sext"), _extend("i32", "sext"), _extend("i16", "zext")


def _load(element: str, lanes: int) -> Callable:
    @intrinsic
    def load(typing, array, at):
        result = vector(element, lanes)

        def emit(context, builder, signature, arguments):
            return load_at(builder, address(context, builder, array, *arguments), result.llvm)

        return result(array, types.intp), emit

    return load


load_u8x64, load_i16x8, load_i16x16 = _load("i8", 64), _load("i16", 8), _load("i16", 16)
load_f32x64 = _load("f32", 64)
