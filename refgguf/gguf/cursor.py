"""Reads a file's header from front to back; no read passes the end, and no announced size is believed.

Everything is bounded by the bytes that the file really has, so neither time nor memory can exceed what its
size warrants. The limits below are far above what any honest file needs.
"""

from __future__ import annotations

import struct

from refgguf.errors import LimitExceededError, TruncatedFileError, shown
from refgguf.gguf.filemap import FileMap
from refgguf.gguf.types import ValueType

MAX_STRING_BYTES = 1 << 30  # as gguf.cpp GGUF_MAX_STRING_LENGTH
MAX_NAME_BYTES = 65_535  # of a metadata key; the format's own limit


class Cursor:
    """A position in a file's header.

    Args:
        file: the mapped file.
        order: `"<"` or `">"`, the file's byte order.
    """

    def __init__(self, file: FileMap, order: str = "<", position: int = 0):
        self.file, self.position, self.end = file, position, file.size
        self._buffer = file.buffer
        self.set_order(order)

    def set_order(self, order: str) -> None:
        """Read all that follows in this byte order."""
        self.order = order
        self._u32, self._i32 = struct.Struct(f"{order}I"), struct.Struct(f"{order}i")
        self._u64 = struct.Struct(f"{order}Q")

    @property
    def remaining(self) -> int:
        """Return how many bytes are left."""
        return self.end - self.position

    def need(self, n_bytes: int, what: str, of: str = "") -> int:
        """Advance over `n_bytes` bytes and return where they begin.

        Args:
            n_bytes: how many.
            what: what they are, for the message.
            of: the name of what they belong to, which may be anything.

        Raises:
            TruncatedFileError: the file has fewer.
        """
        start = self.position
        if n_bytes > self.end - start:
            raise TruncatedFileError(
                f"the file ends within {_named(what, of)}: {n_bytes:,} bytes are announced and "
                f"{self.remaining:,} are left; it was cut short or damaged, fetch it again",
                path=self.file.path,
                offset=start,
            )
        self.position = start + n_bytes
        return start

    def u32(self, what: str, of: str = "") -> int:
        """Read an unsigned 32-bit number."""
        return self._u32.unpack_from(self._buffer, self.need(4, what, of))[0]

    def i32(self, what: str, of: str = "") -> int:
        """Read a signed 32-bit number."""
        return self._i32.unpack_from(self._buffer, self.need(4, what, of))[0]

    def u64(self, what: str, of: str = "") -> int:
        """Read an unsigned 64-bit number."""
        return self._u64.unpack_from(self._buffer, self.need(8, what, of))[0]

    def unpack(self, code: str, what: str, of: str = "") -> tuple:
        """Read several numbers, given by their `struct` letters."""
        code = self.order + code  # with a byte order given, struct adds no padding
        return struct.unpack_from(code, self._buffer, self.need(struct.calcsize(code), what, of))

    def scalar(self, kind: ValueType, what: str, of: str = "") -> int | float:
        """Read one number of a metadata value type."""
        return struct.unpack_from(self.order + kind.code, self._buffer, self.need(kind.size, what, of))[0]

    def string(self, what: str, of: str = "", limit: int = MAX_STRING_BYTES) -> bytes:
        """Read a string: its length in 64 bits, then its bytes.

        Raises:
            LimitExceededError: it announces more than `limit` bytes.
            TruncatedFileError: the file has fewer bytes than it announces.
        """
        at = self.position
        n_bytes = self.u64(what, of)
        if n_bytes > limit:
            raise LimitExceededError(
                f"{_named(what, of)} announces {n_bytes:,} bytes; {limit:,} is the most",
                path=self.file.path,
                offset=at,
            )
        start = self.need(n_bytes, what, of)
        return self._buffer[start : start + n_bytes]


def _named(what: str, of: str) -> str:
    return f"{what} {shown(of)}" if of else what


def text_of(raw: bytes) -> str:
    """Decode a name; bytes that are not UTF-8 become visible escapes, a backslash and two digits."""
    return raw.decode("utf-8", "backslashreplace")
