"""A file's metadata: keys with typed values, and arrays that stay in the file until they are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from refgguf.errors import (
    DuplicateKeyError,
    LimitExceededError,
    MetadataTypeError,
    MissingKeyError,
    TruncatedFileError,
    shown,
)
from refgguf.gguf.cursor import MAX_NAME_BYTES, Cursor, text_of
from refgguf.gguf.filemap import FileMap
from refgguf.gguf.strings import LENGTH_BYTES, find_strings
from refgguf.gguf.types import ARRAY, STRING, VALUE_TYPES, ValueType

MAX_KEYS = 1 << 16  # honest files have fewer than 200
MAX_ARRAY_ELEMENTS = 1 << 30  # as gguf.cpp GGUF_MAX_ARRAY_ELEMENTS
MAX_COMPARED = 2000  # names compared with one that does not exist
MIN_KEY_BYTES = 8 + 1 + 4 + 1  # the least a key can take: length, one letter, type, a one-byte value

Scalar = int | float | bool | str


class TypedValue(NamedTuple):
    """A metadata value with the type it is stored as; of an array, `type` is the elements'."""

    type: str
    value: Any
    is_array: bool = False


class MetadataArray(Sequence):
    """An array in the metadata; its elements are read from the file when they are asked for.

    Numbers become an array with `np.asarray(it)`, without a copy when the byte order is the machine's.
    Strings decode as UTF-8 with `�` for what is not; `raw(i)` and `raw_list()` give the bytes themselves.
    """

    def __init__(self, file: FileMap, kind: ValueType, order: str, start: int, places: np.ndarray | int):
        self._file, self._kind, self._order, self._start = file, kind, order, start
        # strings: (n + 1,) where each one's length lies; numbers: how many
        self._places = places

    @property
    def element_type(self) -> str:
        """Return the elements' type, such as `"string"` or `"float32"`."""
        return self._kind.name

    def __len__(self) -> int:
        return self._places if isinstance(self._places, int) else len(self._places) - 1

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            first, stop, step = index.indices(len(self))
            if step == 1:
                return self._part(first, max(first, stop)).tolist()
            return [self[i] for i in range(first, stop, step)]
        if self._kind is STRING:
            return self.raw(index).decode("utf-8", "replace")
        position = self._position(index)
        size = self._kind.size
        value = self._file.view(self._start + position * size, size).view(self._dtype)[0]
        return bool(value) if self._kind.name == "bool" else value.item()

    def __iter__(self) -> Iterator[Scalar]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MetadataArray | list | tuple):
            return len(self) == len(other) and self.tolist() == list(other)
        return NotImplemented

    __hash__ = None

    def __repr__(self) -> str:
        shown = ", ".join(repr(value) for value in self[:3])
        return f"[{len(self):,} {self.element_type}s: {shown}{', …' if len(self) > 3 else ''}]"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._kind is STRING:
            return np.array(self.tolist(), dtype=dtype if dtype is not None else object)
        values = self._file.view(self._start, len(self) * self._kind.size).view(self._dtype)
        if self._kind.name == "bool":
            values = values != 0
        return np.array(values, dtype or values.dtype.newbyteorder("="), copy=copy)

    def raw(self, index: int) -> bytes:
        """Return one string's bytes, exactly as in the file.

        Raises:
            IndexError: there is no such element.
            MetadataTypeError: the elements are no strings.
        """
        if self._kind is not STRING:
            raise MetadataTypeError(f"an array of {self.element_type} has no strings", path=self._file.path)
        position = self._position(index)
        start, end = int(self._places[position]) + LENGTH_BYTES, int(self._places[position + 1])
        return self._file.read(start, end - start)

    def raw_list(self) -> list[bytes]:
        """Return all strings' bytes; several times quicker than asking one by one."""
        if self._kind is not STRING:
            raise MetadataTypeError(f"an array of {self.element_type} has no strings", path=self._file.path)
        first = int(self._places[0])
        raw = self._file.read(first, int(self._places[-1]) - first)
        places = (self._places - first).tolist()
        return [raw[a + LENGTH_BYTES : b] for a, b in pairwise(places)]

    def tolist(self) -> list[Scalar]:
        """Return all elements as Python values."""
        if self._kind is STRING:
            return [raw.decode("utf-8", "replace") for raw in self.raw_list()]
        return np.asarray(self).tolist()

    def _part(self, first: int, stop: int) -> MetadataArray:
        """Return the elements from `first` to `stop` as an array of their own, without reading them."""
        if isinstance(self._places, int):
            start = self._start + first * self._kind.size
            return MetadataArray(self._file, self._kind, self._order, start, stop - first)
        places = self._places[first : stop + 1]
        return MetadataArray(self._file, self._kind, self._order, self._start, places)

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(f"{self._order}{self._kind.code}")

    def _position(self, index: int) -> int:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"element {index} of an array of {n:,}")
        return index % n


class Metadata(Mapping):
    """The metadata of a file: key → int, float, bool, str or `MetadataArray`, in the file's order."""

    def __init__(
        self, path: object, values: dict[str, Any], types: dict[str, ValueType], raw: dict[str, bytes]
    ):
        self._path, self._values, self._types, self._raw = path, values, types, raw

    def __getitem__(self, key: str) -> Scalar | MetadataArray:
        try:
            return self._values[key]
        except KeyError:
            hint = nearest(str(key), self._values)
            raise MissingKeyError(f"no metadata key {key!r}{hint}", path=self._path) from None

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value, or `default` when it is absent."""
        return self._values.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Metadata: {len(self)} keys>"

    def type_of(self, key: str) -> str:
        """Return the stored type of a key's value: `"uint32"`, `"string"`, … or `"array"`."""
        self[key]
        return self._types[key].name

    def typed(self) -> dict[str, TypedValue]:
        """Return all values with the types they are stored as, ready to be changed and written again."""
        return {key: self._typed(key) for key in self}

    def _typed(self, key: str) -> TypedValue:
        value = self._values[key]
        if isinstance(value, MetadataArray):
            return TypedValue(value.element_type, value, True)
        return TypedValue(self._types[key].name, self._raw.get(key, value))

    def raw(self, key: str) -> bytes:
        """Return a string value's bytes, exactly as in the file.

        Raises:
            MissingKeyError: there is no such key.
            MetadataTypeError: its value is no string.
        """
        self[key]
        if key not in self._raw:
            raise MetadataTypeError(f"is a {self.type_of(key)}, not a string", path=self._path, field=key)
        return self._raw[key]


def nearest(name: str, names: Collection[str]) -> str:
    """Return the part of a message that tells the names that come nearest to a wrong one."""
    # comparing is slow, so among very many names only those that begin alike are compared
    if len(names) > MAX_COMPARED:
        names = list(islice((other for other in names if other[:8] == name[:8]), MAX_COMPARED))
    near = difflib.get_close_matches(name, names, n=3)
    near = near or list(islice((other for other in names if name and name.lower() in other.lower()), 3))
    return f"; the nearest are {', '.join(map(shown, near))}" if near else ""


def read_metadata(cursor: Cursor, n_keys: int) -> Metadata:
    """Read the metadata of a file; arrays are checked and skipped.

    Args:
        cursor: stands at the first key.
        n_keys: how many the header announces.

    Raises:
        GGUFError: the subclass and the message say what is wrong and where.
    """
    path, start = cursor.file.path, cursor.position
    check_count(cursor, n_keys, "metadata keys", MAX_KEYS, MIN_KEY_BYTES)
    values: dict[str, Any] = {}
    types: dict[str, ValueType] = {}
    strings: dict[str, bytes] = {}
    for number in range(1, n_keys + 1):
        start = cursor.position
        key = text_of(cursor.string("the name of metadata key", f"{number:,} of {n_keys:,}", MAX_NAME_BYTES))
        if not key:
            raise MetadataTypeError(
                f"the name of metadata key {number:,} of {n_keys:,} is empty", path=path, offset=start
            )
        if key in values:
            raise DuplicateKeyError(
                f"the metadata key '{shown(key)}' occurs twice", path=path, offset=start, field=key
            )
        types[key] = kind = _value_type(cursor, key)
        if kind is STRING:
            strings[key] = cursor.string("the value of", key)
            values[key] = strings[key].decode("utf-8", "replace")
        elif kind is ARRAY:
            values[key] = _read_array(cursor, key)
        else:
            value = cursor.scalar(kind, "the value of", key)
            values[key] = value != 0 if kind.name == "bool" else value
    return Metadata(path, values, types, strings)


def check_count(cursor: Cursor, count: int, what: str, limit: int, least_bytes: int) -> None:
    """Reject a number of entries that no honest file has, or that this file cannot hold."""
    at = {"path": cursor.file.path, "offset": cursor.position}
    if count > limit:
        raise LimitExceededError(f"the header announces {count:,} {what}; {limit:,} is the most", **at)
    if count * least_bytes > cursor.remaining:
        raise TruncatedFileError(
            f"the header announces {count:,} {what}, more than the {cursor.remaining:,} bytes left can hold",
            **at,
        )


def _value_type(cursor: Cursor, key: str) -> ValueType:
    at = cursor.position
    id = cursor.i32("the type of", key)
    if id not in VALUE_TYPES:
        raise MetadataTypeError(
            f"unknown value type {id}; the types are 0 to {max(VALUE_TYPES)}",
            path=cursor.file.path,
            offset=at,
            field=key,
        )
    return VALUE_TYPES[id]


def _read_array(cursor: Cursor, key: str) -> MetadataArray:
    at = {"path": cursor.file.path, "offset": cursor.position, "field": key}
    kind = _value_type(cursor, key)
    if kind is ARRAY:
        raise MetadataTypeError("is an array of arrays, which no reader of GGUF supports", **at)
    count = cursor.u64("the length of", key)
    start = cursor.position
    if kind is STRING:
        places = find_strings(cursor.file, start, count, cursor.order, key)
        cursor.need(int(places[-1]) - start, "the array", key)
        return MetadataArray(cursor.file, kind, cursor.order, start, places)
    if count > MAX_ARRAY_ELEMENTS:
        raise LimitExceededError(
            f"the array announces {count:,} elements; {MAX_ARRAY_ELEMENTS:,} is the most", **at
        )
    if count * kind.size > cursor.remaining:
        raise TruncatedFileError(
            f"the array announces {count:,} {kind.name}s and only {cursor.remaining:,} bytes are left",
            **at,
        )
    cursor.need(count * kind.size, "the array", key)
    return MetadataArray(cursor.file, kind, cursor.order, start, count)
