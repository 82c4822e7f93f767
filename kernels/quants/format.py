"""What a tensor type is: its block, drawn as fields, and the functions that read and write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refgguf.kernels.quants.plain import Block, Seen

WIDTHS = {
    "u8": 1,
    "i8": 1,
    "u16": 2,
    "i16": 2,
    "f16": 2,
    "bf16": 2,
    "u32": 4,
    "i32": 4,
    "f32": 4,
    "i64": 8,
    "f64": 8,
}


@dataclass(frozen=True)
class Field:
    """One field of a block.

    Args:
        name: as ggml-common.h calls it.
        kind: what one element is: u8 i8 u16 i16 f16 bf16 u32 i32 f32 i64 f64, little-endian.
        count: how many elements.
        meaning: one phrase.
    """

    name: str
    kind: str
    count: int
    meaning: str

    @property
    def width(self) -> int:
        """Bytes of one element."""
        return WIDTHS[self.kind]

    @property
    def nbytes(self) -> int:
        """Bytes of the field."""
        return self.width * self.count


@dataclass(frozen=True)
class Anatomy:
    """How one weight comes out of its block.

    Args:
        parts: everything that was read or looked up on the way, in order.
        formula: the arithmetic in the names of the parts.
        value: the result.
    """

    parts: tuple[Seen, ...]
    formula: str
    value: np.float32


@dataclass(frozen=True)
class QuantFormat:
    """A tensor type.

    Args:
        name: as in the listing of a GGUF file, `Q4_K`.
        block_size: values in a block.
        fields: the block from its first byte to its last, without gaps.
        weight: `(block, i) -> float32`, the value of weight i; written from the drawing, slow and clear.
        formula: its last step, in the names that `weight` gives to what it reads.
        dequantize: kernel `(raw (n_blocks, type_size) uint8, out (n_blocks, block_size) float32) -> None`;
            both C-contiguous, `raw` read-only, `out` written completely.
        quantize: `(values (n_blocks, block_size) float32, out (n_blocks, type_size) uint8) -> None`, or
            None where the type is not made from floats here.
        summary: one phrase for people.
        unit: (field, bytes) of a block whose scales are all one unit, the bytes repeated to fill the field; where
            `d` is not named it is 1, and what is not named is zero.
        ends: the lowest and the highest code, where quantizers do not use all that the bits could hold.
    """

    name: str
    block_size: int
    fields: tuple[Field, ...]
    weight: Callable[[Block, int], np.float32]
    formula: str
    dequantize: Callable[[np.ndarray, np.ndarray], None]
    quantize: Callable[[np.ndarray, np.ndarray], None] | None = None
    summary: str = ""
    unit: tuple[tuple[str, bytes], ...] = ()
    ends: tuple[float, float] | None = None

    @cached_property
    def type_size(self) -> int:
        """Bytes in a block."""
        return sum(field.nbytes for field in self.fields)

    @property
    def bits_per_weight(self) -> float:
        """Bits that one value takes, scales included."""
        return 8 * self.type_size / self.block_size

    def offset_of(self, field: str) -> int:
        """Return the first byte of a field within the block."""
        at = 0
        for candidate in self.fields:
            if candidate.name == field:
                return at
            at += candidate.nbytes
        raise KeyError(field)

    def dequantize_plain(self, block: np.ndarray) -> np.ndarray:
        """Decode one block, weight by weight: the plain twin of `dequantize`.

        Args:
            block: (type_size,) uint8.

        Returns:
            (block_size,) float32.
        """
        reader = Block(bytes(block))
        # files may hold NaN, infinity and scales that overflow; that is no reason for NumPy to warn
        with np.errstate(all="ignore"):
            return np.array([self.weight(reader, i) for i in range(self.block_size)], np.float32)

    def anatomy(self, block: np.ndarray, i: int) -> Anatomy:
        """Decode weight i of a block and tell what was read on the way.

        Args:
            block: (type_size,) uint8.
            i: which weight, 0 … block_size - 1.
        """
        seen: list[Seen] = []
        with np.errstate(all="ignore"):
            value = self.weight(Block(bytes(block), seen), i)
        return Anatomy(tuple(seen), self.formula, np.float32(value))
