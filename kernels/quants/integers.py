"""I8, I16, I32 and I64: plain signed integers, two's complement, little-endian; one value a block.

They hold indexes and tables, not weights. Decoded by value: I8 and I16 exactly, I32 and I64 rounded to the
nearest float32, ties to even.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import store
from refgguf.kernels.quants.format import Field, QuantFormat
from refgguf.kernels.quants.plain import Block
from refgguf.kernels.simd import address, load_at


def _weight(width: int) -> Callable[[Block, int], np.float32]:
    def weight(block: Block, i: int) -> np.float32:
        number = block.signed("x", 0, width)
        # not np.float32(number): that would round twice, by way of a float64
        return np.array([number], np.int64).astype(np.float32)[0]

    return weight


def _load(width: int) -> Callable:
    @intrinsic
    def load(typing, array, at):
        def emit(context, builder, signature, arguments):
            number = load_at(builder, address(context, builder, array, *arguments), ir.IntType(8 * width))
            return builder.sitofp(number, ir.FloatType())

        return types.float32(array, types.intp), emit

    return load


_i8_value, _i16_value, _i32_value, _i64_value = (_load(width) for width in (1, 2, 4, 8))


@kernel
def i8_decode(raw, out):
    """Decode I8 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        store(values, i, _i8_value(flat, i))


@kernel
def i16_decode(raw, out):
    """Decode I16 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        store(values, i, _i16_value(flat, 2 * i))


@kernel
def i32_decode(raw, out):
    """Decode I32 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        store(values, i, _i32_value(flat, 4 * i))


@kernel
def i64_decode(raw, out):
    """Decode I64 values."""
    flat, values = raw.reshape(-1), out.reshape(-1)
    for i in range(values.size):
        store(values, i, _i64_value(flat, 8 * i))


FORMATS = tuple(
    QuantFormat(
        f"I{8 * width}",
        1,
        (Field("x", f"i{8 * width}", 1, "the value"),),
        _weight(width),
        "x",
        decode,
        summary=f"{8 * width}-bit signed integer",
    )
    for width, decode in ((1, i8_decode), (2, i16_decode), (4, i32_decode), (8, i64_decode))
)
