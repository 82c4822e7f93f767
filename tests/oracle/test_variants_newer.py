"""Kimi, Ling, MiniMax, Grove, HRM, CogVLM, Gemma 3n and 4 as real files have them and small fixtures do not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.test_variants_experts import EXPERTS, NORMED
from tests.oracle.test_variants_llama_cpp import (
    FUSED,
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

YARN = scaling("yarn", 8.0, original_context_length=40)
HYBRID = {
    "block_count": 4, "attention.head_count": 4, "attention.head_count_kv": [0, 1, 0, 1], "kda.head_dim": 16,
    "ssm.conv_kernel": 4, "attention.kv_lora_rank": 20, "attention.key_length": 28, "attention.value_length": 20,
    "attention.key_length_mla": 24, "attention.value_length_mla": 12, "rope.dimension_count": 8,
    "leading_dense_block_count": 1, "expert_shared_count": 1, "expert_gating_func": 2,
}  # fmt: skip
BOUNDED = {"kda.gate_lower_bound": -5.0}
LING = HYBRID | BOUNDED | {"kda.safe_gate": True}
K3 = HYBRID | {"activation.situ_beta": 4.0, "activation.situ_linear_beta": 25.0, "attn_res.block_size": 0}
CHOICE = tuple(f"blk.{n}.exp_probs_b.bias" for n in (1, 2, 3))
GEMMA4 = {
    "attention.sliding_window_pattern": [True, False, True, False], "block_count": 4, "attention.key_length_swa": 12,
    "attention.value_length_swa": 12, "rope.dimension_count_swa": 12, "embedding_length_per_layer_input": 0,
} | SLIDING | heads(16)  # fmt: skip
FACTORS = ("rope_freqs.weight",)
# what CogVLM does to pictures, which no text needs
PICTURES = {
    f"blk.{n}.vis_{name}.weight": shape for n in range(2) for name, shape in {
        "attn_qkv": (144, 48), "attn_output": (48, 48), "gate": (80, 48), "up": (80, 48), "down": (48, 80),
    }.items()
}  # fmt: skip
PER_LAYER = {"embedding_length_per_layer_input": 16}
SCALES = ("*ffn_gate.scale", "*ffn_up.scale", "*ffn_down.scale")

VARIANTS = [
    Variant("kimi-linear, several heads, unbounded", "kimi-linear", EXPERTS | HYBRID, present=CHOICE),
    Variant("kimi-linear, normed and scaled weights", "kimi-linear", EXPERTS | HYBRID | NORMED, present=CHOICE),
    Variant("kimi-k3, several heads, unbounded", "kimi-k3", EXPERTS | K3, present=CHOICE),
    Variant("kimi-k3, bounded, attention over layers", "kimi-k3",
            EXPERTS | K3 | BOUNDED | {"attn_res.block_size": 2, "expert_weights_norm": True}, present=CHOICE,
            extra={"blk.0.attn_res_score.weight": (48,)}),
    Variant("bailingmoe3, short queries", "bailingmoe3", EXPERTS | LING | NORMED | {"attention.q_lora_rank": 28},
            present=CHOICE),
    Variant("bailingmoe3, YaRN, whole queries", "bailingmoe3", EXPERTS | LING | YARN, present=CHOICE),
    Variant("minimax-01, heads", "minimax-01",
            EXPERTS | {"residual_scale": 3.5, "block_count": 4, "full_attention_interval": 2} | heads(12)),
    Variant("minimax-01, YaRN", "minimax-01",
            EXPERTS | YARN | {"residual_scale": 3.5, "block_count": 4, "full_attention_interval": 2} | heads(12)),
    Variant("grovemoe, wide heads", "grovemoe",
            EXPERTS | heads(16) | {"experts_per_group": 2, "expert_group_scale": 0.05}
            | {"expert_chunk_feed_forward_length": 20}),
    Variant("grovemoe, YaRN", "grovemoe", EXPERTS | YARN | {"experts_per_group": 2, "expert_group_scale": 0.3}),
    Variant("hrm_text, scaled embedding, YaRN", "hrm_text",
            YARN | {"block_count": 12, "hrm.layers_per_stack": 2, "hrm.h_cycles": 2, "hrm.l_cycles": 2}
            | {"embedding_scale": 6.0}),
    Variant("hrm_text, tied output", "hrm_text",
            {"block_count": 4, "hrm.layers_per_stack": 1, "hrm.h_cycles": 2, "hrm.l_cycles": 1}, absent=TIED),
    Variant("cogvlm, tied output", "cogvlm", {"attention.head_count_kv": 4}, present=FUSED, absent=TIED,
            extra=PICTURES),
    Variant("gemma4, scales, tied output", "gemma4", GEMMA4, present=(*SCALES, *FACTORS),
            absent=TIED, gelu=True),
    Variant("gemma4, shared keys, inputs", "gemma4", GEMMA4 | PER_LAYER | {"attention.shared_kv_layers": 2},
            present=FACTORS, gelu=True),
    Variant("gemma4, four layers", "gemma4", GEMMA4, present=FACTORS,
            gelu=True),
    Variant("gemma3n, few layers, tied output", "gemma3n", {"block_count": 2} | SLIDING | heads(12), absent=TIED,
            gelu=True),
    Variant("gemma3n, layers in no order, bases", "gemma3n",
            {"block_count": 3, "attention.sliding_window_pattern": [False, True, False], "rope.freq_base": 1e6}
            | {"rope.freq_base_swa": 500.0} | SLIDING | heads(12), gelu=True),
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_logits_equal_llama_cpp(variant, tmp_path):
    """A model with what real files have gives llama.cpp's logits, to float32 rounding."""
    found, expected = logits_of_both(variant, tmp_path)
    assert np.isfinite(found).all()
    assert nmse(found, expected) < (TOLERANCE_OF_TABLE if variant.gelu else TOLERANCE)
