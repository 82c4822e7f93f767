"""Writes GGUF files, through the gguf package, whole or not at all.

keys = file.metadata.typed()                          # key → TypedValue, in the file's order
keys["general.name"] = TypedValue("string", "smaller")
write_gguf("out.gguf", keys, [*copies, NewTensor("w", "Q8_0", (64, 64), make_bytes)])
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refgguf.errors import InputError, QuantLayoutError, TensorLayoutError, UnknownQuantError, shown
from refgguf.gguf.byte_order import to_little_endian
from refgguf.gguf.metadata import Metadata, MetadataArray, TypedValue
from refgguf.gguf.reader import DEFAULT_ALIGNMENT, MAX_DIMS, MAX_TENSOR_NAME_BYTES
from refgguf.gguf.types import TENSOR_TYPE_OF_NAME, VALUE_TYPE_OF_NAME
from refgguf.output import atomic_output
from refgguf.tensor import Tensor

if TYPE_CHECKING:
    from gguf import GGUFWriter

_INTEGERS = (("uint32", 0, 1 << 32), ("int32", -(1 << 31), 1 << 31), ("uint64", 0, 1 << 64))


@dataclass(frozen=True)
class NewTensor:
    """A tensor to write.

    Args:
        name: at most 63 bytes.
        type: such as `"Q8_0"`.
        shape: in NumPy order.
        data: its bytes, (nbytes,) or (row, row_bytes) uint8 or any array of as many bytes, little-endian; or a
            function that returns them, called when the tensor is written, so that one is in memory at a time.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    data: np.ndarray | Callable[[], np.ndarray]

    @property
    def type_id(self) -> int:
        """Return the type's number in the file."""
        return TENSOR_TYPE_OF_NAME[self.type].id

    @property
    def nbytes(self) -> int:
        """Return how many bytes the shape takes in this type."""
        layout = TENSOR_TYPE_OF_NAME[self.type]
        return (
            int(np.prod([int(size) for size in self.shape], dtype=object))
            // layout.block_size
            * layout.type_size
        )

    def read(self) -> np.ndarray:
        """Return (nbytes,) uint8, the tensor's bytes."""
        data = self.data() if callable(self.data) else self.data
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Iterable[NewTensor | Tensor],
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a little-endian GGUF file of version 3.

    Args:
        path: the file; it appears when it is complete.
        metadata: key → value. A `Metadata` or `TypedValue`s keep the types they have; of plain values, int
            becomes uint32 (or the next type that holds it), float float32, a list an array of those.
            `general.alignment` is obeyed.
        tensors: new ones, or tensors of an open file, whose bytes are copied as they are.
        progress: called with the bytes of tensors written so far.

    Raises:
        InputError: a value, name or shape that the format cannot hold.
        QuantLayoutError: a tensor's bytes do not fit its type and shape.
        OutputError: the file cannot be written.
    """
    values = {key: _typed(key, value) for key, value in _items(metadata)}
    entries = [_Entry(tensor) for tensor in tensors]
    _check(entries)
    with atomic_output(path) as temporary:
        writer = _new_writer(temporary, values)
        try:
            for entry in entries:
                # with any dtype but uint8, the shape and type are taken as they are
                writer.add_tensor_info(entry.name, entry.shape, np.dtype("V1"), entry.nbytes, entry.type_id)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            done = 0
            for entry in entries:
                writer.write_tensor_data(entry.read())
                done += entry.nbytes
                if progress is not None:
                    progress(done)
        finally:
            writer.close()


class _Entry:
    """A tensor to write, new or copied."""

    def __init__(self, tensor: NewTensor | Tensor):
        if tensor.type not in TENSOR_TYPE_OF_NAME and not isinstance(tensor, Tensor):
            raise UnknownQuantError(f"{tensor.name}: there is no tensor type {tensor.type}", type=tensor.type)
        self.source = tensor
        self.name, self.type_id, self.nbytes = tensor.name, tensor.type_id, tensor.nbytes
        self.shape = tuple(int(size) for size in tensor.shape)

    def read(self) -> np.ndarray:
        if isinstance(self.source, NewTensor):
            data = self.source.read()
        elif self.source.byte_order == "big":
            layout = self.source.layout
            if layout is None:
                raise UnknownQuantError(
                    f"{self.name}: {self.source.type} in a big-endian file cannot be copied, its layout is unknown",
                    type=self.source.type,
                    tensor=self.name,
                )
            data = to_little_endian(self.source.rows_raw, layout, self.name).reshape(-1)
        else:
            data = self.source.raw
        if len(data) != self.nbytes:
            raise QuantLayoutError(
                f"{self.name}: {self.source.type} of shape {self.shape} takes {self.nbytes:,} bytes, "
                f"got {len(data):,}",
                type=self.source.type,
                tensor=self.name,
            )
        return data


def _check(entries: list[_Entry]) -> None:
    """Refuse what the format cannot hold, before anything is written."""
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise InputError(f"{shown(entry.name)}: two tensors have this name")
        seen.add(entry.name)
        if not 0 < len(entry.name.encode()) <= MAX_TENSOR_NAME_BYTES:
            raise InputError(f"{shown(entry.name)}: a tensor's name has 1 to {MAX_TENSOR_NAME_BYTES} bytes")
        if not 1 <= len(entry.shape) <= MAX_DIMS or min(entry.shape) < 0:
            raise InputError(
                f"{shown(entry.name)}: a tensor has 1 to {MAX_DIMS} dimensions, got {entry.shape}"
            )
        layout = entry.source.layout if isinstance(entry.source, Tensor) else None
        layout = layout or TENSOR_TYPE_OF_NAME.get(entry.source.type)
        if layout is not None and entry.shape[-1] % layout.block_size:
            raise QuantLayoutError(
                f"{shown(entry.name)}: a row has {entry.shape[-1]:,} values, no multiple of {layout.name}'s block of "
                f"{layout.block_size}",
                type=layout.name,
                tensor=entry.name,
            )


def _items(metadata: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return metadata.typed().items() if isinstance(metadata, Metadata) else metadata.items()


def _typed(key: str, value: Any) -> TypedValue:
    """Give a plain value the type it is stored with."""
    if not key:
        raise InputError("a metadata key is empty")
    if isinstance(value, TypedValue):
        if value.type not in VALUE_TYPE_OF_NAME or value.type == "array":
            raise InputError(f"{shown(key)}: there is no value type {value.type!r:.60}")
        return value
    if isinstance(value, MetadataArray):
        return TypedValue(value.element_type, value, True)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.name in VALUE_TYPE_OF_NAME:
        return TypedValue(value.dtype.name, value.tolist(), value.ndim == 1)
    if isinstance(value, list | tuple):
        kinds = {_kind(key, item) for item in value}
        if len(kinds) > 1:
            # 1 and -1, or 1 and 2**40, share the widest of their types; anything else does not mix
            wide = "int64" if kinds <= {"uint32", "int32", "int64"} else None
            wide = "uint64" if kinds <= {"uint32", "uint64"} else wide
            kinds = {"int32"} if kinds == {"uint32", "int32"} and max(value) < 1 << 31 else {wide}
        if not value or None in kinds:
            raise InputError(f"{shown(key)}: the type of {value!r:.60} cannot be told; give a TypedValue")
        return TypedValue(kinds.pop(), value, True)
    return TypedValue(_kind(key, value), value)


def _kind(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str | bytes):
        return "string"
    if isinstance(value, float):
        return "float32"
    if isinstance(value, int):
        return next((name for name, low, end in _INTEGERS if low <= value < end), "int64")
    raise InputError(f"{shown(key)}: metadata cannot hold {value!r:.60}")


def _new_writer(path: os.PathLike[str], values: dict[str, TypedValue]) -> GGUFWriter:
    """Return gguf-py's writer with all metadata in place."""
    from gguf import GGUFValueType, GGUFWriter

    class Writer(GGUFWriter):
        """Writes empty arrays too, which real files have and gguf-py refuses."""

        def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
            if vtype == GGUFValueType.ARRAY and len(val) == 0 and sub_type is not None:
                return self._pack("I", vtype) + self._pack("I", sub_type) + self._pack("Q", 0)
            return super()._pack_val(val, vtype, add_vtype, sub_type)

    writer = Writer(path, "")
    writer.kv_data[0].clear()  # it puts in the architecture first; ours stands where the metadata has it
    alignment = values.get("general.alignment", TypedValue("uint32", DEFAULT_ALIGNMENT))
    if alignment.type != "uint32" or alignment.value < 1 or alignment.value & (alignment.value - 1):
        raise TensorLayoutError(
            f"must be a uint32 and a power of two, got {alignment.value!r:.60}", field="general.alignment"
        )
    writer.data_alignment = alignment.value
    for key, value in values.items():
        kind = GGUFValueType(VALUE_TYPE_OF_NAME[value.type].id)
        items = value.value if value.is_array else [value.value]
        if isinstance(items, MetadataArray):
            items = items.raw_list() if items.element_type == "string" else items.tolist()
        _check_values(key, value.type, items)
        if value.is_array:
            writer.add_key_value(key, list(items), GGUFValueType.ARRAY, sub_type=kind)
        else:
            writer.add_key_value(key, items[0], kind)
    return writer


def _check_values(key: str, kind: str, items: Sequence[Any]) -> None:
    """Make sure that values can be stored as their type."""
    code = VALUE_TYPE_OF_NAME[kind].code
    try:
        if code:
            struct.pack(f"<{len(items)}{code}", *items)
        elif not all(isinstance(item, str | bytes) for item in items):
            raise TypeError
    except (struct.error, TypeError, OverflowError):
        raise InputError(f"{shown(key)}: {shown(items)} cannot be stored as {kind}") from None
