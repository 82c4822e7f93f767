"""Builds GGUF files in memory: sound ones, and ones with any single field wrong.

    data = GGUFBytes().key("general.name", "string", "a").tensor("w", "F32", (2, 4), bytes(32)).build()

Every count, length, offset and alignment is computed like a writer would, unless it is given; shapes are in
NumPy order. The builder knows nothing of the reader under test, so both can be wrong only independently.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VALUE_CODES = {
    "uint8": (0, "B"),
    "int8": (1, "b"),
    "uint16": (2, "H"),
    "int16": (3, "h"),
    "uint32": (4, "I"),
    "int32": (5, "i"),
    "float32": (6, "f"),
    "bool": (7, "?"),
    "string": (8, ""),
    "array": (9, ""),
    "uint64": (10, "Q"),
    "int64": (11, "q"),
    "float64": (12, "d"),
}

# name -> id, values per block, bytes per block (ggml-common.h), written down apart from the table under test
TENSOR_TYPES = {
    **{"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22)},
    **{"Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q8_1": (9, 32, 36), "Q2_K": (10, 256, 84)},
    **{"Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210)},
    **{"Q8_K": (15, 256, 292), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74), "IQ3_XXS": (18, 256, 98)},
    **{"IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110), "IQ2_S": (22, 256, 82)},
    **{"IQ4_XS": (23, 256, 136), "I8": (24, 1, 1), "I16": (25, 1, 2), "I32": (26, 1, 4), "I64": (27, 1, 8)},
    **{"F64": (28, 1, 8), "IQ1_M": (29, 256, 56), "BF16": (30, 1, 2), "TQ1_0": (34, 256, 54)},
    **{"TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36), "Q1_0": (41, 128, 18)},
    **{"Q2_0": (42, 64, 18)},
}


def nbytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Return how many bytes a tensor takes."""
    _, block, size = TENSOR_TYPES[type_name]
    n_values = 1
    for axis in shape:
        n_values *= axis
    return n_values // block * size


def padding(position: int, alignment: int) -> bytes:
    """Return the zero bytes up to the next multiple of the alignment."""
    return bytes(-position % alignment)


@dataclass
class _TensorEntry:
    name: bytes
    type_id: int
    shape: tuple[int, ...]
    data: bytes
    offset: int | None = None  # None: right behind the tensor before
    dims: tuple[int, ...] | None = None  # file order; None: the shape reversed
    n_dims: int | None = None


@dataclass
class GGUFBytes:
    """A file under construction; every method that adds something returns the builder.

    Args:
        version: written as it is.
        order: `"<"` or `">"`.
        magic: the first four bytes.
        alignment: how the data is laid out; add the key `general.alignment` if the file should say so.
        n_keys, n_tensors: what the header announces; None for the true numbers.
    """

    version: int = 3
    order: str = "<"
    magic: bytes = b"GGUF"
    alignment: int = 32
    n_keys: int | None = None
    n_tensors: int | None = None
    pad_last: bool = True
    with_data: bool = True
    _keys: list[bytes] = field(default_factory=list)
    _tensors: list[_TensorEntry] = field(default_factory=list)

    def number(self, code: str, *values: Any) -> bytes:
        """Pack numbers in the file's byte order, by their `struct` letter."""
        return struct.pack(f"{self.order}{len(values)}{code}", *values)

    def string(self, text: str | bytes, length: int | None = None) -> bytes:
        """Pack a string; `length` announces another length than the true one."""
        raw = text.encode() if isinstance(text, str) else text
        return self.number("Q", len(raw) if length is None else length) + raw

    def value(self, kind: str, value: Any) -> bytes:
        """Pack a value without its type."""
        if kind == "string":
            return self.string(value)
        return self.number(VALUE_CODES[kind][1], value)

    def raw_key(self, raw: bytes) -> GGUFBytes:
        """Add a metadata entry given as bytes: name, type and value."""
        self._keys.append(raw)
        return self

    def key(self, name: str | bytes, kind: str, value: Any) -> GGUFBytes:
        """Add a metadata entry with one value."""
        return self.raw_key(
            self.string(name) + self.number("i", VALUE_CODES[kind][0]) + self.value(kind, value)
        )

    def array(self, name: str | bytes, kind: str, values: Any, count: int | None = None) -> GGUFBytes:
        """Add a metadata entry with an array; `count` announces another length than the true one."""
        n = len(values) if count is None else count
        head = self.string(name) + self.number("i", 9, VALUE_CODES[kind][0]) + self.number("Q", n)
        return self.raw_key(head + b"".join(self.value(kind, value) for value in values))

    def tensor(
        self,
        name: str | bytes,
        kind: str | int,
        shape: tuple[int, ...],
        data: bytes | np.ndarray | None = None,
        *,
        offset: int | None = None,
        dims: tuple[int, ...] | None = None,
        n_dims: int | None = None,
    ) -> GGUFBytes:
        """Add a tensor.

        Args:
            name: as in the file.
            kind: a type's name, or any number as its id.
            shape: in NumPy order.
            data: its bytes, in the file's byte order; counting bytes for a type known by name when None.
            offset: written as it is; by default the tensors follow each other.
            dims: written as they are, in file order.
            n_dims: announced instead of the true number.
        """
        if isinstance(data, np.ndarray):
            data = data.tobytes()
        if data is None:
            size = nbytes(kind, shape) if isinstance(kind, str) else 0
            data = bytes(i % 251 for i in range(size))
        type_id = TENSOR_TYPES[kind][0] if isinstance(kind, str) else kind
        raw = name.encode() if isinstance(name, str) else name
        self._tensors.append(_TensorEntry(raw, type_id, tuple(shape), data, offset, dims, n_dims))
        return self

    def header(self) -> bytes:
        """Return all bytes before the padding that precedes the data."""
        n_tensors = len(self._tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self._keys) if self.n_keys is None else self.n_keys
        parts = [self.magic, self.number("I", self.version), self.number("Q", n_tensors, n_keys), *self._keys]
        offset = 0
        for entry in self._tensors:
            dims = tuple(reversed(entry.shape)) if entry.dims is None else entry.dims
            parts.append(self.string(entry.name))
            parts.append(self.number("I", len(dims) if entry.n_dims is None else entry.n_dims))
            # negative dimensions are written as the signed numbers they are
            parts.extend(self.number("q" if size < 0 else "Q", size) for size in dims)
            parts.append(self.number("i", entry.type_id))
            parts.append(self.number("Q", offset if entry.offset is None else entry.offset))
            offset += len(entry.data) + -len(entry.data) % self.alignment
        return b"".join(parts)

    def data(self) -> bytes:
        """Return the data section."""
        out = bytearray()
        for number, entry in enumerate(self._tensors):
            if entry.offset is not None and entry.offset < 1 << 24:
                out.extend(bytes(max(0, entry.offset - len(out))))
            out.extend(entry.data)
            if self.pad_last or number + 1 < len(self._tensors):
                out.extend(padding(len(out), self.alignment))
        return bytes(out)

    def build(self) -> bytes:
        """Return the whole file."""
        head = self.header()
        if not self._tensors:
            return head
        head += padding(len(head), self.alignment)
        return head + self.data() if self.with_data else head

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        path.write_bytes(self.build())
        return path


def small_model(order: str = "<", version: int = 3) -> GGUFBytes:
    """Return a small sound file with a value of every metadata type, arrays, and tensors of several types."""
    b = GGUFBytes(order=order, version=version)
    b.key("general.architecture", "string", "llama").key("general.name", "string", "small, ü and 模型")
    for kind, value in (
        ("uint8", 200),
        ("int8", -100),
        ("uint16", 60_000),
        ("int16", -30_000),
        ("uint32", 4_000_000_000),
        ("int32", -2_000_000_000),
        ("uint64", (1 << 64) - 1),
        ("int64", -(1 << 63)),
        ("float32", 0.5),
        ("float64", 0.1),
        ("bool", True),
    ):
        b.key(f"test.{kind}", kind, value)
        b.array(f"test.{kind}.array", kind, [value, type(value)(0), type(value)(1)])
    b.array("test.strings", "string", ["<unk>", "", "▁the", b"\xff\xfe", "a\0b", "x" * 300])
    b.array("test.empty", "uint32", []).array("test.no_strings", "string", [])
    code = {"<": "<", ">": ">"}[order]
    b.tensor("token_embd.weight", "F32", (6, 8), np.arange(48, dtype=f"{code}f4"))
    b.tensor("blk.0.attn_norm.weight", "F32", (8,), np.linspace(-1, 1, 8).astype(f"{code}f4"))
    b.tensor("blk.0.ffn_up_exps.weight", "F16", (2, 3, 4), np.arange(24).astype(f"{code}f2"))
    b.tensor("blk.0.zero", "F32", (0, 8)).tensor("blk.0.ids", "I32", (5,), np.arange(5, dtype=f"{code}i4"))
    b.tensor("output.weight", "I8", (3, 5), np.arange(-7, 8, dtype=np.int8))
    return b
