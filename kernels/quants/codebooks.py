"""The tables that codes are looked up in.

`codebooks.npz` holds, under the type's name, the grids of the IQ types (one row an entry: the magnitudes,
for IQ1_S the values, of eight or four neighbouring weights) and the sixteen values of IQ4_NL. They were
made by llama.cpp's authors and are what the gguf package (0.19.0) has in `gguf.quants.IQ2_XXS.grid` and its
sisters; a test compares them. What follows from a rule is computed here instead.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np


@cache
def _stored() -> dict[str, np.ndarray]:
    data = files(__package__).joinpath("codebooks.npz").read_bytes()
    with np.load(BytesIO(data)) as archive:
        return {name: archive[name] for name in archive.files}


def codebook(name: str) -> np.ndarray:
    """Return a table as bytes in the order of entries, one-dimensional and read-only."""
    table = _stored()[name].reshape(-1).view(np.uint8)
    table.flags.writeable = False
    return table


def as_floats(name: str) -> np.ndarray:
    """Return a grid of magnitudes as float32, one-dimensional."""
    return codebook(name).view(np.int8).astype(np.float32)


def as_crumbs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of runs of eight values, of which at most four differ, in two bits a value.

    Returns:
        uint32 entries, bits 2 i and 2 i + 1 of which tell value i, and the four values, float32.
    """
    grid = codebook(name).view(np.int8).reshape(-1, 8)
    values, codes = np.unique(grid, return_inverse=True)
    entries = (codes.reshape(grid.shape).astype(np.uint32) << np.arange(0, 16, 2, dtype=np.uint32)).sum(1)
    four = np.zeros(4, np.float32)
    four[: len(values)] = values
    return entries.astype(np.uint32), four


def fp4_values() -> np.ndarray:
    """Return twice the value of each 4-bit float (E2M1) as a signed byte.

    Bit 3 is the sign, bits 2 and 1 the exponent, counted from 1, bit 0 the mantissa: 0 0.5 1 1.5 2 3 4 6.
    Twice that is a whole number; the formats' scales are halved to make up for it. Minus zero becomes zero.
    Source: OCP Microscaling Formats (MX) v1.0, section 5.3.3.
    """
    values = []
    for code in range(16):
        exponent, mantissa = code >> 1 & 3, code & 1
        doubled = mantissa if exponent == 0 else (2 + mantissa) << (exponent - 1)
        values.append(-doubled if code & 8 else doubled)
    return np.array(values, np.int8).view(np.uint8)


def sign_byte(index: int) -> int:
    """Return the eight sign bits that a 7-bit index stands for: the eighth makes their number even."""
    return index | (index.bit_count() & 1) << 7


def sign_masks(n: int) -> np.ndarray:
    """Return for each of n indexes eight bytes, 255 where the weight is negative and 0 elsewhere.

    Args:
        n: 128 for 7-bit indexes (see `sign_byte`), 256 where all eight bits are stored.
    """
    rows = [sign_byte(index) if n == 128 else index for index in range(n)]
    return np.array([255 * (row >> bit & 1) for row in rows for bit in range(8)], np.uint8)


def sign_bits(n: int) -> np.ndarray:
    """Return for each of n indexes eight uint32, of which only the uppermost bit is set where the weight is negative.

    Args:
        n: as in `sign_masks`.
    """
    return sign_masks(n).astype(np.uint32) >> np.uint32(7) << np.uint32(31)
