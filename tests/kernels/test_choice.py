"""Choosing the best of each row."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.ops.choice import best, best_plain


def test_a_row_by_hand():
    """The two largest are marked; of equals the earlier; what is masked never, even where too few are left."""
    x = np.array([[3, 1, 2, 2], [0, -np.inf, -np.inf, -np.inf], [5, 5, 5, 5]], np.float32)
    assert best(x, 2).tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert best(x, 4).tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_equals_a_stable_sort(n):
    """Random rows, with many equal values and masked ends, give what a stable sort gives."""
    random = np.random.default_rng(n)
    x = random.integers(-3, 3, (2, 9, 33)).astype(np.float32)
    x[..., 20:] = np.where(random.random((2, 9, 13)) < 0.7, -np.inf, x[..., 20:])
    assert np.array_equal(best(x, n), best_plain(x, n))


def test_what_follows_does_not_matter():
    """A row that sees few keys chooses the same ones however many masked ones follow."""
    x = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    longer = np.pad(x, ((0, 0), (0, 50)), constant_values=-np.inf)
    assert np.array_equal(best(longer, 4)[:, :12], best(x, 4))
    assert not best(longer, 4)[:, 12:].any()
