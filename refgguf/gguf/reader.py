"""Opens GGUF files: version 2 and 3, either byte order, whole or split.

Everything is checked before any view of the data exists, nothing recurses, and nothing is allocated on the
word of the file. Layout of a file, all numbers in the file's byte order:

    "GGUF"  u32 version  u64 n_tensors  u64 n_keys
    n_keys times:     string name, i32 type, value          (metadata.py)
    n_tensors times:  string name, u32 n_dims, u64 dims (the fastest first), i32 type, u64 offset
    padding to the alignment
    the data section, from which the offsets count           (layout.py)

A file that ends exactly where its data section would begin holds the header alone (llama.cpp writes such
files): it opens and lists, and each tensor refuses to be decoded.

Source: gguf.cpp gguf_init_from_reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from refgguf.errors import (
    DuplicateKeyError,
    LimitExceededError,
    MetadataTypeError,
    MissingTensorError,
    TensorLayoutError,
    shown,
)
from refgguf.gguf import splits
from refgguf.gguf.cursor import Cursor, text_of
from refgguf.gguf.filemap import FileMap
from refgguf.gguf.header import read_header
from refgguf.gguf.layout import Layout, TensorInfo, measure, place_tensors
from refgguf.gguf.metadata import Metadata, check_count, nearest, read_metadata
from refgguf.gguf.types import MAX_TYPE_ID, REMOVED_TYPES
from refgguf.tensor import Tensor

DEFAULT_ALIGNMENT = 32
MAX_TENSORS = 1 << 20  # the largest models have some ten thousand
MAX_DIMS = 4
MAX_TENSOR_NAME_BYTES = 63  # ggml.h GGML_MAX_NAME is 64 with the closing zero
MIN_TENSOR_BYTES = 8 + 4 + 4 + 8  # the least an entry can take: a name's length, n_dims, type, offset


class GGUFFile(Mapping):
    """An open GGUF file, or all parts of a split one; `file["tensor.name"]` is a `Tensor`.

    Attributes:
        path: the first part.
        parts: the paths of all parts.
        version: 2 or 3.
        byte_order: `"little"` or `"big"`.
        alignment: of the first part, in bytes.
        metadata: of the first part.
        tensors: all tensors by name, in the files' order.
        remarks: sentences on what is odd though it can be read.
        sizes: the size of each part in bytes.
    """

    def __init__(self, parts: list[_Part], tensors: dict[str, Tensor]):
        first = parts[0]
        self._parts = parts
        self.path = first.path
        self.parts = tuple(part.path for part in parts)
        self.sizes = tuple(part.file.size for part in parts)
        self.version, self.byte_order, self.alignment = first.version, first.byte_order, first.alignment
        self.metadata: Metadata = first.metadata
        self.tensors: Mapping[str, Tensor] = MappingProxyType(tensors)
        self.remarks = tuple(
            f"{part.path.name}: {remark}" if len(parts) > 1 else remark
            for part in parts
            for remark in part.layout.remarks
        )

    @property
    def architecture(self) -> str | None:
        """Return the architecture that the file names, or None."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else None

    @property
    def size(self) -> int:
        """Return the size of all parts together, in bytes."""
        return sum(self.sizes)

    @property
    def n_values(self) -> int:
        """Return the number of values of all tensors together: the parameter count."""
        return sum(tensor.n_values for tensor in self.tensors.values())

    def data_start(self, part: int = 0) -> int:
        """Return where a part's data section begins, in bytes."""
        return self._parts[part].layout.data_start

    def raw_bytes(self, start: int, n_bytes: int, part: int = 0) -> np.ndarray:
        """Return (n_bytes,) uint8, a read-only view of any bytes of a part.

        Raises:
            TensorLayoutError: the part has no such bytes.
        """
        file = self._parts[part].file
        if start < 0 or n_bytes < 0 or start + n_bytes > file.size:
            raise TensorLayoutError(
                f"there are {file.size:,} bytes, none at {start:,} + {n_bytes:,}", path=file.path
            )
        return file.view(start, n_bytes)

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            hint = nearest(str(name), self.tensors)
            hint = hint or " (`refgguf tensors` lists them all)"
            raise MissingTensorError(f"{self.path}: there is no tensor {name!r}{hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __bool__(self) -> bool:
        return True  # a vocabulary file has no tensors and is a file all the same

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return (
            f"<GGUFFile {self.path.name}: {self.architecture or 'no architecture'}, "
            f"{len(self.tensors):,} tensors, {len(self.metadata):,} keys, {self.size:,} bytes>"
        )

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; arrays that were made from it stay valid."""
        for part in self._parts:
            part.file.close()


class _Part:
    """One file, read and checked."""

    def __init__(self, path: str | os.PathLike[str], *, partial: bool):
        self.file = FileMap(path)
        self.path = self.file.path
        try:
            self._read(partial)
        except BaseException:
            self.file.close()
            raise

    def _read(self, partial: bool) -> None:
        cursor = Cursor(self.file)
        self.version, self.byte_order = read_header(cursor)
        n_tensors, n_keys = cursor.u64("the number of tensors"), cursor.u64("the number of metadata keys")
        check_count(cursor, n_tensors, "tensors", MAX_TENSORS, MIN_TENSOR_BYTES)
        self.metadata = read_metadata(cursor, n_keys)
        self.alignment = _alignment(self.metadata, self.path)
        check_count(cursor, n_tensors, "tensors", MAX_TENSORS, MIN_TENSOR_BYTES)
        self.infos = self._read_infos(cursor, n_tensors)
        self.layout: Layout = place_tensors(
            self.infos, cursor.position, self.alignment, self.file.size, partial=partial
        )

    def _read_infos(self, cursor: Cursor, n_tensors: int) -> list[TensorInfo]:
        infos, seen = [], set()
        for number in range(1, n_tensors + 1):
            info = _read_info(cursor, f"{number} of {n_tensors}")
            if info.name in seen:
                raise DuplicateKeyError(
                    f"the tensor name '{shown(info.name)}' occurs twice",
                    path=self.path,
                    offset=info.at,
                    field=info.name,
                )
            seen.add(info.name)
            measure(info)
            infos.append(info)
        return infos


def _read_info(cursor: Cursor, number: str) -> TensorInfo:
    at = cursor.position
    name = text_of(cursor.string("the name of tensor", number, MAX_TENSOR_NAME_BYTES))
    n_dims = cursor.u32("the number of dimensions of", name)
    if n_dims > MAX_DIMS:
        raise TensorLayoutError(
            f"{n_dims:,} dimensions; {MAX_DIMS} is the most", path=cursor.file.path, offset=at, field=name
        )
    # the file lists the fastest dimension first; a tensor without dimensions is one value
    *dims, type_id, offset = cursor.unpack(f"{n_dims}QiQ", "the dimensions, type and offset of", name)
    info = TensorInfo(cursor.file.path, name, tuple(reversed(dims)) or (1,), type_id, offset, at)
    if max(info.shape) >= 1 << 63:
        raise TensorLayoutError(f"a dimension is negative: {max(dims) - (1 << 64)}", **info.where)
    if type_id in REMOVED_TYPES:
        raise TensorLayoutError(
            f"the tensor type {type_id} ({REMOVED_TYPES[type_id]}) was removed from the format; "
            "convert the model again with a current llama.cpp",
            **info.where,
        )
    if not 0 <= type_id <= MAX_TYPE_ID:
        raise TensorLayoutError(f"{type_id} is no tensor type; the ids are 0 to {MAX_TYPE_ID}", **info.where)
    if offset >= 1 << 63:
        raise LimitExceededError(f"the offset {offset:,} lies beyond any file", **info.where)
    return info


def _alignment(metadata: Metadata, path: Path) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    if metadata.type_of(key) != "uint32":
        raise MetadataTypeError(f"must be a uint32 and is a {metadata.type_of(key)}", path=path, field=key)
    value = metadata[key]
    if value < 1 or value & (value - 1):
        raise TensorLayoutError(f"the alignment {value:,} is no power of two", path=path, field=key)
    return value


def open_file(path: str | os.PathLike[str], *, partial: bool = False) -> GGUFFile:
    """Open a GGUF file, or all parts of a split one, without reading any weights.

    Args:
        path: the file; for a split file, any of its parts.
        partial: also accept a file of which only the beginning is there, such as the first megabytes of a
            download: its tensors are listed, and those whose bytes are absent refuse to be decoded. Of a
            split file the named part alone is opened.

    Returns:
        A GGUFFile.

    Raises:
        GGUFError: the file is not a sound GGUF file; the subclass and message say why and where.
        FileNotFoundError: there is no such file (also a GGUFError).
    """
    first = _Part(path, partial=partial)
    parts = [first]
    try:
        paths = [first.path] if partial else splits.part_paths(first.path, first.metadata)
        if len(paths) > 1:
            parts = _open_parts(first, paths)
        return GGUFFile(parts, _tensors(parts))
    except BaseException:
        for part in parts:
            part.file.close()
        raise


def _open_parts(opened: _Part, paths: list[Path]) -> list[_Part]:
    """Open the other parts and check that all belong together."""
    parts: list[_Part] = []
    try:
        for number, path in enumerate(paths):
            part = opened if path == opened.path else _Part(path, partial=False)
            parts.append(part)
            splits.check_part(part.metadata, number, len(paths), path)
            if part.byte_order != parts[0].byte_order:
                raise splits.SplitFileError(
                    f"the first part is {parts[0].byte_order}-endian and this one {part.byte_order}-endian",
                    path=path,
                )
        splits.check_total(parts[0].metadata, sum(len(part.infos) for part in parts), paths[0])
    except BaseException:
        for part in parts:
            part.file.close()
        raise
    return parts


def _tensors(parts: list[_Part]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        for info in part.infos:
            if info.name in tensors:
                other = parts[tensors[info.name].part].path.name
                raise DuplicateKeyError(f"the tensor is in {other} as well", **info.where)
            tensors[info.name] = Tensor(
                file=part.file,
                name=info.name,
                shape=info.shape,
                type_id=info.type_id,
                nbytes=info.nbytes,
                offset=part.layout.data_start + info.offset,
                part=number,
                byte_order=part.byte_order,
            )
    return tensors
