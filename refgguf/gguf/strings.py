"""Finds the strings of a string array without walking them one by one in Python.

Each string is its length in 64 bits, then its bytes, so where one begins is known only when the one before
is. Tokens are shorter than 256 bytes and hold no zero bytes, so in practice each length is one byte beside
seven zero bytes. All such places are found at once with NumPy; that is the guess. It is proved by one vector
comparison: if place k plus its length leads exactly to place k + 1, for every k, then by induction all are
right. Where the chain breaks (a longer string, an empty one, zero bytes in the text) single steps lead on to
the next sound stretch, so the result never depends on the guess.
"""

from __future__ import annotations

import struct
from array import array

import numpy as np

from refgguf.errors import LimitExceededError, TruncatedFileError
from refgguf.gguf.filemap import FileMap

MAX_STRINGS = 1 << 22  # strings in one array; the largest vocabularies have 2**18 tokens and 2**19 merges
WINDOW = 1 << 22  # bytes looked at together at most, so that memory stays small
WINDOW_PER_STRING = 32  # and for each string still to come, so that a short array stays cheap in a large file
FEW_STRINGS = 64  # fewer are found sooner one by one
PATIENCE = 256  # how many strings may be lost to short stretches before a window is walked one by one
LENGTH_BYTES = 8
MAX_STRING_BYTES = 1 << 30


def find_strings(file: FileMap, start: int, count: int, order: str, key: str) -> np.ndarray:
    """Find where the strings of an array begin.

    Args:
        file: the mapped file.
        start: where the first string's length lies.
        count: how many strings the array announces.
        order: `"<"` or `">"`.
        key: the array's name, for messages.

    Returns:
        (count + 1,) int64: where each string's length lies, and where the array ends.

    Raises:
        LimitExceededError: more than MAX_STRINGS, or a string longer than MAX_STRING_BYTES.
        TruncatedFileError: the file ends within the array.
    """
    if count > MAX_STRINGS:
        raise LimitExceededError(
            f"the array announces {count:,} strings; {MAX_STRINGS:,} is the most",
            path=file.path,
            offset=start,
            field=key,
        )
    if count * LENGTH_BYTES > file.size - start:
        raise TruncatedFileError(
            f"the array announces {count:,} strings, more than the {file.size - start:,} bytes left can hold",
            path=file.path,
            offset=start,
            field=key,
        )
    chain = _Chain(file, start, count, order, key)
    while chain.n_found < count:
        chain.window()
    return chain.offsets()


class _Chain:
    """The strings found so far, and the position of the next one."""

    def __init__(self, file: FileMap, start: int, count: int, order: str, key: str):
        self.file, self.position, self.count, self.key = file, start, count, key
        self.little = order == "<"
        self._length = struct.Struct(f"{order}Q").unpack_from
        self._pieces: list[np.ndarray] = []
        self.n_found = 0

    def offsets(self) -> np.ndarray:
        return np.concatenate([*self._pieces, np.array([self.position], np.int64)])

    def window(self) -> None:
        """Find the strings whose lengths lie in the bytes just ahead, at least one."""
        base = self.position
        if self.count - self.n_found < FEW_STRINGS:
            self._step(self.count, self.file.size)
            return
        width = min(WINDOW, WINDOW_PER_STRING * (self.count - self.n_found))
        raw = self.file.view(base, min(width, self.file.size - base))
        places = _places(raw, self.little)  # (n_places,) where a short length may lie
        lengths = raw[places if self.little else places + 7].astype(np.int64)
        follow = places + lengths + LENGTH_BYTES  # (n_places,) where each leads
        breaks = np.flatnonzero(follow[:-1] != places[1:])
        limit = base + len(raw) - LENGTH_BYTES
        patience = PATIENCE + len(raw) // 1024
        while self.n_found < self.count and (self.position <= limit or self.position == base):
            k = int(np.searchsorted(places, self.position - base))
            if patience > 0 and k < len(places) and places[k] == self.position - base:
                at = int(np.searchsorted(breaks, k))
                last = int(breaks[at]) if at < len(breaks) else len(places) - 1
                last = min(last, k + self.count - self.n_found - 1)
                self._take(places[k : last + 1] + base, base + int(follow[last]))
                patience += min(0, last - k - 8)
            else:
                # where stretches are short, finding them costs more than it saves
                self._step(8 if patience > 0 else self.count, limit)
                patience -= 8

    def _take(self, found: np.ndarray, position: int) -> None:
        """Add proved places; the string at the last of them leads to `position`."""
        self._pieces.append(found)
        self.n_found += len(found)
        self.position = position
        if position > self.file.size:
            last = int(found[-1])
            self._fail(0, last, position - last - LENGTH_BYTES)

    def _step(self, n_steps: int, limit: int) -> None:
        """Go string by string: `n_steps` of them, or up to the window's end."""
        buffer, size, length, position = self.file.buffer, self.file.size, self._length, self.position
        found = array("q")
        for _ in range(min(n_steps, self.count - self.n_found)):
            found.append(position)
            if position + LENGTH_BYTES > size:
                self._fail(len(found), position, LENGTH_BYTES)
            n_bytes = length(buffer, position)[0]
            if n_bytes > size - position - LENGTH_BYTES:
                self._fail(len(found), position, n_bytes)
            position += n_bytes + LENGTH_BYTES
            if position > limit:
                break
        self._pieces.append(np.frombuffer(found, np.int64))
        self.n_found += len(found)
        self.position = position

    def _fail(self, n_more: int, at: int, n_bytes: int) -> None:
        where = {"path": self.file.path, "offset": at, "field": self.key}
        number = self.n_found + n_more
        if n_bytes > MAX_STRING_BYTES:
            raise LimitExceededError(
                f"string {number:,} of {self.count:,} announces {n_bytes:,} bytes; "
                f"{MAX_STRING_BYTES:,} is the most",
                **where,
            )
        raise TruncatedFileError(
            f"the file ends within string {number:,} of the {self.count:,} that the array announces", **where
        )


def _places(raw: np.ndarray, little: bool) -> np.ndarray:
    """Find every place where eight bytes are a number below 256.

    Args:
        raw: (n_bytes,) uint8.
        little: the byte order.

    Returns:
        (n_places,) int64, ascending.
    """
    if len(raw) < LENGTH_BYTES:
        return np.empty(0, np.int64)
    zero = raw == 0
    pairs = zero[:-1] & zero[1:]
    fours = pairs[:-2] & pairs[2:]
    sevens = fours[:-3] & fours[3:]  # (n_bytes - 6,) seven zero bytes from here on
    return np.flatnonzero(sevens[1:] if little else sevens[:-1])
