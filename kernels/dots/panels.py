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

    def records(self, made: Activations) -> np.ndarray:
        """Return the activations as records."""
        n, d_in = made.q.shape
        out = aligned((-(-n // TILE_TOKENS) * (d_in // self.block_size) * self.x_bytes,), np.uint8)
        self.pack(made.q, made.d, made.sums, out)
        return out

    def rows(self, raw: np.ndarray, x: np.ndarray, n: int, out: np.ndarray, first: int, end: int) -> None:
        """Write columns first … end - 1 of out (n, d_out) from packed rows and the activations' records."""
        token_groups = -(-n // TILE_TOKENS)
        n_blocks = x.size // (token_groups * self.x_bytes)
        row_groups = ROWS_AT_ONCE // TILE_ROWS
        weights = aligned((row_groups * n_blocks * self.weights_bytes,), np.uint8)
        sums = aligned(
            (row_groups * token_groups * PAIRS * (LANES * self.parts + self.n_minima),), np.float32
        )
        room = aligned((NEAR_VALUES // self.block_size * 2 * PAIRS,), np.float32)
        for row in range(first, end, ROWS_AT_ONCE):
            until = min(row + ROWS_AT_ONCE, end)
            groups = -(-(until - row) // TILE_ROWS)
            self.unpack(raw, row, until, weights)
            factor = np.float32(self.factor)
            self.multiply(weights, x, n_blocks, groups, token_groups, sums, room, factor, out, row, until)


def _walk(
    tile: Callable, block_size: int, weights_bytes: int, x_bytes: int, n_minima: int = 0, parts: int = 1
) -> Callable:
    """Return the kernel that multiplies records tile by tile.

    Sums that are complete are written while the next tiles are computed, so that memory does not keep them waiting; and
    the next tokens' records are asked for meanwhile, a part with each tile (without: 7 to 15 % slower, measured).
    """
    near, n_sums = NEAR_VALUES // block_size, PAIRS * (LANES * parts + n_minima)

    @kernel
    def multiply(weights, x, n_blocks, row_groups, token_groups, sums, room, factor, out, first, end):
        sums[: row_groups * token_groups * n_sums] = np.float32(0)
        of_part = n_blocks // parts
        runs = -(-of_part // near)
        for run in range(runs * parts):
            start = run // runs * of_part + run % runs * near
            n = min(near, of_part - run % runs * near)
            sums_at = run // runs * PAIRS * LANES
            for t in range(token_groups):
                x_at = (t * n_blocks + start) * x_bytes
                ahead, lines = x_at + n_blocks * x_bytes, -(-n * x_bytes // (row_groups * CACHE_LINE))
                for r in range(row_groups):
                    for line in range(r * lines, (r + 1) * lines):
                        prefetch(x, ahead + line * CACHE_LINE)
                    w_at = (r * n_blocks + start) * weights_bytes
                    tile(weights, w_at, x, x_at, n, sums, (t * row_groups + r) * n_sums + sums_at, room)
                if start + n == n_blocks:
                    for r in range(row_groups):
                        at = (t * row_groups + r) * n_sums
                        _finish(sums, at, n_minima, parts, factor, out, t, first + r * TILE_ROWS, end)

    return multiply


@part
def _finish(sums, at, n_minima, parts, factor, out, t, first, end):
    """Write what the sums of a tile come to: rows from `first` on and the tokens of group t."""
    if parts == 2:
        for pair in range(at, at + LANES * PAIRS, LANES):
            store(sums, pair, load_f32x8(sums, pair) + load_f32x8(sums, pair + LANES * PAIRS))
    lanes, m = tile_totals(sums, at) * factor, at + LANES * PAIRS
    if n_minima == 4:
        even = load_f32x8(sums, m) + load_f32x8(sums, m + 2 * PAIRS)
        odd = load_f32x8(sums, m + PAIRS) + load_f32x8(sums, m + 3 * PAIRS)
        lanes = lanes + (even + odd)
    elif n_minima == 1:
        lanes = lanes + load_f32x8(sums, m)
    store(sums, at, lanes)
    for token in range(t * TILE_TOKENS, min((t + 1) * TILE_TOKENS, out.shape[0])):
        for row in range(first, min(first + TILE_ROWS, end)):
            out[token, row] = sums[at + (row - first) * TILE_TOKENS + token - t * TILE_TOKENS]


@kernel
def _pack_bytes(pairs, q, d, sums, out):
    """Write activations of blocks of 256 as records of bytes.

    `pairs` says whether the sums are those of 32 activations, two by two, rather than those of 16.
    """
    n, d_in = q.shape
    n_blocks = d_in // 256
    codes, flat_sums = q.reshape(-1), sums.reshape(-1)
    out[:] = 0
    for token in range(n):
        group, place = token // TILE_TOKENS, token % TILE_TOKENS
        for block in range(n_blocks):
            to = (group * n_blocks + block) * BYTES_X
            for g in range(GROUPS):
                at = token * d_in + 256 * block + 64 * g
                low, high = load_u8x32(codes, at), load_u8x32(codes, at + 32)
                store(out, to + (g * TILE_TOKENS + place) * STEP, byte_pairs_of_both(low, high, 0))
                store(out, to + (g * TILE_TOKENS + place) * STEP + 32, byte_pairs_of_both(low, high, 1))
            to += GROUPS * TILE_TOKENS * STEP
            at = (token * n_blocks + block) * 16
            if pairs:
                for i in range(8):
                    both = np.int16(flat_sums[at + 2 * i] + flat_sums[at + 2 * i + 1])
                    for row in range(TILE_ROWS):
                        pair = row * TILE_TOKENS + place
                        store(out, to + i // 2 * SUMS + 4 * pair + 2 * (i % 2), both)
            else:
                store(out, to + place * SUMS, load_i16x16(flat_sums, at))
            to += BYTES_X - FACTORS - GROUPS * TILE_TOKENS * STEP
            for row in range(TILE_ROWS):
                store(out, to + 4 * (row * TILE_TOKENS + place), d[token, block])


@kernel
def _pack_words(steps, parts, q, d, sums, out):
    """Write activations as records of words with so many steps, in so many parts."""
    n, d_in = q.shape
    n_blocks, x_bytes = d_in // (WORD_STEP * steps), steps * TILE_TOKENS * STEP + FACTORS
    codes = q.reshape(-1)
    out[:] = 0
    for token in range(n):
        group, place = token // TILE_TOKENS, token % TILE_TOKENS
        for block in range(n_blocks):
            to = (group * n_blocks + block % parts * (n_blocks // parts) + block // parts) * x_bytes
            for step in range(steps):
                values = load_u8x32(codes, token * d_in + (steps * block + step) * WORD_STEP)
                at = to + (step * TILE_TOKENS + place) * STEP
                store(out, at, to_i16(byte_pairs(values, 0)))
                store(out, at + 32, to_i16(byte_pairs(values, 1)))
            for row in range(TILE_ROWS):
                store(out, to + x_bytes - FACTORS + 4 * (row * TILE_TOKENS + place), d[token, block])


def _unpack_bytes(type_size: int, group: Callable, rest: Callable, pairs: bool) -> Callable:
    @kernel
    def unpack(raw, first, end, out):
        row_bytes = raw.shape[1]
        n_blocks = row_bytes // type_size
        flat, one_each = raw.reshape(-1), zero_f32x8()
        if (end - first) % TILE_ROWS:
            out[(end - first) // TILE_ROWS * n_blocks * BYTES_WEIGHTS :] = 0
        for row in range(end - first):
            place = row % TILE_ROWS
            for block in range(n_blocks):
                at = (first + row) * row_bytes + block * type_size
                to = (row // TILE_ROWS * n_blocks + block) * BYTES_WEIGHTS
                for g in range(GROUPS):
                    low, high, scales = group(flat, at, g)
                    t = to + g * BYTES_GROUP + place * (STEP + SUMS)
                    store(out, t, byte_pairs_of_both(low, high, 0))
                    store(out, t + 32, byte_pairs_of_both(low, high, 1))
                    store(out, t + 64, scales)
                words, d, minimum = rest(flat, at)
                t = to + GROUPS * BYTES_GROUP
                if pairs:
                    for k in range(4):
                        store(out, t + SUMS * k + 4 * place * TILE_TOKENS, spread_pair(words, 4 + k))
                else:
                    store(out, t + SUMS * place, words)
                t = to + BYTES_WEIGHTS - FACTORS + 4 * place * TILE_TOKENS
                store(out, t - FACTORS, spread_f32(d, one_each))
                store(out, t, spread_f32(minimum, one_each))

    return unpack


def _unpack_words(type_size: int, steps: int, step: Callable, scale: Callable, parts: int) -> Callable:
    weights_bytes, _ = words_bytes(steps)

    @kernel
    def unpack(raw, first, end, out):
        row_bytes = raw.shape[1]
        n_blocks = row_bytes // type_size
        flat, one_each = raw.reshape(-1), zero_f32x8()
        if (end - first) % TILE_ROWS:
            out[(end - first) // TILE_ROWS * n_blocks * weights_bytes :] = 0
        for row in range(end - first):
            place = row % TILE_ROWS
            for block in range(n_blocks):
                at = (first + row) * row_bytes + block * type_size
                place_of_block = block % parts * (n_blocks // parts) + block // parts
                to = (row // TILE_ROWS * n_blocks + place_of_block) * weights_bytes
                for s in range(steps):
                    even, odd = step(flat, at, s)
                    store(out, to + (s * TILE_ROWS + place) * STEP, even)
                    store(out, to + (s * TILE_ROWS + place) * STEP + 32, odd)
                t = to + weights_bytes - FACTORS + 4 * place * TILE_TOKENS
                store(out, t, spread_f32(scale(flat, at), one_each))

    return unpack


_BYTES = {
    tile: _walk(tile, 256, BYTES_WEIGHTS, BYTES_X, n_minima)
    for tile, n_minima in (
        (tiles.bytes_less, 0),
        (tiles.bytes_with_minima, 0),
        (tiles.bytes_four_minima, MINIMA),
        (tiles.bytes_one_minimum, 1),
    )
}
_WORDS = {
    (steps, parts): _walk(tile, steps * WORD_STEP, *words_bytes(steps), parts=parts)
    for tile, steps, parts in ((tiles.one_step, 1, 1), (tiles.one_step, 1, 2), (tiles.words, 8, 1))
}


def bytes_panel(type_size: int, group: Callable, rest: Callable, tile: Callable, n_minima: int = 0) -> Panel:
    """Return the panel of a type of 256 values a block whose codes count from zero, at most 63.

    Args:
        type_size: bytes in a block.
        group: part `(flat, at, g) -> (u8x32, u8x32, i16x16)`: codes 64 g … 64 g + 31 and 64 g + 32 … 64 g + 63 of the
            block at byte `at`, and their scales, those of the first in lanes 0, 2, 4 …, of the second in 1, 3, 5 …
        rest: part `(flat, at) -> (i16x16, d, minimum)`: what meets the sums of activations, and the two factors.
        tile: one of `integer_tiles.bytes_*`.
        n_minima: lanes that minima have of their own; their words are then the last eight.
    """
    pairs = n_minima > 0
    unpack = _unpack_bytes(type_size, group, rest, pairs)
    return Panel(256, BYTES_WEIGHTS, BYTES_X, unpack, partial(_pack_bytes, pairs), _BYTES[tile], n_minima)


def words_panel(
    type_size: int, steps: int, step: Callable, scale: Callable, factor: float = 1.0, parts: int = 1
) -> Panel:
    """Return the panel of a type whose numbers, times their scales within a block, fit 16 bits.

    Args:
        type_size: bytes in a block.
        steps: a block has so many times 32 values: 1 or 8.
        step: part `(flat, at, s) -> (i16x16, i16x16)`: values 32 s … 32 s + 31 of the block at byte `at`, in the order
            of `byte_pairs`.
        scale: part `(flat, at) -> float32`, the block's scale.
        factor: what the sum of the lanes is multiplied with in the end.
        parts: 1, or 2 where blocks go to one of two sets of lanes in turn.
    """
    unpack, pack = _unpack_words(type_size, steps, step, scale, parts), partial(_pack_words, steps, parts)
    multiply, block_size = _WORDS[steps, parts], steps * WORD_STEP
    return Panel(block_size, *words_bytes(steps), unpack, pack, multiply, factor=factor, parts=parts)
