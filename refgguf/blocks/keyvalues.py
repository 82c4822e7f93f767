"""The keys and values of the tokens that attention has seen."""

from __future__ import annotations

from typing import Any

import numpy as np


class KeyValues:
    """The keys and values of all tokens so far, (kv_head, capacity, d_head) each.

    Args:
        n_kv_heads: how many heads share them.
        d_key: channels of a key.
        d_value: channels of a value.
        beside: what a part of attention keeps besides.
    """

    def __init__(self, n_kv_heads: int, d_key: int, d_value: int, beside: Any = None):
        self.beside = beside
        self.keys = np.empty((n_kv_heads, 0, d_key), np.float32)
        self.values = np.empty((n_kv_heads, 0, d_value), np.float32)

    def store(self, start: int, keys: np.ndarray, values: np.ndarray) -> int:
        """Put (token, kv_head, d_head) keys and values at positions `start` …; returns how many there are now."""
        end = start + len(keys)
        if end > self.keys.shape[1]:
            self.keys, self.values = (_grown(x, start, end) for x in (self.keys, self.values))
        self.keys[:, start:end] = keys.transpose(1, 0, 2)
        self.values[:, start:end] = values.transpose(1, 0, 2)
        return end


class Rows:
    """One vector of each token so far, (capacity, d).

    Args:
        d: its channels.
    """

    def __init__(self, d: int):
        self.rows = np.empty((1, 0, d), np.float32)

    def store(self, start: int, rows: np.ndarray) -> np.ndarray:
        """Put (token, d) vectors at positions `start` …; returns all that there are now, (token, d)."""
        end = start + len(rows)
        if end > self.rows.shape[1]:
            self.rows = _grown(self.rows, start, end)
        self.rows[0, start:end] = rows
        return self.rows[0, :end]


def _grown(x: np.ndarray, used: int, needed: int) -> np.ndarray:
    larger = np.zeros((x.shape[0], max(needed, 2 * x.shape[1], 64), x.shape[2]), x.dtype)
    larger[:, :used] = x[:, :used]
    return larger
