"""Codes without their scales, and scales without their codes, for statistics.

Every bit of a block is either code or scale; which, the plain twin tells (it says what it reads as what). So a block
whose scale bits are replaced by those of the unit scale decodes to its bare codes, and one whose code bits are all
set decodes to its scales, both by the ordinary fast kernel.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from refgguf.kernels.quants.format import QuantFormat
from refgguf.kernels.quants.plain import Block, Seen

# weights that share a scale come in runs of 16 or of multiples of 16
RUN = 16
MINIMA = ("dmin", "m")
ONE = {"f16": "<f2", "f32": "<f4"}


def has_codes(quant: QuantFormat) -> bool:
    """Tell whether a type has codes and scales; plain floats and integers have not."""
    return quant.block_size > 1


@cache
def code_bits(quant: QuantFormat) -> np.ndarray:
    """Return (type_size,) uint8 with ones at the bits that are code."""
    bits = np.zeros(8 * quant.type_size, np.uint8)
    for i in range(quant.block_size):
        seen: list[Seen] = []
        with np.errstate(all="ignore"):
            quant.weight(Block(bytes(quant.type_size), seen), i)
        for part in seen:
            if part.is_code and part.at is not None:
                bits[8 * part.at + part.low : 8 * part.at + part.low + part.count] = 1
    mask = np.packbits(bits, bitorder="little")
    mask.flags.writeable = False
    return mask


@cache
def unit_block(quant: QuantFormat) -> np.ndarray:
    """Return (type_size,) uint8, a block of which all scales are one unit, all minima and all code bits zero."""
    block = np.zeros(quant.type_size, np.uint8)
    units = dict(quant.unit)
    for field in quant.fields:
        one = (
            np.array([1], ONE[field.kind]).tobytes() if field.name == "d" and field.kind in ONE else bytes(1)
        )
        at, raw = quant.offset_of(field.name), units.get(field.name, one)
        block[at : at + field.nbytes] = np.frombuffer(raw * (field.nbytes // len(raw)), np.uint8)
    return block


def bare_codes(quant: QuantFormat, blocks: np.ndarray) -> np.ndarray:
    """Decode (n, type_size) blocks to (n, block_size) float32 codes: what a weight is as a multiple of its scale.

    Eighths are the finest steps, so that eight times a code is a whole number below 2 ** 11 in magnitude.
    """
    mask = code_bits(quant)
    return _decoded(quant, blocks & mask | unit_block(quant) & ~mask)


def bare_scales(quant: QuantFormat, blocks: np.ndarray) -> np.ndarray:
    """Decode (n, type_size) blocks to (n, block_size / 16) float32 scales, one for each run of 16 weights.

    A scale that several runs share comes as often. Scales of the types with a grid are those of one grid step.
    """
    mask = code_bits(quant)
    scales = blocks & ~mask | mask
    for field in quant.fields:
        if field.name in MINIMA:
            at = quant.offset_of(field.name)
            scales[:, at : at + field.nbytes] = 0
    codes = bare_codes(quant, mask[None])
    with np.errstate(all="ignore"):
        return _decoded(quant, scales)[:, ::RUN] / codes[:, ::RUN]


@cache
def ends(quant: QuantFormat) -> tuple[float, float]:
    """Return the lowest and the highest code that quantizers use."""
    if quant.ends is not None:
        return quant.ends
    random = np.random.default_rng(0).integers(0, 256, (256, quant.type_size), dtype=np.uint8)
    random[0], random[1] = 0, 255
    codes = bare_codes(quant, random)  # each holds thousands of random codes: both ends are among them
    return float(codes.min()), float(codes.max())


def _decoded(quant: QuantFormat, blocks: np.ndarray) -> np.ndarray:
    blocks = np.ascontiguousarray(blocks)
    blocks.flags.writeable = False
    out = np.empty((len(blocks), quant.block_size), np.float32)
    quant.dequantize(blocks, out)
    return out
