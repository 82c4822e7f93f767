"""Reading a block bit by bit, for the plain twins: nothing here is fast, all of it can be followed by hand.

A twin asks a `Block` for what it needs by a name, and the block can keep a record: so the anatomy of a
weight that is shown to people is the very computation that the kernels are tested against.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np

Made = TypeVar("Made", int, np.float32)


class Seen(NamedTuple):
    """Something that was read from a block, or made from what was read.

    Args:
        name: as in the drawing and the formula.
        at: first byte, or None for what was made.
        low: lowest bit, counted from the lowest bit of byte `at`.
        count: number of bits; 0 for what was made.
        value: what it is.
        how: how it was made; empty for what was read as it stands.
        is_code: whether the bits say which value the weight has, rather than on which scale.
    """

    name: str
    at: int | None
    low: int
    count: int
    value: int | np.float32
    how: str = ""
    is_code: bool = False


class Block:
    """The bytes of one block.

    Args:
        raw: the bytes.
        seen: where to write down what is read, or None.
    """

    __slots__ = ("raw", "seen")

    def __init__(self, raw: bytes, seen: list[Seen] | None = None):
        self.raw, self.seen = raw, seen

    def bits(self, name: str, at: int, low: int = 0, count: int = 8, *, is_code: bool = False) -> int:
        """Return `count` bits, bit `low` of byte `at` lowest; bytes follow each other, the low one first."""
        last = at + (low + count + 7) // 8
        value = int.from_bytes(self.raw[at:last], "little") >> low & (1 << count) - 1
        if self.seen is not None:
            self.seen.append(Seen(name, at, low, count, value, is_code=is_code))
        return value

    def code(self, name: str, at: int, low: int = 0, count: int = 8) -> int:
        """Return bits that say which value the weight has."""
        return self.bits(name, at, low, count, is_code=True)

    def signed(self, name: str, at: int, width: int = 1, *, is_code: bool = False) -> int:
        """Return a signed number of `width` bytes, two's complement."""
        value = int.from_bytes(self.raw[at : at + width], "little", signed=True)
        if self.seen is not None:
            self.seen.append(Seen(name, at, 0, 8 * width, value, is_code=is_code))
        return value

    def half(self, name: str, at: int) -> np.float32:
        """Return the float16 at byte `at`."""
        value = half_value(self.raw[at] | self.raw[at + 1] << 8)
        if self.seen is not None:
            self.seen.append(Seen(name, at, 0, 16, value, "float16"))
        return value

    def f32(self, name: str, at: int) -> np.float32:
        """Return the float32 at byte `at`."""
        value = from_bits(int.from_bytes(self.raw[at : at + 4], "little"))
        if self.seen is not None:
            self.seen.append(Seen(name, at, 0, 32, value, "float32"))
        return value

    def made(self, name: str, value: Made, how: str) -> Made:
        """Return `value`, and write down how it came about."""
        if self.seen is not None:
            self.seen.append(Seen(name, None, 0, 0, value, how))
        return value

    def entry(self, name: str, table: np.ndarray, number: int, width: int, i: int) -> int:
        """Return value i of the entry of this number in a table of entries of `width` values."""
        value = int(table[width * number + i])
        if self.seen is not None:
            row = " ".join(str(item) for item in table[width * number : width * (number + 1)])
            whose = f"number {i} of entry {number}" if len(table) > width else f"number {i}"
            self.seen.append(Seen(name, None, 0, 0, value, f"{whose}: {row}"))
        return value


def from_bits(bits: int) -> np.float32:
    """Return the float32 that has these 32 bits."""
    return np.uint32(bits).view(np.float32)


@cache
def half_value(bits: int) -> np.float32:
    """Return the value of a float16 given by its bits: 1 sign, 5 exponent, 10 mantissa.

    A NaN keeps its sign and payload and becomes quiet, as processors widen it.
    """
    sign, exponent, mantissa = bits >> 15, bits >> 10 & 31, bits & 1023
    if exponent == 31:
        return from_bits(sign << 31 | 0x7F800000 | (0x400000 | mantissa << 13 if mantissa else 0))
    magnitude = mantissa * 2.0**-24 if exponent == 0 else (1024 + mantissa) * 2.0 ** (exponent - 25)
    return np.float32(-magnitude if sign else magnitude)


def f32(number: float) -> np.float32:
    """Return a number as float32; the codes and small scales it is used on are exact."""
    return np.float32(number)


def add_first(left: np.float32, right: np.float32) -> np.float32:
    """Return left + right; where both are NaN, left's: NumPy may add the other way round."""
    return left if np.isnan(left) else left + right
