"""Kernels that multiply rows with tokens one by one, made from the arithmetic of one block.

A family's file says what one block adds to the accumulators; the loops over rows, tokens and blocks are here.
Two or four rows are under way at once, for each accumulator must wait for its last addition. They lie a part of
the matrix apart, so that the processor sees a few straight streams of memory and fetches ahead.
"""

from __future__ import annotations

from collections.abc import Callable

from refgguf.kernels.jit import kernel
from refgguf.kernels.simd import tree_sum, zero_f32x16

CACHED_BYTES = 1 << 17  # rows of so many bytes stay in the cache while the tokens pass
# LLVM interleaves the rows of a step; with blocks so long, four rows would be more than 16 registers hold
LONG_BLOCK = 64


def exact_rows(block_size: int, type_size: int, add: Callable) -> Callable:
    """Return the kernel that multiplies rows with float32 activations in the fixed order of `tiles.py`.

    Args:
        block_size: values in a block, a multiple of 16.
        type_size: bytes in a block.
        add: part `(flat, at, x, x_at, total) -> total` that adds the block at byte `at`, weight i to lane
            i % 16, with one FMA for each 16 weights.

    Returns:
        Kernel `(raw (d_out, row_bytes) uint8, x (n, d_in) float32, out (n, d_out) float32, first, end)`
        that writes columns first … end - 1 of out.
    """
    make = _two_exact_rows if block_size >= LONG_BLOCK else _four_exact_rows
    return make(block_size, type_size, add)


def _two_exact_rows(block_size: int, type_size: int, add: Callable) -> Callable:
    @kernel
    def multiply(raw, x, out, first, end):
        n_tokens, row_bytes = x.shape[0], raw.shape[1]
        flat = raw.reshape(-1)
        rows_at_once = end - first if n_tokens == 1 else max(2, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            half = (last - begin + 2) // 2
            for token in range(n_tokens):
                token_x = x[token]
                for row0 in range(begin, begin + half):
                    row1 = min(row0 + half, last)
                    sum0 = sum1 = zero_f32x16()
                    for block in range(row_bytes // type_size):
                        at, x_at = block * type_size, block * block_size
                        sum0 = add(flat, row0 * row_bytes + at, token_x, x_at, sum0)
                        sum1 = add(flat, row1 * row_bytes + at, token_x, x_at, sum1)
                    out[token, row0], out[token, row1] = tree_sum(sum0), tree_sum(sum1)

    return multiply


def _four_exact_rows(block_size: int, type_size: int, add: Callable) -> Callable:
    @kernel
    def multiply(raw, x, out, first, end):
        n_tokens, row_bytes = x.shape[0], raw.shape[1]
        flat = raw.reshape(-1)
        rows_at_once = end - first if n_tokens == 1 else max(4, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            quarter = (last - begin + 4) // 4
            for token in range(n_tokens):
                token_x = x[token]
                for row0 in range(begin, min(begin + quarter, last + 1)):
                    # beyond the end the last row is computed again
                    row1, row2 = min(row0 + quarter, last), min(row0 + 2 * quarter, last)
                    row3 = min(row0 + 3 * quarter, last)
                    sum0 = sum1 = sum2 = sum3 = zero_f32x16()
                    for block in range(row_bytes // type_size):
                        at, x_at = block * type_size, block * block_size
                        sum0 = add(flat, row0 * row_bytes + at, token_x, x_at, sum0)
                        sum1 = add(flat, row1 * row_bytes + at, token_x, x_at, sum1)
                        sum2 = add(flat, row2 * row_bytes + at, token_x, x_at, sum2)
                        sum3 = add(flat, row3 * row_bytes + at, token_x, x_at, sum3)
                    out[token, row0], out[token, row1] = tree_sum(sum0), tree_sum(sum1)
                    out[token, row2], out[token, row3] = tree_sum(sum2), tree_sum(sum3)

    return multiply


def llama_cpp_rows(type_size: int, start: Callable, add: Callable, finish: Callable) -> Callable:
    """Return the kernel that multiplies rows with converted activations.

    Args:
        type_size: bytes in a block.
        start: part `() -> state`, the accumulators at the beginning of a row.
        add: part `(flat, at, q, d, sums, block, state) -> state` that adds the block at byte `at`, the
            `block`th of its row.
        finish: part `(state) -> float32`, the sum of a row.

    Returns:
        Kernel `(raw (d_out, row_bytes) uint8, q, d, sums, out (n, d_out) float32, first, end)` that writes
        columns first … end - 1 of out; q, d and sums are those of `activations.Activations`.
    """

    @kernel
    def multiply(raw, q, d, sums, out, first, end):
        n_tokens, row_bytes = q.shape[0], raw.shape[1]
        flat = raw.reshape(-1)
        rows_at_once = end - first if n_tokens == 1 else max(2, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            half = (last - begin + 2) // 2
            for token in range(n_tokens):
                token_q, token_d, token_sums = q[token], d[token], sums[token]
                for row0 in range(begin, begin + half):
                    row1 = min(row0 + half, last)
                    state0, state1 = start(), start()
                    for block in range(row_bytes // type_size):
                        at = block * type_size
                        state0 = add(flat, row0 * row_bytes + at, token_q, token_d, token_sums, block, state0)
                        state1 = add(flat, row1 * row_bytes + at, token_q, token_d, token_sums, block, state1)
                    out[token, row0], out[token, row1] = finish(state0), finish(state1)

    return multiply


def llama_cpp_row_pairs(
    type_size: int, start: Callable, add: Callable, finish: Callable, odd: Callable
) -> Callable:
    """Return a kernel as `llama_cpp_rows` does, for types whose blocks ggml takes two at a time.

    Args:
        type_size: bytes in a block.
        start: as there.
        add: as there, for the blocks `block` and `block + 1`.
        finish: as there.
        odd: part `(flat, at, q, d, sums, block, total) -> total` that adds a last block without a second one
            to the finished sum.
    """

    @kernel
    def multiply(raw, q, d, sums, out, first, end):
        n_tokens, row_bytes = q.shape[0], raw.shape[1]
        flat = raw.reshape(-1)
        n_blocks = row_bytes // type_size
        rows_at_once = end - first if n_tokens == 1 else max(2, CACHED_BYTES // row_bytes)
        for begin in range(first, end, rows_at_once):
            last = min(begin + rows_at_once, end) - 1
            half = (last - begin + 2) // 2
            for token in range(n_tokens):
                token_q, token_d, token_sums = q[token], d[token], sums[token]
                for row0 in range(begin, begin + half):
                    row1 = min(row0 + half, last)
                    at0, at1 = row0 * row_bytes, row1 * row_bytes
                    state0, state1 = start(), start()
                    for block in range(0, n_blocks - 1, 2):
                        at = block * type_size
                        state0 = add(flat, at0 + at, token_q, token_d, token_sums, block, state0)
                        state1 = add(flat, at1 + at, token_q, token_d, token_sums, block, state1)
                    total0, total1 = finish(state0), finish(state1)
                    if n_blocks % 2:
                        block = n_blocks - 1
                        at = block * type_size
                        total0 = odd(flat, at0 + at, token_q, token_d, token_sums, block, total0)
                        total1 = odd(flat, at1 + at, token_q, token_d, token_sums, block, total1)
                    out[token, row0], out[token, row1] = total0, total1

    return multiply
