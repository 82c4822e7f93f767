"""Where each tensor's bytes lie in a file, checked before any view of them exists.

What holds after `place_tensors`: every tensor of known type lies wholly inside the file (unless the file holds no
data at all), starts at a multiple of the alignment, and shares no byte with another. Gaps and any order are fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from refgguf.errors import LimitExceededError, TensorLayoutError, TruncatedFileError
from refgguf.gguf.types import TENSOR_TYPES, TensorType

MAX_TENSOR_VALUES = (1 << 63) - 1  # as ggml: the count is a signed 64-bit number
MAX_TENSOR_BYTES = 1 << 50  # one pebibyte, far above any model


@dataclass
class TensorInfo:
    """What the header says of one tensor; `shape` is in NumPy order, `offset` counts from the data section."""

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


@dataclass(frozen=True)
class Layout:
    """Where the data section begins, what it holds, and what is odd about it."""

    data_start: int
    has_data: bool
    remarks: tuple[str, ...]


def measure(info: TensorInfo, path: Path) -> None:
    """Fill in `n_values` and, for a known type, `nbytes`.

    Raises:
        LimitExceededError: more values or bytes than any honest tensor has.
        TensorLayoutError: a row is no whole number of blocks.
    """
    where = {"path": path, "offset": info.at, "field": info.name}
    info.n_values = 1
    for size in info.shape:
        info.n_values *= size
    if (
        max(1, *(max(1, size) for size in info.shape)) > MAX_TENSOR_VALUES
        or info.n_values > MAX_TENSOR_VALUES
    ):
        raise LimitExceededError(
            f"the shape {_dims(info.shape)} has {info.n_values:,} values; {MAX_TENSOR_VALUES:,} is the most",
            **where,
        )
    if info.type is None:
        return
    if info.shape[-1] % info.type.block_size:
        raise TensorLayoutError(
            f"a row has {info.shape[-1]:,} values, which is no multiple of {info.type.name}'s block of "
            f"{info.type.block_size}",
            **where,
        )
    info.nbytes = info.n_values // info.type.block_size * info.type.type_size
    if info.nbytes > MAX_TENSOR_BYTES:
        raise LimitExceededError(
            f"the shape {_dims(info.shape)} of {info.type.name} takes {info.nbytes:,} bytes; "
            f"{MAX_TENSOR_BYTES:,} is the most",
            **where,
        )


def place_tensors(
    infos: list[TensorInfo],
    header_end: int,
    alignment: int,
    file_size: int,
    path: Path,
    *,
    partial: bool = False,
) -> Layout:
    """Check that every tensor's bytes are where they can be, and size the tensors of unknown type.

    Args:
        infos: measured tensors; `nbytes` of those of unknown type is filled in here.
        header_end: where the header ends in the file.
        alignment: the file's.
        file_size: in bytes.
        path: for messages.
        partial: accept tensors whose bytes the file does not hold (a download that was stopped early).

    Raises:
        TensorLayoutError: an offset is no multiple of the alignment, or two tensors share bytes.
        TruncatedFileError: the file ends before a tensor does.
    """
    if not infos:
        return Layout(header_end, False, ())
    data_start = header_end + -header_end % alignment
    by_offset = sorted(infos, key=lambda info: (info.offset, info.nbytes))
    for info in by_offset:
        if info.offset % alignment:
            raise TensorLayoutError(
                f"the offset {info.offset:,} is no multiple of the alignment {alignment:,}",
                path=path,
                offset=info.at,
                field=info.name,
            )
    n_data = file_size - data_start  # may be negative
    has_data = n_data > 0 or all(info.nbytes == 0 and info.type is not None for info in infos)
    _size_unknown(by_offset, n_data, path, partial)
    for first, second in pairwise([info for info in by_offset if info.nbytes]):
        if first.offset + first.nbytes > second.offset:
            raise TensorLayoutError(
                f"bytes {second.offset:,} to {first.offset + first.nbytes - 1:,} of the data section belong to "
                f"{first.name} as well",
                path=path,
                offset=second.at,
                field=second.name,
            )
    if not partial and (n_data != 0 or has_data):
        _check_end(by_offset, data_start, alignment, file_size, path)
    return Layout(data_start, has_data, tuple(_remarks(infos, by_offset, alignment, n_data, has_data)))


def _size_unknown(by_offset: list[TensorInfo], n_data: int, path: Path, partial: bool) -> None:
    """Give each tensor of unknown type the bytes up to the next tensor, or to the end of the file."""
    following = n_data
    for info in reversed(by_offset):
        if info.type is None:
            if info.offset > n_data and not partial:
                raise TruncatedFileError(
                    f"the tensor type {info.type_id} is unknown and the file ends before the tensor's bytes "
                    f"begin, so that it cannot be told from a damaged file (known types: 0 to {max(TENSOR_TYPES)})",
                    path=path,
                    offset=info.at,
                    field=info.name,
                )
            info.nbytes = max(0, following - info.offset) if info.n_values else 0
            if info.n_values and not info.nbytes and not partial:
                raise TensorLayoutError(
                    f"the tensor type {info.type_id} is unknown, and the file has no bytes for its "
                    f"{info.n_values:,} values (known types: 0 to {max(TENSOR_TYPES)})",
                    path=path,
                    offset=info.at,
                    field=info.name,
                )
        if info.nbytes:
            following = info.offset


def _check_end(
    by_offset: list[TensorInfo], data_start: int, alignment: int, file_size: int, path: Path
) -> None:
    """Make sure that the file reaches to the end of every tensor and does not end within the last padding."""
    filled = [info for info in by_offset if info.nbytes]
    if not filled:
        return
    for info in filled:
        if data_start + info.offset + info.nbytes > file_size:
            raise TruncatedFileError(
                f"the tensor's {info.nbytes:,} bytes would begin at byte {data_start + info.offset:,}, and the "
                f"file has {file_size:,}; it was cut short or damaged, fetch it again",
                path=path,
                offset=info.at,
                field=info.name,
            )
    last = filled[-1]
    end = data_start + last.offset + last.nbytes
    # some writers leave out the padding after the last tensor; a file that ends inside it was cut
    if end < file_size < end + -(last.offset + last.nbytes) % alignment and last.type is not None:
        raise TruncatedFileError(
            f"the file ends within the padding after the last tensor, at {file_size:,} of "
            f"{end + -end % alignment:,} bytes; it was cut short, fetch it again",
            path=path,
            offset=file_size,
            field=last.name,
        )


def _remarks(
    infos: list[TensorInfo], by_offset: list[TensorInfo], alignment: int, n_data: int, has_data: bool
) -> list[str]:
    """Say what is odd though it can be read."""
    remarks = []
    if not has_data:
        remarks.append("the file holds no tensor data, only the header")
    for info in infos:
        if info.type is None:
            remarks.append(f"{info.name} has the unknown type {info.type_id}")
    expected, n_gaps, gap_bytes = 0, 0, 0
    for info in by_offset:
        if info.offset > expected:
            n_gaps, gap_bytes = n_gaps + 1, gap_bytes + info.offset - expected
        end = info.offset + info.nbytes
        expected = max(expected, end + -end % alignment)
    if n_gaps:
        remarks.append(
            f"{n_gaps:,} gaps of together {gap_bytes:,} bytes lie between tensors; llama.cpp refuses that"
        )
    elif infos != by_offset and [i.offset for i in infos] != [i.offset for i in by_offset]:
        remarks.append("the tensors' bytes lie in another order than their names; llama.cpp refuses that")
    if n_data > expected:
        remarks.append(f"{n_data - expected:,} bytes follow the last tensor")
    return remarks


def _dims(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(f"{size:,}" for size in shape) + ("," if len(shape) == 1 else "") + ")"
