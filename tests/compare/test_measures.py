"""Measures of difference, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.compare import measures


def test_relative_l2_is_the_length_of_the_difference():
    """(3, 4) against (3, 9): the difference has length 5, as has the reference."""
    assert measures.relative_l2([3, 4], [3, 9]) == 1
    assert measures.relative_l2([3, 4], [3, 4]) == 0
    assert measures.relative_l2([0, 0], [0, 1]) == float("inf")
    assert measures.relative_l2([0, 0], [0, 0]) == 0


def test_not_a_number_in_both_is_no_difference_and_in_one_is():
    """Where both computed NaN they agree; where only one did, no number says how far apart they are."""
    nan = float("nan")
    assert measures.relative_l2([3, nan, 4], [3, nan, 9]) == 1
    assert measures.largest_difference([nan, 2], [nan, 5]) == 3
    assert not np.isfinite(measures.relative_l2([3, nan], [3, 4]))
    assert not np.isfinite(measures.relative_l2([3, 4], [3, nan]))


def test_cosine():
    """Parallel 1, orthogonal 0, opposite -1, undefined against zero."""
    assert measures.cosine([1, 2], [2, 4]) == pytest.approx(1)
    assert measures.cosine([1, 0], [0, 5]) == 0
    assert measures.cosine([1, 0], [-2, 0]) == -1
    assert np.isnan(measures.cosine([1, 0], [0, 0]))


def test_signal_to_noise_counts_decibels_of_power():
    """An error of a tenth of the length is 20 dB; none at all is infinite."""
    assert measures.signal_to_noise([10, 0], [11, 0]) == pytest.approx(20)
    assert measures.signal_to_noise([1], [1]) == float("inf")
    assert measures.signal_to_noise([0], [1]) == float("-inf")


def test_masked_scores_do_not_count():
    """Places where both are minus infinity are left out."""
    a, b = np.array([3, 4, -np.inf]), np.array([3, 9, -np.inf])
    assert measures.relative_l2(a, b) == 1
    assert measures.largest_difference(a, b) == 5


def test_jensen_shannon_distance_of_simple_patterns():
    """0 for equal rows, 1 for disjoint ones; ½,½ against 1,0 is worked out below."""
    assert measures.jensen_shannon_distance([[0.5, 0.5]], [[0.5, 0.5]])[0] == 0
    assert measures.jensen_shannon_distance([[1, 0]], [[0, 1]])[0] == 1
    # middle (¾, ¼): ½·[½·log2(⅔) + ½·log2(2)] + ½·[log2(4/3)]
    expected = 0.5 * (0.5 * np.log2(2 / 3) + 0.5) + 0.5 * np.log2(4 / 3)
    assert measures.jensen_shannon_distance([[0.5, 0.5]], [[1, 0]])[0] == pytest.approx(expected**0.5)


def test_kl_divergence_of_simple_predictions():
    """P = (½, ½) against Q = (¼, ¾): ½·ln 2 + ½·ln ⅔ nats."""
    a, b = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    assert measures.kl_divergence(a, b)[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert measures.kl_divergence(a, a + 7)[0] == pytest.approx(0)  # a shift of all logits means nothing
    assert measures.kl_divergence([[0, -np.inf]], [[0, -np.inf]])[0] == 0


def test_top_agreement_counts_shared_entries():
    """Of the two best entries one is shared; the best one is not."""
    a, b = np.array([[9, 8, 1, 0]]), np.array([[0, 8, 1, 9]])
    assert measures.top_agreement(a, b, 1)[0] == 0
    assert measures.top_agreement(a, b, 2)[0] == 0.5
    assert measures.top_agreement(a, b, 99)[0] == 1


def test_mean_and_standard_error():
    """1, 2, 3: mean 2, standard deviation 1, error 1/√3."""
    assert measures.mean_and_error([1, 2, 3]) == (2, pytest.approx(3**-0.5))
    assert np.isnan(measures.mean_and_error([1])[1])


def test_differing_bits_counts_values_and_steps_of_float32():
    """Neighbours are one step apart, across zero too; NaN beside NaN and zeros of both signs do not differ."""
    one = np.float32(1)
    a = np.array([1, 1, 0, np.nan, 0, -np.inf, 5e-45], np.float32)
    b = np.array([1, np.nextafter(one, one * 2), -0.0, np.nan, 1e-45, -np.inf, -1e-45], np.float32)
    assert measures.differing_bits(a, a) == (0, 0)
    assert measures.differing_bits(a, b) == (3, 5)
    assert measures.differing_bits(np.array([1, 5], np.int32), np.array([1, 7], np.int32)) == (1, 2)
    assert measures.differing_bits(np.zeros(0, np.float32), np.zeros(0, np.float32)) == (0, 0)
