"""Choosing the next token."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf import errors
from refgguf.sampling import Sampling
from tests.support.models import TOKENS

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))


def probabilities(**settings):
    """Return what these settings make of the scores above."""
    return Sampling(**settings).probabilities(LOGITS)


def test_temperature_zero_takes_the_best():
    """At temperature 0 the best token has probability 1, and the first of equals wins."""
    assert probabilities().tolist() == [0, 1, 0, 0, 0]
    assert Sampling().choose(np.zeros(3), np.random.default_rng())[0] == 0


def test_temperature_one_gives_the_models_probabilities():
    """At temperature 1 without narrowing, the probabilities are the softmax of the scores."""
    assert probabilities(temperature=1) == pytest.approx([0.1, 0.4, 0.05, 0.25, 0.2], abs=1e-6)


def test_temperature_two_takes_the_square_root():
    """Temperature 2 makes probabilities proportional to the square roots of the model's."""
    expected = np.sqrt([0.1, 0.4, 0.05, 0.25, 0.2])
    assert probabilities(temperature=2) == pytest.approx(expected / expected.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.5}, [1, 3]),
        ({"top_p": 0.3}, [1]),
        ({"min_p": 0.6}, [1, 3]),
        ({"top_k": 3, "top_p": 0.6}, [1, 3]),  # 0.4 / 0.85 = 0.47 < 0.6 ≤ 0.76
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
    ],
)
def test_narrowing_keeps_the_best(settings, kept):
    """Top-k, top-p and min-p keep these tokens, with probabilities in the model's proportions."""
    probs = probabilities(temperature=1, **settings)
    assert np.flatnonzero(probs).tolist() == kept
    model = np.exp(LOGITS[kept])
    assert probs[kept] == pytest.approx(model / model.sum(), abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 1.1}, {"min_p": -0.1}],
)
def test_settings_out_of_range_are_refused(settings):
    """Impossible settings are an error that names the setting and its range."""
    with pytest.raises(errors.InputError, match="must lie between"):
        Sampling(**settings)


def test_scores_that_are_nan_are_refused():
    """NaN scores cannot be sampled from; the error says what they mean."""
    with pytest.raises(errors.ModelError, match="NaN"):
        Sampling().choose(np.array([0, np.nan]), np.random.default_rng())


def test_the_same_seed_gives_the_same_text(llama_model):
    """A seed fixes every choice; another seed gives another text."""
    texts = [
        [s.token for s in llama_model.generate(TOKENS, n=20, temperature=1.5, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_draws_follow_the_probabilities():
    """Many draws come in the shares that they were promised."""
    sampling, random = Sampling(temperature=1), np.random.default_rng(0)
    counts = np.bincount([sampling.choose(LOGITS, random)[0] for _ in range(20_000)], minlength=5) / 20_000
    # five standard deviations of a share of 0.4 among 20,000 draws
    assert counts == pytest.approx([0.1, 0.4, 0.05, 0.25, 0.2], abs=5 * (0.24 / 20_000) ** 0.5)
