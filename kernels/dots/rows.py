"""Kernels that multiply rows with one token, made from the arithmetic of one block.

A family's file says what one block adds to the accumulators; the loops over rows and blocks are here. Several
rows are under way at once, for each accumulator must wait for its last addition.
"""

from __future__ import annotations

from collections.abc import Callable

from refgguf.kernels.jit import kernel
from refgguf.kernels.simd import tree_sum, zero_f32x16


def exact_rows(block_size: int, type_size: int, add: Callable) -> Callable:
    """Return the kernel `(raw, x, out)` that multiplies rows with float32 activations in the fixed order.

    Args:
        block_size: values in a block, a multiple of 16.
        type_size: bytes in a block.
        add: part `(flat, at, x, x_at, total) -> total` that adds the block at byte `at`, weight i to lane
            i % 16, with one FMA for each 16 weights.
    """

    @kernel
    def multiply(raw, x, out):
        n_rows, row_bytes = raw.shape
        flat = raw.reshape(-1)
        last = n_rows - 1
        for first in range(0, n_rows, 4):
            # beyond the end the last row is computed again
            second, third, fourth = min(first + 1, last), min(first + 2, last), min(first + 3, last)
            a, b, c, d = first * row_bytes, second * row_bytes, third * row_bytes, fourth * row_bytes
            sum_a = sum_b = sum_c = sum_d = zero_f32x16()
            for block in range(row_bytes // type_size):
                at, x_at = block * type_size, block * block_size
                sum_a = add(flat, a + at, x, x_at, sum_a)
                sum_b = add(flat, b + at, x, x_at, sum_b)
                sum_c = add(flat, c + at, x, x_at, sum_c)
                sum_d = add(flat, d + at, x, x_at, sum_d)
            out[first], out[second] = tree_sum(sum_a), tree_sum(sum_b)
            out[third], out[fourth] = tree_sum(sum_c), tree_sum(sum_d)

    return multiply


def llama_cpp_rows(type_size: int, start: Callable, add: Callable, finish: Callable) -> Callable:
    """Return the kernel `(raw, q, d, sums, out)` that multiplies rows with converted activations.

    Args:
        type_size: bytes in a block.
        start: part `() -> state`, the accumulators at the beginning of a row.
        add: part `(flat, at, q, d, sums, block, state) -> state` that adds the block at byte `at`, the
            `block`th of its row.
        finish: part `(state) -> float32`, the sum of a row.
    """

    @kernel
    def multiply(raw, q, d, sums, out):
        n_rows, row_bytes = raw.shape
        flat = raw.reshape(-1)
        last = n_rows - 1
        for first in range(0, n_rows, 2):
            second = min(first + 1, last)
            state_a, state_b = start(), start()
            for block in range(row_bytes // type_size):
                at = block * type_size
                state_a = add(flat, first * row_bytes + at, q, d, sums, block, state_a)
                state_b = add(flat, second * row_bytes + at, q, d, sums, block, state_b)
            out[first], out[second] = finish(state_a), finish(state_b)

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
    def multiply(raw, q, d, sums, out):
        n_rows, row_bytes = raw.shape
        flat = raw.reshape(-1)
        last, n_blocks = n_rows - 1, row_bytes // type_size
        for first in range(0, n_rows, 2):
            second = min(first + 1, last)
            a, b = first * row_bytes, second * row_bytes
            state_a, state_b = start(), start()
            for block in range(0, n_blocks - 1, 2):
                state_a = add(flat, a + block * type_size, q, d, sums, block, state_a)
                state_b = add(flat, b + block * type_size, q, d, sums, block, state_b)
            sum_a, sum_b = finish(state_a), finish(state_b)
            if n_blocks % 2:
                block = n_blocks - 1
                sum_a = odd(flat, a + block * type_size, q, d, sums, block, sum_a)
                sum_b = odd(flat, b + block * type_size, q, d, sums, block, sum_b)
            out[first], out[second] = sum_a, sum_b

    return multiply
