"""Attention over chosen keys, where the choice leaves keys out, against llama.cpp; the suite's models choose all."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.test_variants_experts import CHOICE, DEEPSEEK, LATENT, NORMED, YARN
from tests.oracle.test_variants_llama_cpp import SLIDING, TOLERANCE, Variant, heads, logits_of_both
from tests.support import made
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

STREAMS = {"hyper_connection.count": 4, "hyper_connection.epsilon": 1e-4}
BALANCED = STREAMS | {"hyper_connection.sinkhorn_iterations": 3}
HUNYUAN = SPARSE | STREAMS | {"hyper_connection.magnitude": 1.7, "attention.indexer.types": [1, 0, 1]}
BOUNDED = {"swiglu_clamp_exp": [0.2, 0.3, 0.4]}
GLM = SPARSE | BALANCED | {
    "block_count": 5, "attention.head_count_kv": [1, 0, 1, 0, 1], "attention.indexer.types": [1, 0, 0, 0, 1],
    "attention.key_length": 20, "attention.indexer.top_k": 8, "attention.indexer.kpool": 4,
    "attention.indexer.kpool_select_tail": True, "rope.dimension_count": 0, "kda.head_dim": 8, "ssm.conv_kernel": 4,
    "kda.gate_lower_bound": -5.0,
}  # fmt: skip
COMPRESSED = DEEPSEEK | NORMED | INDEXER | BALANCED | heads(64) | {
    "leading_dense_block_count": 0, "expert_gating_func": 4, "swiglu_clamp_exp": [0.5, 0.0, 0.3],
    "attention.head_count_kv": 1, "attention.q_lora_rank": 20, "attention.sliding_window": 24,
    "attention.output_group_count": 2, "attention.output_lora_rank": 12, "rope.dimension_count": 8,
    "attention.compress_rope_freq_base": 500.0, "attention.compress_ratios": [0, 4, 128], "hash_layer_count": 1,
}  # fmt: skip
GLM_CHOICE = tuple(f"blk.{n}.exp_probs_b.bias" for n in range(1, 5))
BY_TOKEN = ("blk.1.exp_probs_b.bias", "blk.2.exp_probs_b.bias")
QWEN = {
    "expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 24, "block_count": 4,
    "full_attention_interval": 4, "hyper_connection.count": 3, "hyper_connection.low_rank": 5, **heads(16),
    "rope.dimension_count": 16, "rope.dimension_sections": [3, 3, 1, 0], "ssm.conv_kernel": 4, "ssm.state_size": 8,
    "ssm.inner_size": 32, "ssm.time_step_rank": 4, "ssm.group_count": 2, "attention.indexer.head_count": 12,
    "attention.indexer.key_length": 16, "attention.indexer.top_k": 8, "attention.compress_ratios": [0, 0, 0, 4],
    "ple.layers": [2], "ple.ngram_size": 3, "ple.heads_per_ngram": 2, "ple.conv_kernel": 3, "ple.eos_token_id": 5,
    "ple.layer_multipliers": made.Wide([11400714819323198485, 14029467366897019727, 1609587929392839161]),
    "ple.head_offsets": made.Wide([0, 31, 68, 97]), "ple.head_vocab_sizes": made.Wide([31, 37, 29, 41]),
    "embedding_length_per_layer_input": 12,
}  # fmt: skip
QWEN_SHARED = {f"blk.{n}.ffn_up_shexp.weight": (80, 48) for n in range(4)}

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
    Variant("hy_v4", "hy_v4", HUNYUAN | BOUNDED | {"expert_gating_func": 2}, present=CHOICE),
    Variant("hy_v4, three streams, all keys", "hy_v4",
            HUNYUAN | {"hyper_connection.count": 3, "attention.indexer.top_k": None}),
    Variant("glm5-next", "glm5-next", GLM, present=GLM_CHOICE),
    Variant("glm5-next, bounded", "glm5-next",
            GLM | {"swiglu_clamp_exp": [0.2, 0.3, 0.4, 0.2, 0.3], "swiglu_clamp_shexp": [0.1, 0.0, 0.2, 0.3, 0.1]},
            present=GLM_CHOICE),
    Variant("deepseek4", "deepseek4", COMPRESSED, present=BY_TOKEN, n_tokens=200),
    Variant("deepseek4, YaRN, matrices below each other", "deepseek4", COMPRESSED | YARN, present=BY_TOKEN,
            extra={f"blk.{n}.attn_output_a.weight": (24, 128) for n in range(3)}, n_tokens=200),
    Variant("qwen4exp, all keys", "qwen4exp", QWEN | {"attention.indexer.top_k": 1000}, extra=QWEN_SHARED),
]  # fmt: skip


def _tolerance(variant: Variant) -> float:
    return TOLERANCE_OF_FLASH if variant.flash else TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_logits_equal_llama_cpp(variant, tmp_path):
    """A model that attends to a few of its keys gives llama.cpp's logits, to float32 rounding."""
    found, expected = logits_of_both(variant, tmp_path)
    assert np.isfinite(found).all()
    assert nmse(found, expected) < _tolerance(variant)


def test_whole_blocks_equal_llama_cpp(tmp_path):
    """Where the incomplete block leaves nothing over of llama.cpp's budget of tokens, Qwen 4's choice is the same.

    Only the last layer attends, so a token's logits depend on no other token's choice.
    """
    variant = Variant("qwen4exp, blocks", "qwen4exp", QWEN, extra=QWEN_SHARED)
    found, expected = logits_of_both(variant, tmp_path)
    alike = np.arange(len(found)) % 4 == 2
    assert nmse(found[alike], expected[alike]) < TOLERANCE
    assert nmse(found[~alike], expected[~alike]) > TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS[:1] + VARIANTS[5:6], ids=lambda variant: variant.name)
def test_the_choice_matters(variant, tmp_path):
    """Another number of chosen keys gives other logits, so that agreement above means something."""
    few, _ = logits_of_both(variant, tmp_path)
    variant.changes = variant.changes | {"attention.indexer.top_k": 1000}
    many, expected = logits_of_both(variant, tmp_path)
    assert nmse(many, expected) < _tolerance(variant)
    assert nmse(few, many) > 1e-3
