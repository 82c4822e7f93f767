"""Ordinary decoders whose feed-forward networks are experts: OLMoE, Phi-3.5-MoE, MiniMax-M2, DBRX, ERNIE 4.5."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts, gating, with_shared
from refgguf.arch.parts import feed_forward, layer_norm, qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.network import Network


def _wide(hp: HyperParameters, number: int, **switches) -> MixtureOfExperts:
    """Return experts as wide as the file's feed-forward length."""
    return experts(hp, number, d_ff=hp.per_layer("feed_forward_length")[number], **switches)


@architecture("olmoe", blocks="RMSNorm · q/k-norm over all heads · RoPE · experts")
def olmoe(hp: HyperParameters) -> Network:
    """Build it (Muennighoff et al. 2024)."""
    mixer = qk_norm(rms_norm(hp), "all")
    return decoder(hp, "split", second=lambda n: _wide(hp, n, normed=False), mixer=mixer)


@architecture(
    "phimoe", blocks="RMSNorm with bias · RoPE (longrope) · grouped-query attention · biases · experts"
)
def phimoe(hp: HyperParameters) -> Network:
    """Build it (Abdin et al. 2024); what llama.cpp calls queries is scaled already."""
    norm, layers = rms_norm(hp, bias="required"), {"llama_cpp": {"attn_q": "", "attn_q_rope": ""}}
    mixer = {"scaled": "queries"}
    return decoder(hp, "split", norm=norm, second=lambda n: _wide(hp, n), layers=layers, mixer=mixer)


@architecture(
    "minimax-m2", blocks="RMSNorm · q/k-norm over all heads · partial RoPE · experts with a choice bias"
)
def minimax_m2(hp: HyperParameters) -> Network:
    """Build it (MiniMax 2025)."""
    shares, mixer = gating(hp, "sigmoid"), qk_norm(rms_norm(hp), "all")
    return decoder(hp, "split", second=lambda n: _wide(hp, n, shares=shares), mixer=mixer)


@architecture(
    "dbrx", blocks="LayerNorm without bias · clamped qkv · RoPE · grouped-query attention · experts"
)
def dbrx(hp: HyperParameters) -> Network:
    """Build it (Databricks 2024)."""
    layers = {"norms": ("attn_norm", "attn_output_norm"), "llama_cpp": {"ffn_norm": "attn_out_norm"}}
    mixer = {"clamp": hp.float("attention.clamp_kqv", 0.0)}
    norm = layer_norm(hp, "none")
    return decoder(hp, "split", norm=norm, mixer=mixer, second=lambda n: _wide(hp, n), layers=layers)


@architecture(
    "ernie4_5-moe",
    blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU and experts with a shared one by turns",
)
def ernie4_5_moe(hp: HyperParameters) -> Network:
    """Build it (Baidu 2025)."""
    n_dense, step = hp.int("leading_dense_block_count", 0), hp.int("interleave_moe_layer_step", least=1)

    def second(number: int) -> Block:
        if number < n_dense or (number + 1) % step:
            return feed_forward(hp, number, "silu")
        return with_shared(hp, number, experts(hp, number), hp.int("expert_shared_feed_forward_length", 0))

    return decoder(hp, "interleaved", second=second)
