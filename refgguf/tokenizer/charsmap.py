"""SentencePiece's precompiled character map: which bytes a text's bytes are normalized to.

The blob is a length, a double-array trie of that many bytes, and zero-terminated replacements:

    0        4                    4 + n
    ├ n: u32 ┼ n/4 units of u32 … ┼ replacements, each ended by a zero byte ┤

    unit   bits 0-7 label, 8 has a leaf, 9 offset is times 256, 10-30 offset; of a leaf, bits 0-30: which replacement

Source: Kanda (2018), XOR-compressed double arrays; llama.cpp src/llama-vocab.cpp (xcda_array_view,
normalize_prefix).
"""

from __future__ import annotations

import struct

import numpy as np

from refgguf.errors import TokenizerError
from refgguf.tokenizer.metadata import PREFIX

_KEY = PREFIX + "precompiled_charsmap"
_LABEL_MASK = 1 << 31 | 0xFF
_VALUE_MASK = (1 << 31) - 1


class CharsMap:
    """A character map.

    Args:
        blob: the bytes of `precompiled_charsmap`; none at all is a map without entries.

    Raises:
        TokenizerError: the blob is too short for what it announces.
    """

    def __init__(self, blob: bytes):
        if not blob:
            self._units, self.replacements = [], b""
            return
        size = struct.unpack_from("<I", blob)[0] if len(blob) >= 4 else len(blob)
        if size + 4 >= len(blob):
            raise TokenizerError(
                f"{_KEY} has {len(blob):,} bytes, too few for the {size:,} that it announces"
            )
        self._units = np.frombuffer(blob, "<u4", size // 4, 4).tolist()
        self.replacements = blob[4 + size :]

    def longest(self, raw: bytes, at: int) -> tuple[int, bytes] | None:
        """Return (how many bytes, what replaces them) of the longest entry at a place; None if there is none.

        Raises:
            TokenizerError: the map points outside itself.
        """
        if not self._units:
            return None
        length, value = 0, 0
        node = self._offset(0)
        for k in range(at, len(raw)):
            byte = raw[k]
            if byte == 0:
                break
            node ^= byte
            unit = self._unit(node)
            if unit & _LABEL_MASK != byte:
                break
            node ^= self._offset(node)
            if unit >> 8 & 1:
                length, value = k + 1 - at, self._unit(node) & _VALUE_MASK
        return (length, self._replacement(value)) if length else None

    def _unit(self, index: int) -> int:
        if index >= len(self._units):
            raise TokenizerError(
                f"{_KEY} points to unit {index:,} of {len(self._units):,}; the file is damaged"
            )
        return self._units[index]

    def _offset(self, index: int) -> int:
        unit = self._unit(index)
        # 21 bits, shifted by 8 where bit 9 is set; 32 bits as in C
        return unit >> 10 << ((unit & 1 << 9) >> 6) & 0xFFFFFFFF

    def _replacement(self, value: int) -> bytes:
        end = self.replacements.find(b"\0", value) if value < len(self.replacements) else -1
        if end < 0:
            raise TokenizerError(
                f"{_KEY} points to a replacement at byte {value:,} of {len(self.replacements):,} that has no end; "
                "the file is damaged"
            )
        return self.replacements[value:end]

    def stops_after(self, raw: bytes) -> bool:
        """Tell whether no entry that begins with these bytes is longer than they are."""
        node = self._offset(0) if self._units else 0
        for byte in raw if self._units else b"":
            node ^= byte
            if node >= len(self._units) or self._units[node] & _LABEL_MASK != byte:
                return True
            node ^= self._offset(node)
        return not any(
            node ^ byte < len(self._units) and self._units[node ^ byte] & _LABEL_MASK == byte
            for byte in range(1, 256 if self._units else 1)
        )

    def may_cross_space(self) -> bool:
        """Tell whether an entry may hold a space behind its first byte."""
        units = np.array(self._units[1:], np.int64)
        index = np.arange(1, len(self._units))
        # where a child for the space would be, of every unit that may be a node
        child = index ^ (units >> 10 << ((units & 1 << 9) >> 6) & 0xFFFFFFFF) ^ ord(" ")
        child = child[child < len(self._units)]
        return (
            bool(np.any(np.array(self._units, np.int64)[child] & _LABEL_MASK == ord(" ")))
            if len(child)
            else False
        )
