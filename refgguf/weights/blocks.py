"""A tensor's bytes block by block, in little-endian order, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refgguf.errors import UnknownQuantError, shown
from refgguf.gguf.byte_order import to_little_endian
from refgguf.kernels.quants import QuantFormat, format_of
from refgguf.tensor import Tensor

PIECE = 1 << 20  # values at a time: 4 MiB when they are decoded


def format_of_tensor(tensor: Tensor) -> QuantFormat:
    """Return a tensor's type.

    Raises:
        UnknownQuantError: it is unknown; the message names the tensor.
    """
    if tensor.layout is None:
        raise UnknownQuantError(
            f"{shown(tensor.name)}: the tensor type {tensor.type_id} is unknown to this version of refgguf, so "
            "that it cannot be decoded",
            type=tensor.type,
            tensor=tensor.name,
        )
    return format_of(tensor.type)


def blocks_of(tensor: Tensor) -> np.ndarray:
    """Return (n_blocks, type_size) uint8, a tensor's bytes as in the file: a view, no copy.

    Raises:
        UnknownQuantError: the type is unknown.
        TruncatedFileError: the file does not hold the bytes.
    """
    return tensor.raw.reshape(-1, format_of_tensor(tensor).type_size)


def little_endian(tensor: Tensor, blocks: np.ndarray) -> np.ndarray:
    """Return blocks of a tensor in little-endian order; those of a little-endian file as they are.

    Raises:
        UnknownQuantError: the type has no defined big-endian form.
    """
    if tensor.byte_order == "little" or tensor.layout is None:
        return blocks
    return to_little_endian(blocks, tensor.layout, tensor.name)


def pieces(tensor: Tensor, n_values: int = PIECE) -> Iterator[tuple[int, np.ndarray]]:
    """Read a tensor piece by piece.

    Args:
        tensor: of an open file.
        n_values: about how many values a piece has.

    Yields:
        The number of the piece's first block, and (n, type_size) uint8 in little-endian order.
    """
    blocks = blocks_of(tensor)
    step = max(1, n_values // format_of_tensor(tensor).block_size)
    for first in range(0, len(blocks), step):
        yield first, little_endian(tensor, blocks[first : first + step])


def decoded(quant: QuantFormat, blocks: np.ndarray) -> np.ndarray:
    """Decode (n, type_size) blocks to (n, block_size) float32."""
    from refgguf.kernels.quants import dequantize_rows

    out = np.empty((len(blocks), quant.block_size), np.float32)
    dequantize_rows(quant, blocks, out)
    return out
