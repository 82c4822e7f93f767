"""Experts and latent attention as real files have them and small fixtures do not, against llama.cpp."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.test_variants_llama_cpp import (
    QKV_BIASES,
    SLIDING,
    TIED,
    TOLERANCE,
    Variant,
    heads,
    logits_of_both,
    scaling,
)
from tests.support.archsuite import nmse

pytestmark = pytest.mark.oracle
# GELU is looked up by both in the same table, where a last bit may decide between neighbours
TOLERANCE_OF_TABLE = 1e-7

EXPERTS = {"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 24}
WIDE = EXPERTS | {"expert_feed_forward_length": None}  # as wide as the feed-forward length
NORMED = {"expert_weights_norm": True, "expert_weights_scale": 2.5}
GROUPS = {"expert_group_count": 4, "expert_group_used_count": 2}
SHARED = {"expert_shared_count": 2}
LEADING = {"leading_dense_block_count": 1, "block_count": 3}
SINGLE = {"attention.head_count_kv": 4}  # every head has keys of its own
DEEPSEEK = EXPERTS | SHARED | LEADING
CHOICE = tuple(f"blk.{n}.exp_probs_b.bias" for n in (1, 2))
AFMOE_CHOICE = tuple(f"blk.{n}.exp_probs_b.bias" for n in range(1, 5))
PATTERN = {"attention.sliding_window_pattern": [True, False, True]} | SLIDING
LATENT = {
    "attention.head_count_kv": 1, "attention.kv_lora_rank": 20, "attention.q_lora_rank": 28,
    "attention.key_length": 20 + 8, "attention.value_length": 20, "attention.key_length_mla": 24,
    "attention.value_length_mla": 12, "rope.dimension_count": 8,
}  # fmt: skip
UNFOLDED = {
    "attention.head_count_kv": 4, "attention.kv_lora_rank": 20, "attention.q_lora_rank": 28,
    "attention.key_length": 24, "attention.value_length": 12, "rope.dimension_count": 8,
}  # fmt: skip
YARN = scaling("yarn", 16.0, original_context_length=40)


def routers(*layers: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors by which a file says which layers have experts."""
    return {f"blk.{n}.ffn_gate_inp.weight": (8, 48) for n in layers}


def merged(*layers: int) -> dict[str, tuple[int, ...]]:
    """Return gate and up of experts in one matrix."""
    return {f"blk.{n}.ffn_gate_up_exps.weight": (8, 48, 48) for n in layers}


VARIANTS = [
    Variant("llama, scale that is not for it", "llama", WIDE | {"expert_weights_scale": 1.7}),
    Variant("llama, one expert of eight", "llama", WIDE | {"expert_used_count": 1}),
    Variant("qwen2moe, biases", "qwen2moe", EXPERTS | {"expert_shared_feed_forward_length": 40}, present=QKV_BIASES),
    Variant("qwen2moe, shared as wide as dense", "qwen2moe", EXPERTS),
    Variant("qwen3moe, tied", "qwen3moe", EXPERTS, absent=TIED),
    Variant("qwen3moe, width from dense", "qwen3moe",
            WIDE | {"expert_used_count": 5}),
    Variant("qwen3moe, YaRN", "qwen3moe", EXPERTS | YARN),
    Variant("qwen3moe, scales", "qwen3moe", EXPERTS,
            present=("*ffn_gate_exps.scale", "*ffn_up_exps.scale", "*ffn_down_exps.scale")),
    Variant("qwen3vlmoe, pairs of no axis", "qwen3vlmoe", EXPERTS | {"rope.dimension_sections": [2, 1, 1, 0]}),
    Variant("gpt-oss, YaRN", "gpt-oss", EXPERTS | SLIDING | YARN | {"block_count": 3},
            present=(*QKV_BIASES, "*attn_output.bias", "*ffn_gate_inp.bias", "*ffn_gate_exps.bias",
                     "*ffn_up_exps.bias", "*ffn_down_exps.bias")),
    Variant("deepseek", "deepseek", DEEPSEEK | {"expert_weights_scale": 1.5}),
    Variant("dots1, choice bias", "dots1", DEEPSEEK | NORMED | {"expert_gating_func": 2, **SINGLE},
            present=CHOICE),
    Variant("dots1, groups", "dots1", DEEPSEEK | NORMED | GROUPS | {"expert_gating_func": 2, **SINGLE},
            present=CHOICE),
    Variant("dots1, softmax in groups", "dots1",
            DEEPSEEK | GROUPS | {"expert_gating_func": 1, **SINGLE}),
    Variant("glm4moe, no sections", "glm4moe", DEEPSEEK | NORMED | {"rope.dimension_count": 6},
            present=(*CHOICE, "blk.0.attn_q_norm.weight"), absent=TIED),
    Variant("glm4moe, air", "glm4moe", DEEPSEEK | NORMED | {"rope.dimension_count": 6, "expert_gating_func": 2},
            present=(*CHOICE, *QKV_BIASES)),
    Variant("bailingmoe, normed", "bailingmoe", EXPERTS | SHARED | {"expert_weights_norm": True}),
    Variant("bailingmoe2, groups", "bailingmoe2",
            DEEPSEEK | NORMED | GROUPS | {"expert_gating_func": 2, "expert_shared_feed_forward_length": 20},
            present=(*CHOICE, "*attn_qkv.weight")),
    Variant("llama4, Scout", "llama4",
            EXPERTS | {"expert_used_count": 1, "interleave_moe_layer_step": 1, "block_count": 5},
            present=("rope_freqs.weight",)),
    Variant("llama4, Maverick", "llama4",
            EXPERTS | {"expert_count": 128, "expert_used_count": 1, "interleave_moe_layer_step": 2, "block_count": 4}),
    Variant("grok-1", "grok", WIDE, absent=TIED, gelu=True),
    Variant("grok-2", "grok",
            EXPERTS | {"logit_scale": 0.4, "final_logit_softcapping": 50.0, "attn_logit_softcapping": 20.0} | YARN,
            extra={f"blk.{n}.{name}.weight": shape for n in (0, 1) for name, shape in
                   (("ffn_up", (80, 48)), ("ffn_gate", (80, 48)), ("ffn_down", (48, 80)))}, gelu=True),
    Variant("phimoe", "phimoe", WIDE | {"attention.sliding_window": 24},
            present=("output.bias", *QKV_BIASES, "*attn_output.bias")),
    Variant("minimax-m2, partial RoPE", "minimax-m2",
            EXPERTS | heads(16) | {"expert_gating_func": 2, "rope.dimension_count": 8, "feed_forward_length": 24},
            present=("*exp_probs_b.bias",)),
    Variant("ernie4_5-moe", "ernie4_5-moe",
            EXPERTS | {"interleave_moe_layer_step": 1, "leading_dense_block_count": 1, "block_count": 3}
            | {"expert_shared_feed_forward_length": 40}, present=CHOICE, absent=TIED),
    Variant("hunyuan-moe", "hunyuan-moe", EXPERTS, absent=TIED),
    Variant("hy_v3, first layer dense", "hy_v3", EXPERTS | NORMED | {"block_count": 3},
            extra=routers(1, 2)),
    Variant("cohere2moe, LayerNorm", "cohere2moe",
            DEEPSEEK | NORMED | SLIDING | {"attention.layer_norm_rms_epsilon": None, "logit_scale": 0.5},
            extra=merged(1, 2)),
    Variant("cohere2moe, nothing shared", "cohere2moe",
            EXPERTS | LEADING | SLIDING | {"logit_scale": 0.5, "rope.freq_base_swa": 500.0}, absent=TIED),
    Variant("exaone-moe", "exaone-moe", DEEPSEEK | NORMED | PATTERN | {"expert_gating_func": 2},
            present=(*CHOICE, "rope_freqs.weight")),
    Variant("afmoe, two bases", "afmoe", DEEPSEEK | NORMED | SLIDING | {"block_count": 5, "rope.freq_base_swa": 500.0},
            present=AFMOE_CHOICE, absent=TIED),
    Variant("laguna, YaRN elsewhere", "laguna",
            DEEPSEEK | NORMED | SLIDING | YARN
            | {"rope.freq_base_swa": 500.0, "rope.dimension_count": 6, "rope.dimension_count_swa": 12},
            present=CHOICE),
    Variant("laguna, gate of each channel", "laguna", DEEPSEEK | heads(16), present=CHOICE,
            extra={f"blk.{n}.attn_gate.weight": (64, 48) for n in range(3)}),
    Variant("mimo2, layers of both kinds", "mimo2",
            EXPERTS | PATTERN | {"block_count": 3, "attention.value_length": 8, "attention.key_length": 16}
            | {"attention.value_scale": 0.6, "rope.freq_base_swa": 500.0, "rope.dimension_count": 8},
            extra=routers(1, 2) | {"blk.1.attn_sinks.weight": (4,)}, present=CHOICE),
    Variant("step35, bounded", "step35",
            EXPERTS | PATTERN | NORMED | {"block_count": 3, "expert_shared_feed_forward_length": 20}
            | {"swiglu_clamp_exp": [0.0, 0.3, 0.2], "swiglu_clamp_shexp": [0.2, 0.3, 0.0], "rope.freq_base_swa": 500.0},
            extra=routers(1, 2), present=(*CHOICE, "*attn_gate.weight", "*attn_q_norm.weight", "*attn_k_norm.weight")),
    Variant("maple, bounded", "maple",
            EXPERTS | PATTERN | {"block_count": 3, "swiglu_clamp_exp": [0.3, 0.0, 0.2], "expert_weights_scale": 2.0}),
    Variant("smallthinker, no windows", "smallthinker", EXPERTS | {"expert_gating_func": 1, "block_count": 5}),
    Variant("smallthinker, windows", "smallthinker",
            EXPERTS | {"expert_gating_func": 2, "attention.sliding_window": 24, "block_count": 6}, absent=TIED),
    Variant("mellum, YaRN elsewhere", "mellum", EXPERTS | SLIDING | YARN | {"block_count": 5}),
    Variant("arctic", "arctic", WIDE),
    Variant("dbrx", "dbrx", WIDE | {"attention.clamp_kqv": 0.8},
            present=("*attn_qkv.weight",)),
    Variant("olmoe", "olmoe", WIDE | {**SINGLE}),
    Variant("granitemoe, shared", "granitemoe",
            WIDE | {"logit_scale": 8.0, "expert_shared_feed_forward_length": 40}),
    Variant("granite_swa", "granite_swa",
            EXPERTS | PATTERN | {"block_count": 3, "logit_scale": 8.0, "attention.rope_pattern": [1, 0, 1]}
            | {"expert_feed_forward_length": None, "expert_shared_feed_forward_length": 40},
            extra={f"blk.{n}.ffn_gate_up_exps.weight": (8, 160, 48) for n in range(3)}
            | {f"blk.{n}.ffn_up_shexp.weight": (80, 48) for n in range(3)}),
    Variant("deepseek2, lite", "deepseek2", DEEPSEEK | LATENT | {"block_count": 27},
            extra={f"blk.{n}.attn_q.weight": (96, 48) for n in range(27)}),
    Variant("deepseek2, groups", "deepseek2",
            DEEPSEEK | LATENT | NORMED | GROUPS | {"expert_gating_func": 2}, present=CHOICE),
    Variant("deepseek2, unfolded", "deepseek2", DEEPSEEK | UNFOLDED | {"expert_weights_scale": 2.5}),
    Variant("deepseek2, YaRN of V2", "deepseek2",
            DEEPSEEK | LATENT | YARN | {"rope.scaling.yarn_log_multiplier": 0.0707}),
    Variant("deepseek2, YaRN of V3", "deepseek2",
            DEEPSEEK | LATENT | YARN | {"rope.scaling.yarn_log_multiplier": 0.1}, extra=merged(1, 2)),
    Variant("deepseek2, YaRN alone", "deepseek2", DEEPSEEK | UNFOLDED | YARN),
    Variant("deepseek2, linear scaling", "deepseek2", DEEPSEEK | LATENT | scaling("linear", 4.0)),
    Variant("mistral4, growing queries", "mistral4",
            DEEPSEEK | LATENT | YARN | {"rope.scaling.yarn_log_multiplier": 0.1, "attention.temperature_scale": 0.1}
            | {"attention.temperature_length": 40}),
    Variant("minicpm3, longrope", "minicpm3",
            UNFOLDED | {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 300}
            | {"context_length": 1024, "rope.scaling.attn_factor": 1.19}, n_ctx=512,
            extra={f"rope_factors_{length}.weight": (4,) for length in ("long", "short")}),
    Variant("plm", "plm", UNFOLDED, absent=TIED),
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_logits_equal_llama_cpp(variant, tmp_path):
    """A model with what real files have gives llama.cpp's logits, to float32 rounding."""
    found, expected = logits_of_both(variant, tmp_path)
    assert np.isfinite(found).all()
    assert nmse(found, expected) < (TOLERANCE_OF_TABLE if variant.gelu else TOLERANCE)
