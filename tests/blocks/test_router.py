"""The router of experts and gated units, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.blocks.gated import GatedUnit
from refgguf.blocks.router import LEAST_WEIGHT_SUM, Router, top_k
from refgguf.blocks.scope import Scope, Weights
from refgguf.recorder import Recorder
from refgguf.tensor import Tensor
from tests.support.tap_graph import ShakenTensor

LOGITS = np.array([[1.0, 4.0, 3.0, 2.0, -1.0, 3.5, 0.0, 0.5]], np.float32)


class Plain(ShakenTensor):
    """A float32 tensor in memory."""

    def __init__(self, values: np.ndarray):
        self.values, self.shape = np.ascontiguousarray(values, np.float32), values.shape


def routed(router: Router, bias: np.ndarray | None = None, stream: np.ndarray | None = None):
    """Return choice and weights of a router with the identity as its matrix, so that what it reads are its scores."""
    tensors: dict[str, Tensor | Plain] = {"ffn_gate_inp.weight": Plain(np.eye(8, dtype=np.float32))}
    if bias is not None:
        tensors["exp_probs_b.bias"] = Plain(bias)
    scope = Scope(Weights(tensors), Recorder({}), np.arange(1), np.arange(1))
    scope.common["resid_pre"] = stream
    return router(LOGITS, scope)


def test_softmax_shares_of_all_normed_over_the_chosen():
    """The three best of eight, with weights e^score over the sum of the three."""
    topk, weights = routed(Router(8, 8, 3))
    e = np.exp([4.0, 3.5, 3.0])
    assert topk.tolist() == [[1, 5, 2]]
    np.testing.assert_allclose(weights, [e / e.sum()], rtol=1e-6)


def test_weights_that_are_not_normed_are_shares_of_all_experts():
    """Without norming, a weight is e^score over the sum of all eight, times the scale."""
    _, weights = routed(Router(8, 8, 2, normed=False, scale=2.5))
    e = np.exp(LOGITS[0].astype(np.float64))
    np.testing.assert_allclose(weights, [2.5 * e[[1, 5]] / e.sum()], rtol=1e-6)


def test_softmax_over_the_chosen_alone():
    """With late shares the scores of the chosen experts alone enter the softmax."""
    topk, weights = routed(Router(8, 8, 2, shares="chosen", normed=False))
    e = np.exp([4.0, 3.5])
    assert topk.tolist() == [[1, 5]]
    np.testing.assert_allclose(weights, [e / e.sum()], rtol=1e-6)


@pytest.mark.parametrize(
    ("shares", "share"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("sqrt_softplus", lambda x: np.sqrt(np.log1p(np.exp(x))))],
)
def test_shares_of_each_expert_by_itself(shares, share):
    """Sigmoid and √softplus treat each score alone."""
    _, weights = routed(Router(8, 8, 2, shares=shares, normed=False))
    np.testing.assert_allclose(weights, [share(np.array([4.0, 3.5]))], rtol=1e-6)


def test_a_choice_bias_changes_who_is_chosen_and_not_how_much_they_count():
    """Expert 4 is last by its share and first with its bias; its weight is its share without the bias."""
    bias = np.array([0, 0, 0, 0, 1, 0, 0, 0], np.float32)
    topk, weights = routed(Router(8, 8, 2, shares="sigmoid", bias="exp_probs_b.bias", normed=False), bias)
    assert topk.tolist() == [[4, 1]]
    np.testing.assert_allclose(weights, [1 / (1 + np.exp([1.0, -4.0]))], rtol=1e-6)


def test_experts_outside_the_best_groups_are_not_chosen():
    """Of four pairs, those with the sums 5 (0, 1) and 5 (2, 3) beat 2.5 (4, 5) and 0.5, so expert 5 is out."""
    topk, _ = routed(Router(8, 8, 3, by_score=True, n_groups=4, n_groups_used=2))
    assert topk.tolist() == [[1, 2, 3]]


def test_a_sum_of_weights_does_not_fall_below_the_smallest_half():
    """Weights near zero are divided by the smallest normal half-precision number, not by their sum."""
    bias = np.array([-20] * 8, np.float32)
    tiny = Router(8, 8, 1, shares="sigmoid", reads="resid_pre")
    _, weights = routed(tiny, stream=bias[None])
    np.testing.assert_allclose(weights, [[1 / (1 + np.exp(20.0)) / float(LEAST_WEIGHT_SUM)]], rtol=1e-5)


def test_a_router_may_read_what_entered_the_layer():
    """With `reads` the stream decides, not what the experts read."""
    topk, _ = routed(Router(8, 8, 1, reads="resid_pre"), stream=LOGITS[:, ::-1])
    assert topk.tolist() == [[6]]


def test_equal_shares_are_chosen_by_number():
    """Among equals the lower number comes first."""
    assert top_k(np.array([[1, 2, 2, 1]], np.float32), 3).tolist() == [[1, 2, 0]]


GATE, UP = np.array([-9.0, 0.5, 3.0, 9.0], np.float32), np.array([2.0, -8.0, 1.0, 8.0], np.float32)


def silu(x):
    """Return x · sigmoid(x) in float64."""
    return x / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (GatedUnit("silu"), silu(GATE) * UP),
        (GatedUnit("silu", 2.0), silu([-9.0, 0.5, 2.0, 2.0]) * [2.0, -2.0, 1.0, 2.0]),
        (GatedUnit("silu", 2.0, late=True), np.minimum(silu(GATE), 2.0) * [2.0, -2.0, 1.0, 2.0]),
        (GatedUnit("relu"), [0.0, -4.0, 3.0, 72.0]),
        (
            GatedUnit("swiglu_oai", 7.0),
            [g / (1 + np.exp(-1.702 * g)) * (u + 1) for g, u in ((-9, 2), (0.5, -7), (3, 1), (7, 7))],
        ),
    ],
)
def test_gated_units(unit, expected):
    """Each form is what its drawing says, to float32 rounding."""
    np.testing.assert_allclose(unit(GATE, UP, "exact"), expected, rtol=1e-5)
    assert unit.formula
