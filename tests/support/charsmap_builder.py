"""Builds SentencePiece's precompiled character map from pairs of byte strings: the inverse of reading one."""

from __future__ import annotations

import struct

BLOCK = 256  # a node's children lie in the block of 256 units that its offset lies in


def build_charsmap(entries: dict[bytes, bytes]) -> bytes:
    """Return the blob: a double-array trie of the keys, and their replacements.

    Args:
        entries: what is replaced → by what; keys are not empty and hold no zero byte.
    """
    replacements, where = b"", {}
    for key, value in entries.items():
        where[key] = len(replacements)
        replacements += value + b"\0"
    trie: dict = {}
    for key in entries:
        node = trie
        for byte in key:
            node = node.setdefault(byte, {})
        node[0] = key  # a leaf hangs on the label 0
    units = _Units(where)
    units.place(trie, 0)
    # a reader may try any label at any node, so whole blocks must be there
    size = (max(units.taken) | BLOCK - 1) + 1
    blob = struct.pack(f"<{size}I", *(units.values.get(k, 0) for k in range(size)))
    return struct.pack("<I", len(blob)) + blob + replacements


class _Units:
    """The double array while nodes are given their places."""

    def __init__(self, where: dict[bytes, int]):
        self.values = {0: 0}
        self.taken = {0}
        self._bases: set[int] = set()  # no two nodes share one, else each would have the other's children
        self._where = where

    def place(self, node: dict, index: int) -> None:
        """Give a node's children places `base ^ label`, and write the node's offset."""
        base = 1
        while base in self._bases or any((base ^ label) in self.taken for label in node):
            base += 1
        self._bases.add(base)
        self.taken.update(base ^ label for label in node)
        offset = base ^ index
        assert offset < 1 << 21, "the map is too large for offsets without their scale bit"
        self.values[index] |= offset << 10 | (1 << 8 if 0 in node else 0)
        for label, child in node.items():
            self.values[base ^ label] = self._where[child] | 1 << 31 if label == 0 else label
        for label, child in node.items():
            if label:
                self.place(child, base ^ label)
