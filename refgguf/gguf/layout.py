"""Where each tensor's bytes lie in a file, checked before any view of them exists.

What holds after `place_tensors`: every tensor of known type lies wholly inside the file (unless the file
holds no data at all), starts at a multiple of the alignment, and shares no byte with another. Gaps and any
order are fine. A tensor of unknown type is taken to reach up to the next one, so that it can be listed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from refgguf.errors import LimitExceededError, TensorLayoutError, TruncatedFileError, shown
from refgguf.gguf.types import TENSOR_TYPES, TensorType

MAX_TENSOR_VALUES = (1 << 63) - 1  # as ggml: the count is a signed 64-bit number
MAX_TENSOR_BYTES = 1 << 50  # one pebibyte, far above any model
KNOWN = f"known types: 0 to {max(TENSOR_TYPES)}"


@dataclass(slots=True)
class TensorInfo:
    """What the header says of one tensor; `shape` is in NumPy order, `offset` counts from the data."""

    path: Path
    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    at: int  # where in the header, for messages
    n_values: int = 0
    nbytes: int = 0

    @property
    def type(self) -> TensorType | None:
        """Return the type, or None when it is unknown."""
        return TENSOR_TYPES.get(self.type_id)

    @property
    def where(self) -> dict[str, Any]:
        """Return what an error says of the place."""
        return {"path": self.path, "offset": self.at, "field": self.name}

    @property
    def dims(self) -> str:
        """Return the shape for a message."""
        return f"({', '.join(f'{size:,}' for size in self.shape)})"

    @property
    def end(self) -> int:
        """Return where the tensor ends, counted from the data."""
        return self.offset + self.nbytes


@dataclass(frozen=True)
class Layout:
    """Where the data section begins, whether it is there, and what is odd about it."""

    data_start: int
    has_data: bool
    remarks: tuple[str, ...]


def measure(info: TensorInfo) -> None:
    """Fill in `n_values` and, for a known type, `nbytes`.

    Raises:
        LimitExceededError: more values or bytes than any honest tensor has.
        TensorLayoutError: a row is no whole number of blocks.
    """
    # an axis of length 0 must not hide what the others come to: NumPy refuses such shapes too
    n_full = math.prod(max(1, size) for size in info.shape)
    if n_full > MAX_TENSOR_VALUES:
        raise LimitExceededError(
            f"the shape {info.dims} has {n_full:,} values; {MAX_TENSOR_VALUES:,} is the most", **info.where
        )
    info.n_values = math.prod(info.shape)
    if info.type is None:
        return
    block, size, name = info.type.block_size, info.type.type_size, info.type.name
    if info.shape[-1] % block:
        raise TensorLayoutError(
            f"a row has {info.shape[-1]:,} values, which is no multiple of {name}'s block of {block}",
            **info.where,
        )
    info.nbytes = info.n_values // block * size
    if n_full // block * size > MAX_TENSOR_BYTES:
        raise LimitExceededError(
            f"the shape {info.dims} of {name} takes {n_full // block * size:,} bytes; "
            f"{MAX_TENSOR_BYTES:,} is the most",
            **info.where,
        )


def place_tensors(
    infos: list[TensorInfo], header_end: int, alignment: int, file_size: int, *, partial: bool = False
) -> Layout:
    """Check that every tensor's bytes are where they can be, and size the tensors of unknown type.

    Args:
        infos: measured tensors; `nbytes` of those of unknown type is filled in here.
        header_end: where the header ends in the file.
        alignment: the file's.
        file_size: in bytes.
        partial: accept tensors whose bytes the file does not hold (a download that was stopped early).

    Raises:
        TensorLayoutError: an offset is no multiple of the alignment, or two tensors share bytes.
        TruncatedFileError: the file ends before a tensor does.
    """
    if not infos:
        return Layout(header_end, True, ())
    data_start = _pad(header_end, alignment)
    by_offset = sorted(infos, key=lambda info: (info.offset, info.nbytes))
    for info in by_offset:
        if info.offset % alignment:
            raise TensorLayoutError(
                f"the offset {info.offset:,} is no multiple of the alignment {alignment:,}", **info.where
            )
    n_data = file_size - data_start  # negative when the header's own padding is missing
    # a file that ends just where its data would begin is a header alone: gguf_write_to_file(only_meta)
    if not partial and n_data != 0:
        _check_end([info for info in by_offset if info.nbytes], data_start, alignment, file_size)
    _size_unknown(by_offset, n_data, partial)
    filled = [info for info in by_offset if info.nbytes]
    for first, second in pairwise(filled):
        if first.end > second.offset:
            raise TensorLayoutError(
                f"bytes {second.offset:,} to {first.end - 1:,} of the data belong to {shown(first.name)} as well",
                **second.where,
            )
    has_data = n_data > 0 or not filled
    return Layout(data_start, has_data, tuple(_remarks(infos, by_offset, alignment, n_data, has_data)))


def _size_unknown(by_offset: list[TensorInfo], n_data: int, partial: bool) -> None:
    """Give each tensor of unknown type the bytes up to the next tensor, or to the end of the file."""
    following = n_data
    for info in reversed(by_offset):
        if info.type is None and info.n_values:
            info.nbytes = max(0, following - info.offset)
            # where the bytes are not seen, a type from the future cannot be told from a damaged file
            if not info.nbytes and not partial:
                raise TensorLayoutError(
                    f"the tensor type {info.type_id} is unknown ({KNOWN}) and the file has no bytes for its "
                    f"{info.n_values:,} values; the file is damaged, or needs a newer refgguf",
                    **info.where,
                )
        if info.nbytes:
            following = info.offset


def _check_end(filled: list[TensorInfo], data_start: int, alignment: int, file_size: int) -> None:
    """Make sure that the file reaches the end of every tensor and does not end within the last padding."""
    for info in filled:
        if data_start + info.end > file_size:
            raise TruncatedFileError(
                f"the tensor ends at byte {data_start + info.end:,} and the file at {file_size:,}; "
                "it was cut short or damaged, fetch it again",
                **info.where,
            )
    last = max(filled, key=lambda info: info.end, default=None)
    if last is None:
        return
    padded = data_start + _pad(last.end, alignment)
    # some writers leave out the padding after the last tensor; a file that ends inside it was cut
    if data_start + last.end < file_size < padded:
        raise TruncatedFileError(
            f"the file ends within the padding after the last tensor, at {file_size:,} of {padded:,} bytes; "
            "it was cut short, fetch it again",
            **{**last.where, "offset": file_size},
        )


def _remarks(
    infos: list[TensorInfo], by_offset: list[TensorInfo], alignment: int, n_data: int, has_data: bool
) -> list[str]:
    """Say what is odd though it can be read."""
    remarks = [
        f"{shown(info.name)} has the unknown type {info.type_id}" for info in infos if info.type is None
    ]
    expected, n_gaps, gap_bytes = 0, 0, 0
    for info in by_offset:
        if info.offset > expected:
            n_gaps, gap_bytes = n_gaps + 1, gap_bytes + info.offset - expected
        expected = max(expected, _pad(info.end, alignment))
    if n_gaps:
        remarks.append(
            f"there are gaps between tensors ({n_gaps:,}, {gap_bytes:,} bytes); llama.cpp refuses that"
        )
    offsets = [info.offset for info in infos]
    if offsets != sorted(offsets):
        remarks.append("the tensors' bytes lie in another order than their names; llama.cpp refuses that")
    if not has_data:
        remarks.append("the file holds no tensor data, only the header")
    elif n_data > expected:
        remarks.append(f"{n_data - expected:,} bytes follow the last tensor")
    n_cut = sum(info.n_values > 0 and (info.end > n_data or not info.nbytes) for info in infos)
    if has_data and n_cut:
        remarks.append(f"the file holds only the beginning of its data: {n_cut:,} tensors are cut off")
    return remarks


def _pad(position: int, alignment: int) -> int:
    return position + -position % alignment
