"""Experts behind sliding windows: EXAONE MoE, Command A MoE, Maple, MiMo-V2, SmallThinker."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import (
    after_dense,
    deepseek_experts,
    expert_width,
    experts,
    gating,
    shared_width,
    with_shared,
)
from refgguf.arch.parts import attention, feed_forward, layer, layer_norm, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

SMALLTHINKER_WINDOW, SMALLTHINKER_PERIOD = 4096, 4  # in no metadata (llama.cpp src/models/smallthinker.cpp)


@architecture(
    "exaone-moe",
    blocks="RMSNorm · q/k-norm · sliding window 3:1, RoPE there only · SwiGLU, then experts and a shared one",
)
def exaone_moe(hp: HyperParameters) -> Network:
    """Build it (LG AI Research 2025)."""
    masks, norms = sliding_masks(hp, 4, window=128), qk_norm(rms_norm(hp))
    unturned = {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}

    def second(number: int) -> Block:
        d_shared = hp.int("expert_shared_feed_forward_length", 0) or expert_width(hp, number)
        return deepseek_experts(hp, number, shares="softmax", d_shared=d_shared)

    return decoder(
        hp,
        lambda n: rope(hp, "split", n) if masks[n].window else None,
        mixer=lambda n: {"mask": masks[n], **norms},
        second=after_dense(hp, second),
        layers=lambda n: {"llama_cpp": {} if masks[n].window else unturned},
    )


@architecture(
    "cohere2moe",
    blocks="one norm · sliding window 3:1, RoPE there only · attention in parallel with SwiGLU, then experts",
)
def cohere2moe(hp: HyperParameters) -> Network:
    """Build it (Cohere 2026); its norms are RMSNorm where the file has an epsilon for them."""
    rms = hp.float("attention.layer_norm_rms_epsilon", 0.0) > 0
    norm = rms_norm(hp) if rms else layer_norm(hp, "none")
    n_dense, masks = hp.int("leading_dense_block_count"), sliding_masks(hp, 4, dense_first=True)

    def sparse(number: int) -> Block:
        normed = hp.bool("expert_weights_norm", False)
        chosen = experts(hp, number, shares=gating(hp, "sigmoid"), normed=normed, scaled=True)
        n_shared = hp.int("expert_shared_count", 0)
        width = hp.int("expert_shared_feed_forward_length", 0) or shared_width(hp, number)
        return with_shared(hp, number, chosen, width if n_shared else 0, scale=0.5)

    return decoder(
        hp,
        lambda n: rope(hp, "interleaved", n) if masks[n].window or n < n_dense else None,
        norm=norm,
        mixer=lambda n: {"mask": masks[n]},
        second=after_dense(hp, sparse),
        layers={"shared_norm": True, "sums": (2, 0, 1)},
        head={"scale": hp.float("logit_scale") or 1.0},
    )


@architecture(
    "maple", blocks="RMSNorm · q/k-norm · sliding windows, RoPE there only · experts, bounded SwiGLU"
)
def maple(hp: HyperParameters) -> Network:
    """Build it."""
    masks, norms = sliding_masks(hp, 4), qk_norm(rms_norm(hp))
    limits = hp.per_layer_float("swiglu_clamp_exp")
    unturned = {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}
    return decoder(
        hp,
        lambda n: local_rope(hp, "split", n) if masks[n].window else None,
        mixer=lambda n: {"mask": masks[n], **norms},
        second=lambda n: experts(hp, n, limit=max(limits[n], 0.0)),
        layers=lambda n: {"llama_cpp": {} if masks[n].window else unturned},
    )


@architecture(
    "mimo2", blocks="RMSNorm · sliding windows · sinks · RoPE · SwiGLU or experts with a choice bias"
)
def mimo2(hp: HyperParameters) -> Network:
    """Build it (Xiaomi 2025)."""
    norm, masks = rms_norm(hp), sliding_masks(hp, 4)
    value_scale = hp.float("attention.value_scale", 0.0) or 1.0
    names = {} if value_scale == 1 else {"attn_output": "attn_out", "attn_out": "attn_out_scaled"}

    def build(number: int) -> Layer:
        turn = (local_rope if masks[number].window else rope)(hp, "split", number)
        sinks = hp.has(f"blk.{number}.attn_sinks.weight")
        mixer = attention(hp, number, rope=turn, mask=masks[number], sinks=sinks)
        sparse = hp.has(f"blk.{number}.ffn_gate_inp.weight")
        second = experts(hp, number, shares="sigmoid") if sparse else feed_forward(hp, number, "silu")
        built = layer(hp, mixer, second, norm, llama_cpp=names)
        return replace(built, mixer=replace(built.mixer, scale=value_scale))

    return network(hp, build, norm)


@architecture(
    "smallthinker",
    blocks="RMSNorm · sliding window 3:1 · RoPE in three of four layers · experts chosen before attention, ReGLU",
)
def smallthinker(hp: HyperParameters) -> Network:
    """Build it (Song et al. 2025): its router reads the stream that enters the layer."""
    windows = hp.int("attention.sliding_window", 0) > 0
    masks = sliding_masks(hp, SMALLTHINKER_PERIOD, dense_first=True) if windows else [Mask()] * hp.n_layers
    masks = [replace(mask, window=SMALLTHINKER_WINDOW) if mask.window else mask for mask in masks]
    shares, router = gating(hp, "softmax"), {"reads": "resid_pre"}

    def turn(number: int):
        if windows and number % SMALLTHINKER_PERIOD == 0:
            return None
        return (local_rope if masks[number].window else rope)(hp, "split", number)

    return decoder(
        hp,
        turn,
        mixer=lambda n: {"mask": masks[n]},
        second=lambda n: experts(hp, n, "relu", shares=shares, router=router),
        layers={"llama_cpp": {"ffn_out": "ffn_out"}},
    )
