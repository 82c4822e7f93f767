"""What a tensor type is: its block, drawn as fields, and the functions that read and write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import numpy as np

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
    def nbytes(self) -> int:
        """Bytes the field takes."""
        return WIDTHS[self.kind] * self.count


@dataclass(frozen=True)
class QuantFormat:
    """A tensor type.

    Args:
        name: as in a GGUF file's listing, `Q4_K`.
        block_size: values in a block.
        type_size: bytes in a block.
        fields: the block from its first byte to its last, without gaps.
        dequantize_plain: `(block (type_size,) uint8) -> (block_size,) float32`: written from the drawing, slow, clear.
        dequantize: kernel `(raw (n_blocks, type_size) uint8, out (n_blocks, block_size) float32) -> None`; both
            C-contiguous, `raw` read-only, `out` written completely.
        quantize: `(values (n_blocks, block_size) float32, out (n_blocks, type_size) uint8) -> None`, or None where
            the type cannot be made without an importance matrix.
        summary: one phrase for people.
    """

    name: str
    block_size: int
    type_size: int
    fields: tuple[Field, ...]
    dequantize_plain: Callable[[np.ndarray], np.ndarray]
    dequantize: Callable[[np.ndarray, np.ndarray], None]
    quantize: Callable[[np.ndarray, np.ndarray], None] | None = None
    summary: str = ""

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


def plain(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Let a plain twin meet NaN, infinity and overflow without NumPy's warnings: files may contain them."""

    @wraps(function)
    def quiet(block: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(block)

    return quiet


def u16(block: np.ndarray, at: int) -> int:
    """Return the two bytes at `at`, the low one first, as a number."""
    return int(block[at]) | int(block[at + 1]) << 8


def u32(block: np.ndarray, at: int) -> int:
    """Return the four bytes at `at`, the lowest first, as a number."""
    return u16(block, at) | u16(block, at + 2) << 16


def i8(byte: int) -> int:
    """Return a byte as a signed number."""
    return int(byte) - 256 if byte > 127 else int(byte)


def from_bits(bits: int) -> np.float32:
    """Return the float32 that has these 32 bits."""
    return np.uint32(bits).view(np.float32)


def half_value(bits: int) -> np.float32:
    """Return the value of a float16 given by its bits: 1 sign, 5 exponent, 10 mantissa.

    A NaN keeps its sign and payload and becomes quiet, as processors widen it.
    """
    sign, exponent, mantissa = bits >> 15, bits >> 10 & 31, bits & 1023
    if exponent == 31:
        return from_bits(sign << 31 | 0x7F800000 | (0x400000 | mantissa << 13 if mantissa else 0))
    magnitude = mantissa * 2.0**-24 if exponent == 0 else (1024 + mantissa) * 2.0 ** (exponent - 25)
    return np.float32(-magnitude if sign else magnitude)


def half(block: np.ndarray, at: int) -> np.float32:
    """Return the float16 whose two bytes begin at `at`."""
    return half_value(u16(block, at))


def add_first(left: np.float32, right: np.float32) -> np.float32:
    """Return left + right; where both are NaN, left's: processors do so, but NumPy may add the other way round."""
    return left if np.isnan(left) else left + right
