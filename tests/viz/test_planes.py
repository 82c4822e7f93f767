"""Planes: cuts through tensors, and what pooling keeps of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refgguf.viz.scene.planes import ABSENT, ExpertCut, cut, pool, side_by_side


def test_pooling_takes_the_value_farthest_from_zero_with_its_sign():
    """Each group keeps the value of the greatest magnitude; the groups at the far edges are smaller."""
    values = np.array([[1, -5, 2, 0, 3], [4, 2, -1, 0, -7], [0, 0, 8, -8, 1]], np.float32)
    assert np.array_equal(pool(values, 2, 2), [[-5, 2, -7], [0, 8, 1]])


def test_pooling_by_one_copies_nothing_but_the_values():
    """Groups of one value are the values themselves, as float32."""
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    pooled = pool(values, 1, 1)
    assert pooled.dtype == np.float32
    assert np.array_equal(pooled, values)


def test_pooling_keeps_nan_and_infinity():
    """A NaN makes its group NaN; an infinity is farther from zero than anything else."""
    values = np.array([[1, np.nan, 3, -np.inf, 5, 2]], np.float32)
    assert np.array_equal(pool(values, 1, 2), [[np.nan, -np.inf, 5]], equal_nan=True)
    column = np.array([[1], [np.nan], [3], [np.inf], [5], [-7], [np.nan]], np.float32)
    assert np.array_equal(pool(column, 2, 1), [[np.nan], [np.inf], [-7], [np.nan]], equal_nan=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays(np.float32, (7, 11), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(1, 8),
    st.integers(1, 12),
)
def test_pooling_never_invents_nor_loses_the_largest_magnitude(values, row_step, col_step):
    """Every pooled cell is one of the values of its group, and none of the group is farther from zero."""
    pooled = pool(values, row_step, col_step)
    for r, c in np.ndindex(pooled.shape):
        group = values[r * row_step : (r + 1) * row_step, c * col_step : (c + 1) * col_step]
        assert pooled[r, c] in group
        assert abs(pooled[r, c]) == np.abs(group).max()


@pytest.mark.parametrize("transpose", [False, True])
def test_a_cut_knows_where_its_values_stand(transpose):
    """The index of every cell of a cut leads to that cell's value in the tensor."""
    tensor = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    plane = cut("x", ("token", "head", "d_head"), tensor, {1: 2}, transpose=transpose)
    assert plane.shape == ((4, 2) if transpose else (2, 4))
    assert plane.axes == (("d_head", "token") if transpose else ("token", "d_head"))
    for r, c in np.ndindex(plane.shape):
        assert tensor[plane.index(r, c)] == plane.value(r, c) == plane.values[r, c]


def test_a_cut_lays_the_last_dimensions_side_by_side():
    """Without fixed dimensions a three-dimensional tensor becomes token x everything else."""
    tensor = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    plane = cut("x", ("token", "head", "d_head"), tensor)
    assert plane.shape == (2, 12)
    for r, c in np.ndindex(plane.shape):
        assert tensor[plane.index(r, c)] == plane.value(r, c)


def test_an_experts_cut_shows_only_tokens_that_came_to_it():
    """Rows of other tokens are absent, the others hold the values of the slot in which the expert was chosen."""
    values = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4) + 1
    plane = ExpertCut("x", ("token", "d_ff"), 5, values, np.array([1, -1, 0]))
    cells = plane.pooled(1, 1)
    assert np.array_equal(cells[0], values[0, 1])
    assert (cells[1] == ABSENT).all()
    assert np.array_equal(cells[2], values[2, 0])
    assert plane.index(1, 0) is None
    assert plane.value(1, 0) is None
    assert values[plane.index(2, 3)] == plane.value(2, 3)


def test_an_experts_cut_pools_the_tokens_that_came_to_it():
    """A group of rows is absent only if no token of it came; otherwise absent rows do not count."""
    values = np.arange(4 * 1 * 4, dtype=np.float32).reshape(4, 1, 4) - 20
    plane = ExpertCut("x", ("token", "d_ff"), 0, values, np.array([-1, 0, -1, -1]))
    cells = plane.pooled(2, 2)
    assert np.array_equal(cells[0], [-16, -14])
    assert (cells[1] == ABSENT).all()


def test_matrices_of_heads_stand_side_by_side():
    """Each column of a head's matrix is a column of the plane, and every place leads back into the tensor."""
    values = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    plane = side_by_side("state", ("head", "d_value", "d_key"), values)
    assert plane.shape == (3, 10)
    assert plane.axes == ("d_value", "head·d_key")
    for row in range(3):
        for col in range(10):
            assert plane.value(row, col) == values[plane.index(row, col)]
    np.testing.assert_array_equal(plane.pooled(1, 5)[:, 1], values[1].max(axis=1))
    np.testing.assert_array_equal(plane.part(slice(1, 2), slice(4, 6))[0], [values[0, 1, 4], values[1, 1, 0]])
