"""Recurrences: against their plain twins, against float64, and in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.ops.norm import l2_norm, l2_norm_plain
from refgguf.kernels.ops.scan import (
    causal_conv,
    delta_scan,
    delta_scan_plain,
    ssm_scan,
    ssm_scan_plain,
    wkv6,
    wkv6_plain,
    wkv7,
    wkv7_plain,
)

N, HEADS, D, STATES = 7, 4, 5, 19


def _values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _shares(*shape: int, seed: int = 0) -> np.ndarray:
    return 1 / (1 + np.exp(-_values(*shape, seed=seed)))


HEADED = [_values(N, HEADS, STATES, seed=i) for i in range(6)]
DECAY = _shares(N, HEADS, STATES, seed=6)
SQUARE = _values(HEADS, STATES, STATES)
BC = [_values(N, 2, STATES, seed=i) for i in range(2)]
STEPS = [_values(N, HEADS, D), _shares(N, HEADS)]
# name → kernel, twin, what runs over tokens, what does not, state, whether exp stands inside
CASES = {
    "ssm, a number a state": (
        ssm_scan, ssm_scan_plain, lambda p, c: (*p[:2], c[0], *p[2:]), [*STEPS, *BC],
        [-_shares(HEADS, STATES)], _values(HEADS, D, STATES), True,
    ),
    "ssm, a number a head": (
        ssm_scan, ssm_scan_plain, lambda p, c: (*p[:2], c[0], *p[2:]), [*STEPS, *BC],
        [-_shares(HEADS, 1)], _values(HEADS, D, STATES), True,
    ),
    "wkv6": (
        wkv6, wkv6_plain, lambda p, c: (*p, *c), [HEADED[0], DECAY, *HEADED[1:3]],
        [_values(HEADS, STATES)], SQUARE, False,
    ),
    "wkv7": (
        wkv7, wkv7_plain, lambda p, c: p, [HEADED[0], DECAY, *HEADED[1:5]], [], SQUARE, False,
    ),
    "delta, a number a head": (
        delta_scan, delta_scan_plain, lambda p, c: p,
        [*HEADED[:2], _values(N, HEADS, D), DECAY[:, :, :1].copy(), _shares(N, HEADS)], [],
        _values(HEADS, D, STATES), False,
    ),
    "delta, a number a channel": (
        delta_scan, delta_scan_plain, lambda p, c: p,
        [*HEADED[:2], _values(N, HEADS, D), DECAY, _shares(N, HEADS)], [], _values(HEADS, D, STATES), False,
    ),
}  # fmt: skip
every_recurrence = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_recurrence
def test_kernels_equal_their_plain_twins(case):
    """Kernel and twin give the same bits; where exp stands inside, the same to its last bits."""
    kernel, plain, join, per_token, fixed, state, inexact = case
    for found, expected in zip(
        kernel(*join(per_token, fixed), state), plain(*join(per_token, fixed), state), strict=True
    ):
        assert found.dtype == expected.dtype == np.float32
        if inexact:  # exp differs by 1 or 2 units of 2^-24, once a token, and signs may cancel
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        else:
            assert np.array_equal(found, expected)


@every_recurrence
def test_plain_twins_equal_the_same_in_float64(case):
    """The twin in float64 arithmetic gives the same to float32 rounding, so no order of sums is ill-chosen."""
    _, plain, join, per_token, fixed, state, _ = case
    wide = [x.astype(np.float64) for x in per_token], [x.astype(np.float64) for x in fixed]
    for found, expected in zip(
        plain(*join(per_token, fixed), state), plain(*join(*wide), state.astype(np.float64)), strict=True
    ):
        # a few dozen roundings of 6e-8 at each of 7 tokens, each at most as large as the largest value
        assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


@every_recurrence
def test_pieces_and_given_arrays(case):
    """In pieces, each from the state that the last left, the bits are the same; no array given is changed."""
    kernel, _, join, per_token, fixed, state, _ = case
    before = [x.copy() for x in (*per_token, *fixed, state)]
    whole, last = kernel(*join(per_token, fixed), state)
    parts, now = [], state
    for a, b in ((0, 1), (1, 4), (4, N)):
        y, now = kernel(*join([x[a:b] for x in per_token], fixed), now)
        parts.append(y)
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(now, last)
    assert all(np.array_equal(a, b) for a, b in zip((*per_token, *fixed, state), before, strict=True))


def test_one_step_by_hand():
    """One token through each recurrence of one head with one or two channels, worked out by hand."""
    one = np.ones((1, 1, 1), np.float32)
    two, three, half = 2 * one, 3 * one, np.full((1, 1), 0.5, np.float32)
    y, state = ssm_scan(three, half, np.zeros((1, 1), np.float32), two, one, one)
    assert state.item() == 1 + 3 * 0.5 * 2
    assert y.item() == 4
    y, state = wkv6(two, half[None], three, one, half, one)  # r, w, k, v, u
    assert y.item() == (3 * 0.5 + 1) * 2
    assert state.item() == 0.5 + 3
    y, state = wkv7(two, half[None], three, one, -one, half[None], one)  # r, w, k, v, a, b
    assert state.item() == 0.5 - 0.5 + 3
    assert y.item() == 6
    y, state = delta_scan(two, one, three, half[None], half, one)  # q, k, v, decay, beta
    assert state.item() == 0.5 + (3 - 0.5) * 0.5
    assert y.item() == 3.5


def test_convolution_sees_the_tokens_before():
    """A window over three tokens sums them with its weights, the oldest first, and goes on from what it kept."""
    x, weight = _values(N, 2), np.array([[1, 10, 100], [0, 0, 1]], np.float32)
    y, kept = causal_conv(x, np.zeros((2, 2), np.float32), weight)
    assert np.array_equal(y[0], x[0] * np.array([100, 1], np.float32))
    assert np.allclose(y[4, 0], x[2, 0] + 10 * x[3, 0] + 100 * x[4, 0], rtol=1e-6)
    assert np.array_equal(y[:, 1], x[:, 1])
    assert np.array_equal(kept, x[-2:])
    first, state = causal_conv(x[:1], np.zeros((2, 2), np.float32), weight)
    rest, state = causal_conv(x[1:], state, weight)
    assert np.array_equal(np.concatenate([first, rest]), y)
    assert np.array_equal(state, kept)


def test_a_window_of_one_token_keeps_nothing():
    """A window over one token scales it and keeps none."""
    x = _values(3, 2)
    y, kept = causal_conv(x, np.zeros((0, 2), np.float32), np.full((2, 1), 2, np.float32))
    assert np.array_equal(y, 2 * x)
    assert kept.shape == (0, 2)


def test_l2_norm():
    """Rows get length 1; a row of zeros stays; the kernel gives its twin's bits."""
    x = _values(6, 33)
    x[2] = 0
    found = l2_norm(x, 1e-12)
    assert np.array_equal(found, np.array([l2_norm_plain(row, 1e-12) for row in x]))
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    assert np.allclose(np.delete(lengths, 2), 1, atol=1e-6)
    assert not found[2].any()
    assert np.array_equal(l2_norm(np.array([[3.0, 4.0]], np.float32), 10), np.array([[0.3, 0.4]], np.float32))
