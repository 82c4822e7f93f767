"""A second GGUF reader: trusting, slow and as plain as the format's description, to compare the real one with."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from tests.support.gguf_bytes import VALUE_CODES

KIND_OF_ID = {id: (kind, code) for kind, (id, code) in VALUE_CODES.items()}


@dataclass
class PlainReader:
    """Reads a little-endian file from front to back; strings stay bytes."""

    data: bytes
    at: int = 0

    def take(self, code: str) -> Any:
        """Read one number."""
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def string(self) -> bytes:
        """Read one string."""
        n_bytes = self.take("Q")
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]

    def values(self, kind: str, code: str, n: int) -> list:
        """Read `n` values of one type."""
        return [self.string() if kind == "string" else self.take(code) for _ in range(n)]

    def read(self) -> tuple[dict[str, tuple[str, Any]], dict[str, tuple[tuple[int, ...], int, int]]]:
        """Return key → (type, value), with type "kind[]" for arrays, and tensor → (NumPy shape, type id, offset)."""
        magic, _, n_tensors, n_keys = struct.unpack_from("<4sIQQ", self.data)
        assert magic == b"GGUF"
        self.at = 24
        keys = {}
        for _ in range(n_keys):
            name, (kind, code) = self.string().decode(), KIND_OF_ID[self.take("i")]
            if kind == "array":
                kind, code = KIND_OF_ID[self.take("i")]
                keys[name] = (f"{kind}[]", self.values(kind, code, self.take("Q")))
            else:
                keys[name] = (kind, self.values(kind, code, 1)[0])
        tensors = {}
        for _ in range(n_tensors):
            name = self.string().decode()
            shape = tuple(reversed([self.take("Q") for _ in range(self.take("I"))]))
            tensors[name] = (shape, self.take("i"), self.take("Q"))
        return keys, tensors
