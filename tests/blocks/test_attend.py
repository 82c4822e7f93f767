"""Keys that are chosen: gathered or masked, the scores are the same."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.blocks import attend, compressed_attention
from refgguf.kernels.ops.attention import GgmlOrder, attention_scores
from tests.support import archsuite

CHOOSING = ["deepseek32-moe", "glm-dsa-moe", "dots3note-moe", "minimax-m3-moe", "qwen4exp-moe", "hy_v4-moe"]
CHOOSING.append("deepseek4-moe")


@pytest.mark.parametrize("order", [None, GgmlOrder(), GgmlOrder(together=True, padded=True)])
@pytest.mark.parametrize("by_group", [False, True])
def test_gathered_scores_have_the_bits_of_all(by_group, order):
    """Products with gathered keys are those with all keys, bit for bit, and minus infinity where none is chosen."""
    random = np.random.default_rng(0)
    q = random.standard_normal((5, 6, 40)).astype(np.float32)
    keys = random.standard_normal((2, 100, 40)).astype(np.float32)
    chosen = (random.random((2, 5, 90) if by_group else (5, 90)) < 0.1).astype(np.float32)
    chosen[..., 3, :] = 0
    first, last = np.array([0, 10, 0, 0, 5]), np.array([89, 60, 0, 80, 30])
    every = attention_scores(q, keys, 90, first, last, 0.3, order)
    mask = np.repeat(chosen, 3, axis=0) if by_group else chosen
    expected = np.where(mask != 0, every, np.float32(-np.inf))
    found = attend.scores_of_chosen(q, keys, chosen, first, last, 0.3, order)
    assert np.array_equal(found, expected) and np.isfinite(found).any()


def test_gathering_pays_where_few_are_chosen():
    """Few keys of many are gathered, half of them not, nor those of a single head in ggml's order."""
    few, half = np.zeros((3, 100)), np.zeros((3, 100))
    few[:, :10], half[:, :50] = 1, 1
    assert attend.pays(few, 8, None) and not attend.pays(half, 8, None)
    assert attend.pays(few, 1, None) and not attend.pays(few, 1, GgmlOrder(together=True))
    assert attend.pays(np.zeros((0, 100)), 8, None)


@pytest.mark.testdata
@pytest.mark.parametrize("numerics", ["exact", "llama.cpp"])
@pytest.mark.parametrize("name", CHOOSING if archsuite.folder() else [None])
def test_models_have_the_same_bits_either_way(name, numerics, tmp_path, monkeypatch):
    """Every tap of a model that chooses keys is the same whether they are gathered always or never."""
    if name is None:
        pytest.skip("REFGGUF_TESTDATA is not set, or there is no such model in its archsuite")
    case, called = archsuite.Case(name, tmp_path / "m.gguf").choosy, []
    case.write()
    monkeypatch.setattr(attend, "GATHERING", 1e9)
    masked = case.model.trace(case.tokens, numerics=numerics)
    true = attend.scores_of_chosen
    for module in (attend, compressed_attention):
        monkeypatch.setattr(module, "scores_of_chosen", lambda *given: called.append(1) or true(*given))
    monkeypatch.setattr(attend, "GATHERING", 0)
    gathered = case.model.trace(case.tokens, numerics=numerics)
    # heads that choose alone keep to ggml's order, which depends on how many keys there are
    assert called or (numerics == "llama.cpp" and name != "qwen4exp-moe")
    for tap in masked:
        assert np.array_equal(masked[tap], gathered[tap]), tap
