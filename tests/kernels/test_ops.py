"""Activation functions, ALiBi, masks and multi-axis RoPE against float64 formulas and hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refgguf.blocks.mask import Mask
from refgguf.kernels.ops import activation as act
from refgguf.kernels.ops.attention import alibi_slopes, softmax
from refgguf.kernels.ops.rope import RopeScaling, rope_angles

X = np.concatenate([np.linspace(-30, 30, 4001), [-1e4, -88.8, -1e-30, 0.0, 1e-30, 88.8, 1e4]]).astype(
    np.float32
)
X64 = X.astype(np.float64)


def softplus(x):
    """Return log(1 + e^x) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def xielu(x, alpha_n, alpha_p, beta, eps):
    """Return xIELU as its paper has it."""
    positive, negative = softplus(alpha_p), beta + softplus(alpha_n)
    return np.where(
        x > 0, positive * x * x + beta * x, (np.expm1(np.minimum(x, eps)) - x) * negative + beta * x
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (act.sigmoid(X), 1 / (1 + np.exp(-np.clip(X64, -700, None)))),
        (act.silu(X), X64 / (1 + np.exp(-np.clip(X64, -700, None)))),
        (act.softplus(X), softplus(X64)),
        (act.softcap(X, 30.0), 30 * np.tanh(X64 / 30)),
        (act.relu_squared(X), np.maximum(X64, 0) ** 2),
        (act.gelu_quick(X), X64 / (1 + np.exp(-np.clip(1.702 * X64, -700, None)))),
        (act.gelu_erf(X), 0.5 * X64 * (1 + np.vectorize(math.erf)(X64 / math.sqrt(2)))),
        (act.xielu(X, 0.3, 0.8, 0.5, -1e-6), xielu(X64, 0.3, 0.8, 0.5, -1e-6)),
        (act.xielu(X, 1.5, 25.0, 0.5, -1e-6), xielu(X64, 1.5, 25.0, 0.5, -1e-6)),
    ],
    ids=[
        "sigmoid",
        "silu",
        "softplus",
        "softcap",
        "relu²",
        "quick GELU",
        "erf GELU",
        "xIELU",
        "xIELU, steep",
    ],
)
def test_activations_equal_float64(found, expected):
    """Each activation is its formula, to a few roundings of float32 (2^-24 each) in the largest intermediate."""
    assert found.dtype == np.float32
    # a few roundings, relative; erf and xIELU subtract what nearly cancels, so that errors of the size of x remain
    assert (np.abs(found - expected) <= 2e-6 * np.abs(expected) + 4e-7 * np.maximum(1, np.abs(X64))).all()


def test_what_is_masked_stays_masked_under_a_soft_cap():
    """Minus infinity stays; everything else lies within the cap."""
    capped = act.softcap(np.array([-np.inf, -1e9, 0.5, np.inf], np.float32), 50.0)
    assert capped[0] == -np.inf
    assert capped[[1, 3]].tolist() == [-50, 50]


def test_activations_do_not_depend_on_the_layout():
    """A transposed or sliced array gives the bits of its copy."""
    x = np.random.default_rng(0).standard_normal((33, 70)).astype(np.float32) * 4
    for function in (act.sigmoid, act.silu, act.gelu, act.softplus, act.gelu_table, act.relu_squared):
        assert np.array_equal(function(x.T), function(np.ascontiguousarray(x.T)))
        assert np.array_equal(function(x[:, 3:5]), function(x)[:, 3:5])


def test_slopes_of_alibi():
    """Eight heads have 1/2 … 1/256; with six, the two beyond four have odd members of the finer series."""
    assert alibi_slopes(8, 8.0).tolist() == [2.0**-k for k in range(1, 9)]
    assert alibi_slopes(6, 8.0).tolist() == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    assert alibi_slopes(1, 8.0).tolist() == [2.0**-8]


def test_a_sink_takes_a_share_and_gives_none():
    """With a sink as large as all scores, n keys get 1 / (n + 1) each."""
    probs = softmax(np.zeros((2, 3, 4), np.float32), np.array([0.0, -np.inf], np.float32))
    assert np.allclose(probs[0], 1 / 5)
    assert np.allclose(probs[1], 1 / 4)


@given(
    causal=st.booleans(),
    window=st.integers(0, 9),
    kind=st.sampled_from(["sliding", "chunk", "symmetric"]),
    n_keys=st.integers(1, 30),
    start=st.integers(0, 29),
)
def test_masks_are_the_ranges_that_llama_cpp_masks(causal, window, kind, n_keys, start):
    """For each query, the range of keys holds those that no rule excludes, and no others."""
    if kind != "symmetric" and window:
        causal = True  # windows behind a token belong to models that do not look ahead
    positions = np.arange(min(start, n_keys - 1), n_keys)
    first, last = Mask(causal, window, kind).limits(positions, n_keys)
    for p, a, b in zip(positions, first, last, strict=True):
        excluded = {  # llama-hparams.h, is_masked_swa
            "sliding": lambda k, p=p: p - k >= window,
            "chunk": lambda k, p=p: k < p // window * window,
            "symmetric": lambda k, p=p: abs(p - k) > window // 2,
        }[kind]
        seen = [k for k in range(n_keys) if not (causal and k > p) and not (window and excluded(k))]
        assert list(range(a, min(b, n_keys - 1) + 1)) == seen


def test_pairs_with_infinite_factors_stand_still():
    """An angle divided by infinity is zero: cosine 1, sine 0, whatever the position."""
    factors = np.array([1, np.inf, 2], np.float32)
    cos, sin = rope_angles(np.array([0, 5, 1000]), 6, 10000.0, factors)
    assert cos[:, 1].tolist() == [1, 1, 1]
    assert sin[:, 1].tolist() == [0, 0, 0]
    assert sin[2, 2] == pytest.approx(math.sin(1000 * 10000 ** (-4 / 6) / 2), abs=1e-4)


def test_yarn_leaves_fast_pairs_and_stretches_slow_ones():
    """Pairs that turn more than beta_fast times over the original context keep their angle, slow ones are stretched."""
    scaling = RopeScaling(scale=0.25, yarn=1.0, beta_fast=32, beta_slow=1, original_context=4096)
    plain = np.arctan2(*rope_angles(np.array([1]), 128, 10000.0)[::-1])[0]
    mixed = np.arctan2(*rope_angles(np.array([1]), 128, 10000.0, None, scaling)[::-1])[0]
    assert np.allclose(mixed[:20], plain[:20], rtol=1e-6)
    assert np.allclose(mixed[-15:], plain[-15:] / 4, rtol=1e-5)
    cos, sin = rope_angles(np.array([7]), 128, 10000.0, None, scaling)
    assert np.allclose(np.hypot(cos, sin), 1 + 0.1 * math.log(4), rtol=1e-6)
