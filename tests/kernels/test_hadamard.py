"""The Walsh-Hadamard transform."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.ops.hadamard import rotate, rotate_plain


def test_by_hand():
    """Two and four numbers."""
    assert rotate(np.array([[3, 1]], np.float32), 2) * np.sqrt(2) == pytest.approx(np.array([[4, 2]]))
    assert rotate(np.array([1, 2, 3, 4], np.float32), 4).tolist() == [5, -1, -2, 0]


@pytest.mark.parametrize(("d", "n"), [(64, 64), (128, 128), (192, 64), (8, 1)])
def test_equals_the_matrix_and_keeps_products(d, n):
    """It gives what the matrix gives, to float32 rounding; products of vectors stay; so does each row beside others."""
    x, y = np.random.default_rng(d).standard_normal((2, 5, 3, d)).astype(np.float32)
    # log2(n) additions and one product, each to 2^-24 of numbers that reach 4
    assert np.abs(rotate(x, n) - rotate_plain(x, n)).max() < 9 * 2**-22
    assert np.sum(rotate(x, n) * rotate(y, n), axis=-1) == pytest.approx(np.sum(x * y, axis=-1), abs=1e-4)
    assert np.array_equal(rotate(x[2:3], n), rotate(x, n)[2:3])
