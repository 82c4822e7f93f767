"""Longest match over bytes: take the longest token again and again, by a trie that lies in arrays.

A node stands for what some token begins with. Nodes 1 … 256 are the single bytes, a table holds those of two bytes,
and from there on each node has a list of children: the newest, and from each child the one before it. 0 is no node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.kernels.jit import kernel

N_BYTES = 256
NO_TOKEN = -1


@kernel
def _build(flat, ends, ids, pairs, byte, child, sibling, token):
    used, start = N_BYTES, 0
    for number in range(ends.size):
        end = ends[number]
        node = 1 + np.int64(flat[start])
        if end - start > 1:
            pair = np.int64(flat[start]) << 8 | np.int64(flat[start + 1])
            if pairs[pair] == 0:
                used += 1
                pairs[pair] = used
            node = np.int64(pairs[pair])
        for i in range(start + 2, end):
            below = child[node]
            while below != 0 and byte[below] != flat[i]:
                below = sibling[below]
            if below == 0:
                used += 1
                below = used
                byte[below], sibling[below], child[node] = flat[i], child[node], below
            node = np.int64(below)
        token[node] = ids[number]
        start = end


@kernel
def _match(text, pairs, byte, child, sibling, token, out):
    n, at, n_found = text.size, 0, 0
    while at < n:
        found, length = token[1 + np.int64(text[at])], 1
        node, end = np.int64(0), at + 2
        if at + 1 < n:
            node = np.int64(pairs[np.int64(text[at]) << 8 | np.int64(text[at + 1])])
        while node != 0:
            if token[node] != NO_TOKEN:
                found, length = token[node], end - at
            if end == n:
                break
            node = np.int64(child[node])
            while node != 0 and byte[node] != text[end]:
                node = np.int64(sibling[node])
            end += 1
        out[n_found] = found if found != NO_TOKEN else NO_TOKEN - 1 - np.int32(text[at])
        n_found += 1
        at += length
    return n_found


class ByteTrie:
    """Tokens by their bytes.

    Args:
        texts: the bytes of each token, none of them empty.
        ids: its id, 0 or more; of tokens with the same bytes the last one counts.
    """

    def __init__(self, texts: Sequence[bytes], ids: Sequence[int]):
        flat = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        room = 1 + N_BYTES + len(flat)
        self._tables = (
            np.zeros(N_BYTES * N_BYTES, np.int32),
            np.zeros(room, np.uint8),
            np.zeros(room, np.int32),
            np.zeros(room, np.int32),
            np.full(room, NO_TOKEN, np.int32),
        )
        _build(flat, ends, np.asarray(ids, np.int32), *self._tables)

    def match(self, text: bytes) -> np.ndarray:
        """Cut a text into tokens, the longest that fits each time.

        Args:
            text: any bytes.

        Returns:
            (token,) int32 ids; -2 - byte for a byte with which no token begins.
        """
        out = np.empty(len(text), np.int32)
        if not text:
            return out
        return out[: _match(np.frombuffer(text, np.uint8), *self._tables, out)].copy()
