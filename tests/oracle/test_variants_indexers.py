"""Attention over chosen keys, where the choice leaves keys out, against llama.cpp; the suite's models choose all."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.test_variants_experts import CHOICE, DEEPSEEK, LATENT, NORMED, YARN
from tests.oracle.test_variants_llama_cpp import SLIDING, TOLERANCE, Variant, heads, logits_of_both
from tests.support import llama_cpp
from tests.support.archsuite import nmse

pytestmark = pytest.mark.oracle
# flash attention rounds what it mixes to half precision: 2^-11, squared, at the output of each of two layers; a choice
# that such a rounding could turn (the scores differ by less than that) would show as an error of 1e-3 and more
TOLERANCE_OF_FLASH = 1e-6

# llama.cpp's rotation of the indexer's queries and keys wants 64 channels; top_k well below the 80 tokens
INDEXER = {
    "attention.indexer.head_count": 12,
    "attention.indexer.key_length": 64,
    "attention.indexer.top_k": 9,
}
SPARSE = DEEPSEEK | LATENT | NORMED | INDEXER | {"expert_gating_func": 2}
BLOCKS = DEEPSEEK | NORMED | INDEXER | heads(16) | {
    "expert_gating_func": 2, "rope.dimension_count": 8, "attention.indexer.head_count": 2,
    "attention.indexer.block_size": 4, "attention.indexer.local_blocks": 2, "attention.indexer.top_k": 5,
    "block_count": 2,
}  # fmt: skip
WINDOWS = SLIDING | {
    "attention.sliding_window_pattern": [False, True, False], "attention.key_length_mla_swa": 20,
    "attention.value_length_mla_swa": 16, "attention.kv_lora_rank_swa": 20, "rope.freq_base_swa": 500.0,
    "attention.key_length_swa": 28, "attention.value_length_swa": 20, "attention.indexer.types": [1, 0, 1],
}  # fmt: skip

VARIANTS = [
    Variant("deepseek32", "deepseek32", SPARSE, present=CHOICE),
    Variant("deepseek32, YaRN", "deepseek32",
            SPARSE | YARN | {"rope.scaling.yarn_log_multiplier": 0.1}, present=CHOICE),
    Variant("glm-dsa, every layer", "glm-dsa", SPARSE, present=(*CHOICE, "*indexer.k_norm.bias")),
    Variant("glm-dsa, shared choices", "glm-dsa",
            SPARSE | {"block_count": 5, "attention.indexer.types": [1, 0, 0, 1, 0]}),
    Variant("dots3note", "dots3note", SPARSE | WINDOWS, present=CHOICE),
    Variant("minimax-m3, blocks", "minimax-m3", BLOCKS, present=CHOICE[:1], flash=True),
    Variant("minimax-m3, own block alone", "minimax-m3",
            BLOCKS | {"attention.indexer.top_k": 1, "attention.indexer.local_blocks": 1},
            present=CHOICE[:1], flash=True),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _oracle_ends():
    """End llama.cpp's process after the last test."""
    yield
    llama_cpp.close()


def _tolerance(variant: Variant) -> float:
    return TOLERANCE_OF_FLASH if variant.flash else TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_logits_equal_llama_cpp(variant, tmp_path):
    """A model that attends to a few of its keys gives llama.cpp's logits, to float32 rounding."""
    found, expected = logits_of_both(variant, tmp_path)
    assert np.isfinite(found).all()
    assert nmse(found, expected) < _tolerance(variant)


@pytest.mark.parametrize("variant", VARIANTS[:1] + VARIANTS[5:6], ids=lambda variant: variant.name)
def test_the_choice_matters(variant, tmp_path):
    """Another number of chosen keys gives other logits, so that agreement above means something."""
    few, _ = logits_of_both(variant, tmp_path)
    variant.changes = variant.changes | {"attention.indexer.top_k": 1000}
    many, expected = logits_of_both(variant, tmp_path)
    assert nmse(many, expected) < _tolerance(variant)
    assert nmse(few, many) > 1e-3
