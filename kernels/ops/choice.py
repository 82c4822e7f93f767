"""Choosing the best of each row.

    best[q, k] = 1 if x[q, k] is among the n largest of x[q, :] and not minus infinity

Of equal values the earlier ones are chosen. A row's choice does not depend on what stands beyond its last finite value,
so a query that sees few keys chooses the same ones whatever follows it.
"""

from __future__ import annotations

import numpy as np


def best(x: np.ndarray, n: int) -> np.ndarray:
    """Mark the n largest values of each row.

    Args:
        x: (…, key) float32; minus infinity is never chosen.
        n: how many to choose, 0 for none; all where there are no more.

    Returns:
        An int8 array of x's shape, 1 where a value is chosen.
    """
    there = x > -np.inf
    if n >= x.shape[-1]:
        return there.astype(np.int8)
    if n < 1:
        return np.zeros(x.shape, np.int8)
    least = np.partition(x, x.shape[-1] - n, axis=-1)[..., x.shape[-1] - n, None]  # the n-th largest
    above = x > least
    level = x == least
    room = n - above.sum(axis=-1, keepdims=True)
    return ((above | (level & (np.cumsum(level, axis=-1) <= room))) & there).astype(np.int8)


def best_plain(x: np.ndarray, n: int) -> np.ndarray:
    """Do what `best` does, row by row with a stable sort."""
    rows = x.reshape(-1, x.shape[-1])
    out = np.zeros(rows.shape, np.int8)
    for row, chosen in zip(rows, out, strict=True):
        order = np.argsort(-row, kind="stable")[:n]
        chosen[order[row[order] > -np.inf]] = 1
    return out.reshape(x.shape)
