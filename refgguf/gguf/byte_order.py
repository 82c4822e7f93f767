"""Turns the tensor bytes of a big-endian file into what a little-endian file would hold.

Only the numbers of two or more bytes inside a block differ. For the types below, the block's C struct says
which those are. Types whose bytes the C code copies into wider numbers (the fifth bits of Q5_0 and Q5_1, the
sign words of IQ2_XXS and IQ3_XXS) or that hide a number in the bits of others (IQ1_M) have no defined
big-endian form; they are refused by name.

Source: ggml-common.h; gguf-py's gguf_convert_endian.py agrees for the types that it knows.
"""

from __future__ import annotations

import numpy as np

from refgguf.errors import UnknownQuantError, shown
from refgguf.gguf.types import TensorType

# (first byte, width, how many) of each number of several bytes in a block
_NUMBERS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "I8": (),
    "F16": ((0, 2, 1),),
    "BF16": ((0, 2, 1),),
    "I16": ((0, 2, 1),),
    "F32": ((0, 4, 1),),
    "I32": ((0, 4, 1),),
    "F64": ((0, 8, 1),),
    "I64": ((0, 8, 1),),
    "Q1_0": ((0, 2, 1),),
    "Q2_0": ((0, 2, 1),),
    "Q4_0": ((0, 2, 1),),
    "Q4_1": ((0, 2, 2),),
    "Q8_0": ((0, 2, 1),),
    "Q8_1": ((0, 2, 2),),
    "Q2_K": ((80, 2, 2),),
    "Q3_K": ((108, 2, 1),),
    "Q4_K": ((0, 2, 2),),
    "Q5_K": ((0, 2, 2),),
    "Q6_K": ((208, 2, 1),),
    "Q8_K": ((0, 4, 1), (260, 2, 16)),
    "IQ4_NL": ((0, 2, 1),),
    "IQ4_XS": ((0, 2, 2),),
    "IQ3_S": ((0, 2, 1),),
    "IQ2_S": ((0, 2, 1),),
    "IQ1_S": ((0, 2, 1), (34, 2, 8)),
    "TQ1_0": ((52, 2, 1),),
    "TQ2_0": ((64, 2, 1),),
    "MXFP4": (),
    "NVFP4": (),
}


def to_little_endian(raw: np.ndarray, layout: TensorType, tensor: str) -> np.ndarray:
    """Return the bytes of big-endian rows in little-endian order.

    Args:
        raw: (n_rows, row_bytes) uint8, whole blocks of the type; not changed.
        layout: the type.
        tensor: the tensor's name, for messages.

    Raises:
        UnknownQuantError: the type has no defined big-endian form.
    """
    if layout.name not in _NUMBERS:
        raise UnknownQuantError(
            f"{shown(tensor)}: {layout.name} in a big-endian file cannot be decoded, its byte order is not defined; "
            "convert the model again as a little-endian file",
            type=layout.name,
            tensor=tensor,
        )
    if not _NUMBERS[layout.name] or not raw.size:
        return raw
    blocks = raw.reshape(-1, layout.type_size).copy()
    for first, width, count in _NUMBERS[layout.name]:
        numbers = blocks[:, first : first + width * count].reshape(-1, count, width)
        blocks[:, first : first + width * count] = numbers[:, :, ::-1].reshape(-1, width * count)
    return blocks.reshape(raw.shape)
