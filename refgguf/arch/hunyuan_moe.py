"""Hunyuan with experts (Sun et al. 2024; Tencent 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import deepseek_experts, expert_width, experts, with_shared
from refgguf.arch.parts import feed_forward, qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.network import Network


@architecture(
    "hunyuan-moe", blocks="RMSNorm · RoPE, then q/k-norm · grouped-query attention · experts and a shared one"
)
def hunyuan_moe(hp: HyperParameters) -> Network:
    """Build it."""

    def second(number: int) -> Block:
        d_ff = hp.per_layer("feed_forward_length")[number]
        d_shared = hp.int("expert_shared_feed_forward_length", 0) or d_ff
        return with_shared(hp, number, experts(hp, number, d_ff=d_ff), d_shared)

    names = {"attn_q_norm": "Qcur_norm", "attn_k_norm": "Kcur_norm", "ffn_shexp": "ffn_mlp"}
    names["attn_k_rope"] = ""
    mixer = {**qk_norm(rms_norm(hp)), "norm_after_rope": True}
    return decoder(hp, "split", second=second, mixer=mixer, layers={"llama_cpp": names})


@architecture(
    "hy_v3", blocks="RMSNorm · q/k-norm · RoPE · SwiGLU or experts with a choice bias and a shared one"
)
def hy_v3(hp: HyperParameters) -> Network:
    """Build it."""

    def second(number: int) -> Block:
        if not hp.has(f"blk.{number}.ffn_gate_inp.weight"):
            return feed_forward(hp, number, "silu")
        d_ff = expert_width(hp, number, divided=True)
        d_shared = hp.int("expert_shared_feed_forward_length", 0) or d_ff
        return deepseek_experts(hp, number, shares="sigmoid", d_shared=d_shared, d_ff=d_ff)

    unnamed = ("attn_q_norm", "attn_k_norm", "attn_q_rope", "attn_k_rope")
    layers = {"llama_cpp": {"ffn_shexp": "ffn_shared_out", **dict.fromkeys(unnamed, "")}}
    return decoder(hp, "split", second=second, mixer=qk_norm(rms_norm(hp)), layers=layers)
