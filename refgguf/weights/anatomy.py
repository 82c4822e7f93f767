"""The anatomy of one weight: the block it lies in, field by field, and how its value comes out of the bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from refgguf.errors import InputError, shown
from refgguf.kernels.quants import Field, QuantFormat
from refgguf.kernels.quants.format import Anatomy
from refgguf.tensor import Tensor
from refgguf.weights.blocks import blocks_of, format_of_tensor, little_endian

KINDS = {
    "u8": "u1",
    "i8": "i1",
    "u16": "<u2",
    "i16": "<i2",
    "f16": "<f2",
    "u32": "<u4",
    "i32": "<i4",
    "f32": "<f4",
}
KINDS |= {"i64": "<i8", "f64": "<f8"}


@dataclass(frozen=True)
class FieldBytes:
    """A field of a block with what it holds.

    Attributes:
        field: its name, kind, count and meaning.
        at: its first byte within the block.
        raw: its bytes.
        numbers: what they are as numbers of its kind.
    """

    field: Field
    at: int
    raw: bytes
    numbers: list[int] | list[float]


@dataclass(frozen=True)
class BlockAnatomy:
    """A block and one of its weights.

    Attributes:
        tensor: the tensor's name.
        format: its type.
        row: of the weight, counted over all axes but the last.
        col: of the weight within the row.
        block: number of the block within the row.
        first_col: column of the block's first weight.
        index: number of the weight within the block.
        offset: where the block begins in its file, in bytes.
        raw: the block's bytes, little-endian.
        fields: the block from its first byte to its last.
        values: (block_size,) float32, all weights of the block.
        weight: what was read for this weight, the formula, the value.
    """

    tensor: str
    format: QuantFormat
    row: int
    col: int
    block: int
    first_col: int
    index: int
    offset: int
    raw: bytes
    fields: tuple[FieldBytes, ...]
    values: np.ndarray
    weight: Anatomy

    @property
    def arithmetic(self) -> str:
        """The formula with the numbers of this weight in the place of names."""
        return with_numbers(self.weight.formula, {part.name: part.value for part in self.weight.parts})


def block_anatomy(tensor: Tensor, row: int = 0, col: int = 0) -> BlockAnatomy:
    """Take one weight apart.

    Args:
        tensor: of an open file.
        row: counted over all axes but the last; negative ones count from the end.
        col: within the row; negative ones count from the end.

    Raises:
        InputError: there is no such weight.
        UnknownQuantError: the type cannot be decoded.
        TruncatedFileError: the file does not hold the tensor's bytes.
    """
    quant = format_of_tensor(tensor)
    row, col = _within(tensor, "row", row, tensor.n_rows), _within(tensor, "column", col, tensor.d_in)
    number = row * (tensor.d_in // quant.block_size) + col // quant.block_size
    block = little_endian(tensor, blocks_of(tensor)[number : number + 1])[0]
    index = col % quant.block_size
    return BlockAnatomy(
        tensor=tensor.name,
        format=quant,
        row=row,
        col=col,
        block=col // quant.block_size,
        first_col=col - index,
        index=index,
        offset=tensor.offset + number * quant.type_size,
        raw=block.tobytes(),
        fields=tuple(_fields(quant, block)),
        values=quant.dequantize_plain(block),
        weight=quant.anatomy(block, index),
    )


def _within(tensor: Tensor, what: str, number: int, size: int) -> int:
    if not -size <= number < size:
        raise InputError(
            f"{shown(tensor.name)}: there is no {what} {number:,}, only {size:,} {what}{'' if size == 1 else 's'}"
        )
    return number % size


def _fields(quant: QuantFormat, block: np.ndarray) -> list[FieldBytes]:
    found, at = [], 0
    for field in quant.fields:
        raw = block[at : at + field.nbytes]
        if field.kind == "bf16":
            numbers = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            numbers = raw.view(KINDS[field.kind])
        found.append(FieldBytes(field, at, raw.tobytes(), numbers.tolist()))
        at += field.nbytes
    return found


def with_numbers(formula: str, values: dict[str, int | np.float32]) -> str:
    """Return a formula with values in the place of names; negative ones in parentheses."""

    def replaced(match: re.Match[str]) -> str:
        value = values.get(match[0])
        if value is None:
            return match[0]
        text = str(value)
        return f"({text})" if text.startswith("-") else text

    return re.sub(r"[A-Za-z_]\w*", replaced, formula)
