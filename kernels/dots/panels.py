"""Many tokens in llama.cpp numerics: rows and activations as records, and the walk over both.

Some rows are taken apart into the records of `integer_tiles.py`, once for all tokens. A few blocks of all these rows
stay in the innermost cache while the tokens pass, group by group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from refgguf.kernels.dots import integer_tiles as tiles
from refgguf.kernels.dots.activations import CACHE_LINE, Activations, aligned
from refgguf.kernels.dots.integer_tiles import (
    BYTES_GROUP,
    BYTES_WEIGHTS,
    BYTES_X,
    FACTORS,
    GROUPS,
    LANES,
    MINIMA,
    PAIRS,
    STEP,
    SUMS,
    TILE_ROWS,
    TILE_TOKENS,
    WORD_STEP,
    tile_totals,
    words_bytes,
)
from refgguf.kernels.dots.placement import (
    byte_pairs,
    byte_pairs_of_both,
    load_i16x16,
    prefetch,
    spread_f32,
    spread_pair,
    to_i16,
)
from refgguf.kernels.jit import kernel, part
from refgguf.kernels.lanes import load_f32x8, load_u8x32, store
from refgguf.kernels.simd import zero_f32x8

ROWS_AT_ONCE = 32
NEAR_VALUES = 1024  # values of a row whose records lie near at a time


@dataclass(frozen=True)
class Panel:
    """How rows of a type meet many tokens.

    Args:
        block_size: values in a record.
        weights_bytes: bytes of a record of a group of rows.
        x_bytes: bytes of a record of a group of tokens.
        unpack: kernel `(raw, first, end, records)` that takes rows apart.
        pack: kernel `(q, d, sums, records)` for the activations.
        multiply: kernel `(weights, x, n_blocks, row groups, token groups, sums, room, factor, out, first, end)`.
        n_minima: lanes that minima have of their own.
        factor: what the sum of the lanes is multiplied with in the end.
        parts: into so many sets of lanes go the blocks of a row in turn; of the records, those of a part lie together.
    """

    block_size: int
    weights_bytes: int
    x_bytes: int
    unpack: Callable
    pack: Callable
    multiply: Callable
    n_minima: int = 0
    factor: float = 1.0
    parts: int = 1

    def fits(self, d_in: int) -> bool:
        """Return whether every part of rows of so many values gets as many blocks."""
        return d_in % (self.block_size * self.parts) == 0

