"""Integer products of a row with a few tokens at a time, in llama.cpp numerics.

A row's packed block is taken apart once and then meets many tokens; `panels.py` writes what is taken apart into
records, one a block and group of rows, and activations likewise, so that a tile walks along two straight
streams of memory. One row and eight tokens make a tile: its weights stay in a few registers, and the activations come
from memory within the instruction that multiplies them (two rows and four tokens: 9 to 18 % slower, measured).
Every pair of a row and a token has the eight lanes of ggml's vec_dot: lane l adds up the
products of values 4 l … 4 l + 3 of each 32 as whole numbers, and one FMA a block brings them into eight float32
lanes. Whole numbers may be added in any order; the float operations are the ones that a row alone gets.

    a record of bytes     256 values in four groups of 64, for codes that count from zero
      weights             4 x rows x (even 32 B, odd 32 B, scales 16 x int16), 128 B that meet the sums of
                          activations, then 8 factors and 8 factors of minima, float32, one a pair
      activations         4 x tokens x (even 32 B, odd 32 B), 256 B with sums of activations, 8 factors
      even, odd           of values 0 … 31 as a and 32 … 63 as b: a0 a1 b0 b1 a4 a5 b4 b5 …, a2 a3 b2 b3 a6 …
                          so the 16-bit sums of even and of odd may be added, and one pmaddwd applies the two
                          scales and adds up a lane
    a record of words     steps of 32 values, scales within the block multiplied in: eight, or one for blocks of 32
      weights             steps x rows x (even 16 x int16, odd 16 x int16), then 8 factors
      activations         steps x tokens x (even, odd), then 8 factors
      even, odd           values 0 1 4 5 8 9 …, values 2 3 6 7 10 11 …

The bytes with sums hold, a row or token, 16 words for the sums of 16 activations each; or, where minima have
float lanes of their own, for k = 0 … 3 the two words 2 k and 2 k + 1 of the sums of 32, once a pair. The pairs of a
tile are counted row by row: row * tokens + token.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from refgguf.kernels.dots.instructions import emit_madd_bytes, emit_madd_words
from refgguf.kernels.dots.placement import constant
from refgguf.kernels.jit import part
from refgguf.kernels.simd import address, call_llvm, fill, load_at, store_at, tree_sums, vector

TILE_ROWS, TILE_TOKENS = 1, 8
PAIRS = TILE_ROWS * TILE_TOKENS
LANES = 8
GROUPS = 4  # groups of 64 values in a record of bytes
STEP = 64  # bytes of 32 values as words, or of 64 as bytes
SUMS = 32  # bytes of 16 words
FACTORS = 4 * PAIRS  # bytes of a factor a pair
MINIMA = 4  # lanes of minima
SUMS_OF_ROWS, SUMS_OF_TOKENS = (max(MINIMA, n) * SUMS for n in (TILE_ROWS, TILE_TOKENS))

BYTES_GROUP = TILE_ROWS * (STEP + SUMS)
BYTES_WEIGHTS = GROUPS * BYTES_GROUP + SUMS_OF_ROWS + 2 * FACTORS
BYTES_X = GROUPS * TILE_TOKENS * STEP + SUMS_OF_TOKENS + FACTORS
WORD_STEP = 32  # values of a step in a record of words

_I16X16, _I32X8, _F32X8 = (
    vector(element, lanes).llvm for element, lanes in (("i16", 16), ("i32", 8), ("f32", 8))
)
_I8X32 = vector("i8", 32).llvm


def _at(builder: ir.IRBuilder, pointer: ir.Value, n_bytes: int) -> ir.Value:
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), n_bytes)])


def _read(builder: ir.IRBuilder, pointer: ir.Value, n_bytes: int, kind: ir.Type) -> ir.Value:
    return load_at(builder, _at(builder, pointer, n_bytes), kind)


def _loop(builder: ir.IRBuilder, count: int) -> object:
    """Emit a loop that LLVM does not unroll: unrolled, it would hold more values than there are registers."""
    number = ir.Constant(ir.IntType(64), count)
    hide = ir.FunctionType(number.type, [number.type])
    return cgutils.for_range(
        builder, builder.asm(hide, "", "=r,0", [number], side_effect=False), intp=number.type
    )


def _step(builder: ir.IRBuilder, pointer: ir.Value, index: ir.Value, n_bytes: int) -> ir.Value:
    return builder.gep(pointer, [builder.mul(index, ir.Constant(index.type, n_bytes))])


def _whole_lanes(builder: ir.IRBuilder, steps: int, add: Callable) -> list[ir.Value]:
    """Emit a loop over the steps of a record; `add(index, add_to)` calls `add_to(pair, lanes)`."""
    slots = [cgutils.alloca_once(builder, _I32X8) for _ in range(PAIRS)]
    for slot in slots:
        builder.store(constant(_I32X8, 0), slot)

    def add_to(pair: int, lanes: ir.Value) -> None:
        builder.store(builder.add(builder.load(slots[pair]), lanes), slots[pair])

    with _loop(builder, steps) as loop:
        add(loop.index, add_to)
    return [builder.load(slot) for slot in slots]


def _bytes_block(sums: str) -> Callable:
    """Return what emits a record of bytes; `sums` is what the sums of 16 activations are for.

    "apart" for minima with lanes of their own; "subtract" for whole numbers that are taken off the lanes; "minima"
    for lanes which an FMA with the minima's factor brings in first.
    """

    def emit(builder: ir.IRBuilder, w: ir.Value, x: ir.Value) -> list[list[tuple[ir.Value, int]]]:
        def add(group: ir.Value, add_to: Callable) -> None:
            of_w, of_x = _step(builder, w, group, BYTES_GROUP), _step(builder, x, group, TILE_TOKENS * STEP)
            rows = []
            for row in range(TILE_ROWS):
                at = row * (STEP + SUMS)
                kinds = ((0, _I8X32), (STEP // 2, _I8X32), (STEP, _I16X16))
                rows.append([_read(builder, of_w, at + more, kind) for more, kind in kinds])
            for token in range(TILE_TOKENS):
                even, odd = (_read(builder, of_x, token * STEP + more, _I8X32) for more in (0, STEP // 2))
                for row, (w_even, w_odd, scales) in enumerate(rows):
                    words = builder.add(
                        emit_madd_bytes(builder, w_even, even), emit_madd_bytes(builder, w_odd, odd)
                    )
                    add_to(row * TILE_TOKENS + token, emit_madd_words(builder, words, scales))

        terms = []
        for pair, lanes in enumerate(_whole_lanes(builder, GROUPS, add)):
            terms.append([(lanes, 0)])
            if sums == "apart":
                continue
            row, token = divmod(pair, TILE_TOKENS)
            of_row = _read(builder, w, GROUPS * BYTES_GROUP + row * SUMS, _I16X16)
            of_x = _read(builder, x, GROUPS * TILE_TOKENS * STEP + token * SUMS, _I16X16)
            more = emit_madd_words(builder, of_row, of_x)
            if sums == "subtract":
                terms[-1] = [(builder.sub(lanes, more), 0)]
            else:
                terms[-1].insert(0, (more, 1))
        return terms

    return emit


def words_bytes(steps: int) -> tuple[int, int]:
    """Return the bytes of a record of words: weights, activations."""
    return tuple(steps * n * STEP + FACTORS for n in (TILE_ROWS, TILE_TOKENS))


def _words_block(steps: int) -> Callable:
    """Return what emits a record of words with so many steps."""

    def add(builder: ir.IRBuilder, of_w: ir.Value, of_x: ir.Value, add_to: Callable) -> None:
        rows = [
            [_read(builder, of_w, row * STEP + more, _I16X16) for more in (0, STEP // 2)]
            for row in range(TILE_ROWS)
        ]
        for token in range(TILE_TOKENS):
            even, odd = (_read(builder, of_x, token * STEP + more, _I16X16) for more in (0, STEP // 2))
            for row, (w_even, w_odd) in enumerate(rows):
                products = [emit_madd_words(builder, w_even, even), emit_madd_words(builder, w_odd, odd)]
                add_to(row * TILE_TOKENS + token, builder.add(*products))

    def emit(builder: ir.IRBuilder, w: ir.Value, x: ir.Value) -> list[list[tuple[ir.Value, int]]]:
        if steps == 1:
            pairs: dict[int, ir.Value] = {}
            add(builder, w, x, pairs.__setitem__)
            return [[(pairs[pair], 0)] for pair in range(PAIRS)]

        def add_step(step: ir.Value, add_to: Callable) -> None:
            at = (_step(builder, w, step, TILE_ROWS * STEP), _step(builder, x, step, TILE_TOKENS * STEP))
            add(builder, *at, add_to)

        return [[(each, 0)] for each in _whole_lanes(builder, steps, add_step)]

    return emit


def _add_minima(
    builder: ir.IRBuilder, w: ir.Value, x: ir.Value, factor: ir.Value, sums: ir.Value, n_minima: int
) -> None:
    """Emit one FMA of the minima of a block, each pair in a lane."""
    w, x = _at(builder, w, GROUPS * BYTES_GROUP), _at(builder, x, GROUPS * TILE_TOKENS * STEP)
    products = [
        emit_madd_words(builder, *(_read(builder, side, SUMS * k, _I16X16) for side in (w, x)))
        for k in range(MINIMA)
    ]
    if n_minima == 1:
        products = [builder.add(builder.add(*products[:2]), builder.add(*products[2:]))]
    factor = load_at(builder, factor, _F32X8)
    for k, lanes in enumerate(products):
        to = _at(builder, sums, PAIRS * k)
        operands = [factor, builder.sitofp(lanes, _F32X8), load_at(builder, to, _F32X8)]
        store_at(builder, to, call_llvm(builder, "llvm.fma.v8f32", _F32X8, operands))


def _tile(
    block: Callable,
    weights_bytes: int,
    x_bytes: int,
    n_factors: int = 1,
    in_registers: bool = False,
    n_minima: int = 0,
) -> Callable:
    """Return the intrinsic that adds some blocks of a tile to its sums.

    The intrinsic takes `(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)`: uint8 records, float32
    sums (pair, 8) and then (4, pair) of the minima, and room for the factors of n_blocks blocks, 16 float32 each.

    Args:
        block: emits one block: for each pair the whole lanes and which factor brings them in, in this order.
        weights_bytes: bytes of a record of weights, at whose end the factors stand.
        x_bytes: bytes of a record of activations, at whose end the factors stand.
        n_factors: factors of a row and block.
        in_registers: whether the float lanes stay in registers from block to block.
        n_minima: lanes that minima have of their own: 0, 1 or 4.
    """

    @intrinsic
    def tile(typing, weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
        signature = types.void(weights, types.intp, x, types.intp, types.intp, sums, types.intp, room)

        def emit(context, builder, signature, arguments):
            w = address(context, builder, weights, arguments[0], arguments[1])
            t = address(context, builder, x, arguments[2], arguments[3])
            s = address(context, builder, sums, arguments[5], arguments[6])
            nothing = ir.Constant(arguments[6].type, 0)
            factors = address(context, builder, room, arguments[7], nothing)

            def record(index: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
                sizes = (weights_bytes, x_bytes, n_factors * PAIRS)
                return tuple(
                    builder.gep(start, [builder.mul(index, ir.Constant(index.type, size))])
                    for start, size in zip((w, t, factors), sizes, strict=True)
                )

            with cgutils.for_range(builder, arguments[4], intp=arguments[4].type) as loop:
                of_w, of_x, to = record(loop.index)
                of_x = _read(builder, of_x, x_bytes - FACTORS, _F32X8)
                for k in range(n_factors):
                    of_row = _read(builder, of_w, weights_bytes - FACTORS * (n_factors - k), _F32X8)
                    store_at(builder, _at(builder, to, PAIRS * k), builder.fmul(of_row, of_x))
            starts = [
                builder.bitcast(_at(builder, s, LANES * pair), _F32X8.as_pointer()) for pair in range(PAIRS)
            ]
            slots = [cgutils.alloca_once(builder, _F32X8) for _ in starts] if in_registers else starts

            def copy(sources: list[ir.Value], targets: list[ir.Value]) -> None:
                if in_registers:
                    for source, target in zip(sources, targets, strict=True):
                        store_at(builder, target, load_at(builder, source, _F32X8))

            copy(starts, slots)
            with cgutils.for_range(builder, arguments[4], intp=arguments[4].type) as loop:
                of_w, of_x, product = record(loop.index)
                for pair, terms in enumerate(block(builder, of_w, of_x)):
                    total = load_at(builder, slots[pair], _F32X8)
                    for lanes, k in terms:
                        factor = builder.load(_at(builder, product, PAIRS * k + pair))
                        whole = builder.sitofp(lanes, _F32X8)
                        operands = [fill(builder, factor, _F32X8), whole, total]
                        total = call_llvm(builder, "llvm.fma.v8f32", _F32X8, operands)
                    store_at(builder, slots[pair], total)
                if n_minima:
                    _add_minima(
                        builder,
                        of_w,
                        of_x,
                        _at(builder, product, PAIRS),
                        _at(builder, s, LANES * PAIRS),
                        n_minima,
                    )
            copy(slots, starts)
            return context.get_dummy_value()

        return signature, emit

    return tile


_less = _tile(_bytes_block("subtract"), BYTES_WEIGHTS, BYTES_X, 2)
_with_minima = _tile(_bytes_block("minima"), BYTES_WEIGHTS, BYTES_X, 2)
_four_minima = _tile(_bytes_block("apart"), BYTES_WEIGHTS, BYTES_X, 2, n_minima=4)
_one_minimum = _tile(_bytes_block("apart"), BYTES_WEIGHTS, BYTES_X, 2, n_minima=1)
_one_step = _tile(_words_block(1), *words_bytes(1), in_registers=True)
_words = _tile(_words_block(8), *words_bytes(8))

tile_totals = tree_sums(PAIRS, LANES)

# plain functions around the intrinsics: numba's cache recognises them in the closure of a kernel


@part
def bytes_less(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Codes that count from an offset, which the sums take off."""
    _less(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)


@part
def bytes_with_minima(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Minima that an FMA adds to the same lanes."""
    _with_minima(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)


@part
def bytes_four_minima(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Minima in four lanes of their own."""
    _four_minima(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)


@part
def bytes_one_minimum(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Minima in one lane of their own."""
    _one_minimum(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)


@part
def one_step(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Blocks of 32 signed numbers."""
    _one_step(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)


@part
def words(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room):
    """Blocks of 256 signed numbers."""
    _words(weights, weights_at, x, x_at, n_blocks, sums, sums_at, room)
