"""Windows: keys that a query does not see, outside its sliding window, its chunk, or what lies around it."""

from __future__ import annotations

import numpy as np

from refgguf.blocks.mask import WINDOWS, Mask
from refgguf.taps import Tap

LARGEST = 1 << 31  # tokens: no window of a real run is larger


def outside_of(tap: Tap, positions: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """Return which keys lie outside the window of each query, (query, key) bool; None where none do.

    Args:
        tap: an attention pattern; what its window says is not trusted, since a trace may come from anywhere.
        positions: (token,) places of the tokens that were run; where queries are others, the last is at the last key.
        shape: numbers of queries and keys.
    """
    if not isinstance(tap.window, tuple) or len(tap.window) != 2:
        return None
    kind, size = tap.window
    if kind not in WINDOWS or not isinstance(size, int) or not size > 0:
        return None
    n_queries, n_keys = shape
    if len(positions) != n_queries:
        positions = np.arange(n_keys - n_queries, n_keys)
    first, last = Mask(causal=False, window=min(size, LARGEST), kind=kind).limits(positions, n_keys)
    keys = np.arange(n_keys)
    outside = (keys < first[:, None]) | (keys > last[:, None])
    return outside if outside.any() else None


def both_sides(tap: Tap) -> bool:
    """Tell whether a pattern's window reaches to both sides of a query."""
    return isinstance(tap.window, tuple) and tap.window[:1] == ("symmetric",)
