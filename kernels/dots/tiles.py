"""Products of float32 matrices in one fixed order, tile by tile.

Every element `out[token, row]` is a dot product of `d_in` pairs, and it is always added up the same way,
however many tokens and rows there are and whichever tile or thread computes it:

    16 lanes; lane l adds x[i] * w[i] for i = l, l + 16, l + 32 …, one FMA each, starting from zero
    then the lanes 8 … 15 are added to 0 … 7, then 4 … 7 to 0 … 3, then 2, 3 to 0, 1, then 1 to 0

So one token alone gives the same bits as the same token among many, and one CPU the same bits as another.
Values beyond `d_in` count as zero. A tile of accumulators stays in registers while the kernel walks along
d_in; weights and activations are packed first, so that a tile reads two straight streams of memory.
"""

from __future__ import annotations

import numpy as np

from refgguf.kernels import simd
from refgguf.kernels.jit import kernel
from refgguf.kernels.lanes import load_f32x16, store

LANES = 16
# rows and tokens of a tile: as many 16-lane accumulators as the registers hold beside the operands
TILE_ROWS, TILE_TOKENS = (4, 6) if simd.cpu_has("avx512f") else (2, 3)
BLOCK_STEPS = 64  # steps of 16 values; a tile's two streams of this length fit the innermost cache

_tile = simd.fma_tile(TILE_ROWS, TILE_TOKENS)
_TILE_SUMS = TILE_ROWS * TILE_TOKENS * LANES


def fma_plain(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return a * b + c of float32 arrays, rounded once: what an FMA instruction gives.

    The product is exact in float64. The sum is rounded to odd (Boldo & Melquiond 2008: the error of the
    addition decides the last bit), so that the second rounding, to float32, is the only one that counts.
    """
    with np.errstate(all="ignore"):
        product, addend = a.astype(np.float64) * b.astype(np.float64), np.asarray(c).astype(np.float64)
        total = product + addend
        virtual = total - product
        error = (product - (total - virtual)) + (addend - virtual)  # Knuth's two-sum, exact
        bits = total.view(np.int64)
        inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
        # towards the true sum: one step away from zero if the error has the sign of the total, else towards
        # it
        step = np.where((error > 0) == (total > 0), 1, -1)
        return np.where(inexact, bits + step, bits).view(np.float64).astype(np.float32)


def multiply_plain(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return x (n, d_in) times weights (d_out, d_in) transposed, in the fixed order: the plain twin."""
    padding = -x.shape[1] % LANES
    x, weights = (np.pad(np.asarray(a, np.float32), ((0, 0), (0, padding))) for a in (x, weights))
    sums = np.zeros((len(x), len(weights), LANES), np.float32)
    for i in range(0, x.shape[1], LANES):
        sums = fma_plain(x[:, None, i : i + LANES], weights[None, :, i : i + LANES], sums)
    while sums.shape[2] > 1:
        half = sums.shape[2] // 2
        sums = sums[:, :, :half] + sums[:, :, half:]
    return sums[:, :, 0]


@kernel
def pack(values, group, out):
    """Regroup rows for `multiply`: `out[i, step, j]` are the 16 values of row `group * i + j` at that step.

    Args:
        values: (n, d_in) float32.
        group: rows that lie side by side.
        out: (at least n / group, d_in / 16 rounded up, group, 16) float32; missing rows become zero.
    """
    n, d_in = values.shape
    full = d_in // 16
    flat_in, flat = values.reshape(-1), out.reshape(-1)
    n_steps = out.shape[1]
    for row in range(-(-n // group) * group):
        to = (row // group * n_steps * group + row % group) * 16
        for step in range(n_steps):
            if row >= n:
                part = simd.zero_f32x16()
            elif step < full:
                part = load_f32x16(flat_in, row * d_in + step * 16)
            else:
                part = simd.load_part_f32x16(flat_in, row * d_in + step * 16, d_in - full * 16)
            store(flat, to, part)
            to += group * 16


@kernel
def multiply(weights, x, n_rows, n_tokens, sums, out, first_row):
    """Multiply packed weights with packed activations.

    Args:
        weights: (row groups, n_steps, TILE_ROWS, 16) float32, from `pack`.
        x: (token groups, n_steps, TILE_TOKENS, 16) float32, from `pack`.
        n_rows: rows among the weights that count.
        n_tokens: tokens among the activations that count.
        sums: room for row groups * token groups * TILE_ROWS * TILE_TOKENS * 16 float32.
        out: (n_tokens, d_out) float32; columns first_row … first_row + n_rows - 1 are written.
        first_row: the first column to write.
    """
    n_steps = weights.shape[1]
    row_groups = -(-n_rows // TILE_ROWS)
    token_groups = -(-n_tokens // TILE_TOKENS)
    flat_w, flat_x = weights.reshape(-1), x.reshape(-1)
    sums[: row_groups * token_groups * _TILE_SUMS] = np.float32(0)
    for start in range(0, n_steps, BLOCK_STEPS):
        steps = min(BLOCK_STEPS, n_steps - start)
        for t in range(token_groups):
            x_at = (t * n_steps + start) * TILE_TOKENS * 16
            for r in range(row_groups):
                w_at = (r * n_steps + start) * TILE_ROWS * 16
                _tile(flat_w, w_at, flat_x, x_at, steps, sums, (t * row_groups + r) * _TILE_SUMS)
    for token in range(n_tokens):
        t, token_in_group = token // TILE_TOKENS, token % TILE_TOKENS
        for row in range(n_rows):
            at = (t * row_groups + row // TILE_ROWS) * _TILE_SUMS
            at += ((row % TILE_ROWS) * TILE_TOKENS + token_in_group) * 16
            out[token, first_row + row] = simd.tree_sum(load_f32x16(sums, at))


@kernel
def dot_rows(weights, x, out):
    """Write the dot product of each row of weights (n_rows, d_in) with x (d_in,) to out (n_rows,)."""
    n_rows, d_in = weights.shape
    flat = weights.reshape(-1)
    full = d_in // 16 * 16
    row = 0
    while row < n_rows:
        # four rows at a time hide the latency of an FMA; the last ones repeat row n_rows - 1
        a, b = row * d_in, min(row + 1, n_rows - 1) * d_in
        c, d = min(row + 2, n_rows - 1) * d_in, min(row + 3, n_rows - 1) * d_in
        sum_a = sum_b = sum_c = sum_d = simd.zero_f32x16()
        for i in range(0, full, 16):
            part = load_f32x16(x, i)
            sum_a = simd.fma(load_f32x16(flat, a + i), part, sum_a)
            sum_b = simd.fma(load_f32x16(flat, b + i), part, sum_b)
            sum_c = simd.fma(load_f32x16(flat, c + i), part, sum_c)
            sum_d = simd.fma(load_f32x16(flat, d + i), part, sum_d)
        if full < d_in:
            rest = d_in - full
            part = simd.load_part_f32x16(x, full, rest)
            sum_a = simd.fma(simd.load_part_f32x16(flat, a + full, rest), part, sum_a)
            sum_b = simd.fma(simd.load_part_f32x16(flat, b + full, rest), part, sum_b)
            sum_c = simd.fma(simd.load_part_f32x16(flat, c + full, rest), part, sum_c)
            sum_d = simd.fma(simd.load_part_f32x16(flat, d + full, rest), part, sum_d)
        out[row] = simd.tree_sum(sum_a)
        out[min(row + 1, n_rows - 1)] = simd.tree_sum(sum_b)
        out[min(row + 2, n_rows - 1)] = simd.tree_sum(sum_c)
        out[min(row + 3, n_rows - 1)] = simd.tree_sum(sum_d)
        row += 4
