"""SIMD vectors for numba: types, arithmetic, memory, conversions; each operation is one LLVM instruction.

Numba knows no vector types, but an intrinsic may emit LLVM's, and a value of such a type lives in a local
variable of a kernel like any number does. Everything here is plain LLVM vector arithmetic, so it runs on
every CPU with the same result; LLVM splits what is wider than the machine's registers. Loads and operators
are in `lanes.py`, the instructions of integer dot products in `dots/instructions.py`.

A type is named by its element and lanes, `i8x32`, `f32x16`. Operations on integers wrap around; signedness
is in the operation's name, not in the type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

ELEMENTS = {
    "i8": ir.IntType(8),
    "i16": ir.IntType(16),
    "i32": ir.IntType(32),
    "i64": ir.IntType(64),
    "f16": ir.HalfType(),
    "f32": ir.FloatType(),
}
SCALARS = {"i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64, "f32": types.float32}
INDEX = ir.IntType(32)
LLVM_22 = binding.llvm_version_info >= (22,)  # some intrinsic functions took other arguments before
STREAM_ALIGNMENT = 16


class Vector(types.Type):
    """The numba type of `lanes` numbers of one kind in a register."""

    def __init__(self, element: str, lanes: int):
        self.element, self.lanes = element, lanes
        super().__init__(name=f"{element}x{lanes}")

    @property
    def llvm(self) -> ir.VectorType:
        """The type as LLVM sees it."""
        return ir.VectorType(ELEMENTS[self.element], self.lanes)

    @property
    def is_float(self) -> bool:
        """Whether the lanes are floating-point numbers."""
        return self.element[0] == "f"


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """How numba passes a vector around: as the LLVM vector itself."""

    def __init__(self, manager: object, vector: Vector):
        super().__init__(manager, vector, vector.llvm)


@cache
def cpu_features() -> frozenset[str]:
    """Return the features of the CPU that kernels are compiled for, in LLVM's names: `avx2`, `neon`."""
    if config.CPU_FEATURES is not None:
        named = config.CPU_FEATURES.split(",")
    elif config.CPU_NAME is not None and config.CPU_NAME != "host":
        return frozenset()
    else:
        named = binding.get_host_cpu_features().flatten().split(",")
    return frozenset(name[1:] for name in named if name.startswith("+"))


def cpu_has(*features: str) -> bool:
    """Return whether the CPU that kernels are compiled for has all these features."""
    return cpu_features().issuperset(features)


@cache
def vector(element: str, lanes: int) -> Vector:
    """Return the one type of this element and lane count."""
    return Vector(element, lanes)


f32x8, f32x16 = vector("f32", 8), vector("f32", 16)


def call_llvm(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list) -> ir.Value:
    """Emit a call of an LLVM intrinsic function."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def fill(builder: ir.IRBuilder, scalar: ir.Value, result: ir.VectorType) -> ir.Value:
    """Emit a vector with `scalar` in every lane."""
    undefined = ir.Constant(result, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INDEX, 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(INDEX, result.count), [0] * result.count)
    )


def address(
    context: object, builder: ir.IRBuilder, array: types.Array, value: ir.Value, at: ir.Value
) -> ir.Value:
    """Emit the address of element `at` of a one-dimensional contiguous array."""
    return builder.gep(cgutils.create_struct_proxy(array)(context, builder, value).data, [at])


def load_at(builder: ir.IRBuilder, pointer: ir.Value, result: ir.Type) -> ir.Value:
    """Emit a load from any address, aligned or not."""
    value = builder.load(builder.bitcast(pointer, ir.PointerType(result)))
    value.align = 1
    return value


def store_at(builder: ir.IRBuilder, pointer: ir.Value, value: ir.Value) -> None:
    """Emit a store to any address, aligned or not."""
    builder.store(value, builder.bitcast(pointer, ir.PointerType(value.type))).align = 1


def stream_at(builder: ir.IRBuilder, pointer: ir.Value, value: ir.Value) -> None:
    """Emit stores of float32 lanes past the cache, to an address that is a multiple of STREAM_ALIGNMENT.

    Memory is not read first, as an ordinary store of a part of a cache line makes it be. Other threads may read
    what was written after any lock has changed hands.
    """
    lanes = STREAM_ALIGNMENT // 4
    for first in range(0, value.type.count, lanes):
        picks = ir.Constant(ir.VectorType(INDEX, lanes), list(range(first, first + lanes)))
        part = builder.shuffle_vector(value, value, picks)
        at = builder.gep(
            builder.bitcast(pointer, ir.PointerType(ir.FloatType())), [ir.Constant(INDEX, first)]
        )
        written = builder.store(part, builder.bitcast(at, ir.PointerType(part.type)))
        written.align = STREAM_ALIGNMENT
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INDEX, 1)]))


def _zero(result: Vector) -> Callable:
    @intrinsic
    def zero(typing):
        def emit(context, builder, signature, arguments):
            return ir.Constant(result.llvm, [0.0 if result.is_float else 0] * result.lanes)

        return result(), emit

    return zero


def _load_part(result: Vector) -> Callable:
    @intrinsic
    def load_part(typing, array, at, count):
        def emit(context, builder, signature, arguments):
            value, at, count = arguments
            lanes = ir.VectorType(count.type, result.lanes)
            mask = builder.icmp_signed(
                "<", ir.Constant(lanes, list(range(result.lanes))), fill(builder, count, lanes)
            )
            pointer = builder.bitcast(
                address(context, builder, array, value, at), ir.PointerType(result.llvm)
            )
            name = f"llvm.masked.load.v{result.lanes}{result.element}.p0"
            zero = ir.Constant(result.llvm, [0.0 if result.is_float else 0] * result.lanes)
            # LLVM 22 takes the alignment, here of a byte, from the pointer; before, it was an argument
            alignment = [] if LLVM_22 else [ir.Constant(INDEX, 1)]
            return call_llvm(builder, name, result.llvm, [pointer, *alignment, mask, zero])

        return result(array, types.intp, types.intp), emit

    return load_part


def _scalar_tree_sum(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Emit the sum of all lanes: the upper half is added to the lower half until one lane is left."""
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        halves = [
            builder.shuffle_vector(
                value, undefined, ir.Constant(ir.VectorType(INDEX, lanes), list(range(start, start + lanes)))
            )
            for start in (0, lanes)
        ]
        value = builder.fadd(*halves)
    return builder.extract_element(value, ir.Constant(INDEX, 0))


@intrinsic
def fma(typing, a, b, c):
    """Return a * b + c, rounded once, of float32 numbers or lane by lane."""

    def emit(context, builder, signature, arguments):
        name = f"llvm.fma.v{a.lanes}f32" if isinstance(a, Vector) else "llvm.fma.f32"
        return call_llvm(builder, name, arguments[0].type, list(arguments))

    return a(a, a, a), emit


@intrinsic
def tree_sum(typing, a):
    """Return the sum of all lanes: the upper half is added to the lower half until one lane is left."""

    def emit(context, builder, signature, arguments):
        return _scalar_tree_sum(builder, arguments[0], a.lanes)

    return types.float32(a), emit


zero_f32x4, zero_f32x8, zero_f32x16 = _zero(vector("f32", 4)), _zero(f32x8), _zero(f32x16)
zero_i32x8, zero_i32x16 = _zero(vector("i32", 8)), _zero(vector("i32", 16))
zero_i16x16 = _zero(vector("i16", 16))
load_part_f32x16 = _load_part(f32x16)


def tree_sums(n: int, lanes: int) -> Callable:
    """Return the intrinsic that adds up the lanes of n vectors at once, in the order of `tree_sum`.

    The intrinsic takes `(sums, at)`, reads n vectors one behind the other and returns n float32 lanes. n is a power
    of two.
    """

    @intrinsic
    def sums_of_lanes(typing, sums, at):
        kind = ir.VectorType(ir.FloatType(), lanes)

        def emit(context, builder, signature, arguments):
            start = address(context, builder, sums, *arguments)
            ats = [builder.gep(start, [ir.Constant(ir.IntType(64), lanes * k)]) for k in range(n)]
            return _tree_sums(builder, [load_at(builder, at, kind) for at in ats], lanes)

        return vector("f32", n)(sums, types.intp), emit

    return sums_of_lanes


def _tree_sums(builder: ir.IRBuilder, values: list[ir.Value], lanes: int) -> ir.Value:
    """Emit the sums of the lanes of each vector; halves of two vectors are added side by side."""
    while lanes > 1:
        lanes //= 2
        count = values[0].type.count
        low = [run + lane for run in range(0, count, 2 * lanes) for lane in range(lanes)]
        pairs = list(zip(values[::2], values[1::2], strict=True)) if len(values) > 1 else [(values[0], None)]
        values = []
        for a, b in pairs:
            halves = []
            for first in (0, lanes):
                picks = [first + lane for lane in low]
                more = [] if b is None else [count + lane for lane in picks]
                wanted = ir.Constant(ir.VectorType(INDEX, len(picks + more)), picks + more)
                halves.append(builder.shuffle_vector(a, a if b is None else b, wanted))
            values.append(builder.fadd(*halves))
    return values[0]


def fma_tile(rows: int, tokens: int) -> Callable:
    """Return the intrinsic that adds `rows` times `tokens` dot products to their 16-lane accumulators.

    The intrinsic takes `(weights, weights_at, x, x_at, n_steps, sums, sums_at)`, one-dimensional float32
    arrays and where to begin in them. One step reads 16 values of each row, `weights[step][row][16]`, and
    of each token, `x[step][token][16]`; lane l of `sums[row][token][16]` adds the products of its lane, one
    FMA each, step by step. Only LLVM can keep that many accumulators in registers, hence an intrinsic with
    its own loop. Within a step it goes register by register, all rows and tokens for each: reading more ahead
    would push accumulators out of the registers (measured with AVX2: 2.4 times slower).
    """
    lanes = ir.VectorType(ir.FloatType(), 16 if cpu_has("avx512f") else 8)
    parts = range(0, 16, lanes.count)

    @intrinsic
    def tile(typing, weights, weights_at, x, x_at, n_steps, sums, sums_at):
        signature = types.void(weights, types.intp, x, types.intp, types.intp, sums, types.intp)

        def emit(context, builder, signature, arguments):
            w = address(context, builder, weights, arguments[0], arguments[1])
            t = address(context, builder, x, arguments[2], arguments[3])
            s = address(context, builder, sums, arguments[5], arguments[6])

            def part(pointer: ir.Value, at: ir.Value | int) -> ir.Value:
                return builder.gep(
                    pointer, [at if isinstance(at, ir.Value) else ir.Constant(ir.IntType(64), at)]
                )

            slots = {
                16 * pair + first: cgutils.alloca_once(builder, lanes)
                for pair in range(rows * tokens)
                for first in parts
            }
            for at, slot in slots.items():
                builder.store(load_at(builder, part(s, at), lanes), slot)
            with cgutils.for_range(builder, arguments[4], intp=arguments[4].type) as loop:
                step_w = part(w, builder.mul(loop.index, ir.Constant(loop.index.type, 16 * rows)))
                step_t = part(t, builder.mul(loop.index, ir.Constant(loop.index.type, 16 * tokens)))
                for first in parts:
                    of_rows = [load_at(builder, part(step_w, 16 * row + first), lanes) for row in range(rows)]
                    for token in range(tokens):
                        of_token = load_at(builder, part(step_t, 16 * token + first), lanes)
                        for row in range(rows):
                            slot = slots[16 * (row * tokens + token) + first]
                            products = [of_rows[row], of_token, builder.load(slot)]
                            name = f"llvm.fma.v{lanes.count}f32"
                            builder.store(call_llvm(builder, name, lanes, products), slot)
            for at, slot in slots.items():
                store_at(builder, part(s, at), builder.load(slot))
            return context.get_dummy_value()

        return signature, emit

    return tile
