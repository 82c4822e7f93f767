"""Kimi delta attention in most layers, latent attention in the others: Kimi Linear, Ling 3.

Kimi Team 2025; Ant Group 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.latent import latent_attention
from refgguf.arch.mamba import MOST_CONV, MOST_STATE, without_heads
from refgguf.arch.mixture import after_dense, deepseek_experts, expert_width, shared_width, swiglu_limits
from refgguf.arch.parts import feed_forward, layer, rms_norm
from refgguf.arch.positions import has_sections, multi_axis_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.block import Block
from refgguf.blocks.kda import KimiDeltaAttention
from refgguf.blocks.layer import Layer
from refgguf.blocks.mla import LatentAttention
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope

LATENT_NAMES = {"attn_out": "mla_out", "attn_gate": "", "attn_gate_act": "", "attn_gated": "mla_gated"}


def n_heads(hp: HyperParameters) -> int:
    """Return how many heads every layer has; a file may say it of the first one alone."""
    count = hp.per_layer("attention.head_count")[0]
    if count < 1:
        raise hp.error(
            "attention.head_count", "is 0 in layer 0, which gives all layers their number of heads"
        )
    return count


def delta_attention(hp: HyperParameters, number: int, **switches: Any) -> KimiDeltaAttention:
    """Return the Kimi delta attention of a layer; switches as in `KimiDeltaAttention`."""
    sizes = {
        "n_heads": n_heads(hp),
        "d_head": hp.int("kda.head_dim", least=1, most=MOST_STATE),
        "d_conv": hp.int("ssm.conv_kernel", least=1, most=MOST_CONV),
    }
    norm, fused = rms_norm(hp), hp.has(f"blk.{number}.attn_qkv.weight")
    return KimiDeltaAttention(
        hp.d_model, norm=norm, fused=fused, **{"length_eps": norm.eps, **sizes, **switches}
    )


def at_least_one(hp: HyperParameters, number: int) -> int:
    """Return the neurons of the expert that sees every token, of which there is one even if the file counts none."""
    return shared_width(hp, number, 1) or expert_width(hp, number)


def latent(hp: HyperParameters, number: int, turn: Rope | None, **switches: Any) -> LatentAttention:
    """Return the latent attention of a layer.

    Args:
        hp: hyper-parameters.
        number: of the layer.
        turn: RoPE of the part that all heads share, or None.
        switches: as in `latent_attention`.
    """
    d_head, d_value = (hp.int(f"attention.{part}_length_mla", least=1) for part in ("key", "value"))
    sizes = {"d_head": d_head, "d_value": d_value, "scale": d_head**-0.5, "n_heads": n_heads(hp)}
    d_pe = hp.int("rope.dimension_count")
    return latent_attention(hp, number, turn, d_pe=d_pe, **sizes, **switches)


def hybrid(
    hp: HyperParameters,
    delta: Callable[[int], Block],
    attends: Callable[[int], Block],
    second: Callable[[int], Block],
    names: Mapping[str, str],
) -> Callable[[int], Layer]:
    """Return what builds a layer: layers without heads of keys have delta attention.

    Args:
        hp: hyper-parameters.
        delta: number of a layer → its delta attention.
        attends: number of a layer → its latent attention.
        second: number of a layer → what follows.
        names: llama.cpp's names, as in `Layer`.
    """
    norm, first = rms_norm(hp), without_heads(hp, delta)
    return lambda number: layer(hp, first(number) or attends(number), second(number), norm, llama_cpp=names)


@architecture(
    "kimi-linear",
    blocks="RMSNorm · Kimi delta attention, or latent attention without positions · SwiGLU, then experts",
)
def kimi_linear(hp: HyperParameters) -> Network:
    """Build it."""
    rank = hp.int("kda.head_dim", least=1)
    switches = {"decay_rank": rank, "gate_rank": rank, "column": True}

    def sparse(number: int) -> Block:
        return deepseek_experts(hp, number, shares="sigmoid", normed=True, d_shared=at_least_one(hp, number))

    build = hybrid(
        hp,
        lambda number: delta_attention(hp, number, **switches),
        lambda number: latent(hp, number, None, short=False),
        after_dense(hp, sparse),
        LATENT_NAMES | {"kda_y": "attn_output", "kda_beta_in": "kda_beta", "kda_beta": ""},
    )
    return network(hp, build, rms_norm(hp), llama_cpp={"embed": "model.embed_tokens"})


@architecture(
    "bailingmoe3",
    blocks="RMSNorm · Kimi delta attention, or gated latent attention with RoPE · SwiGLU, then experts, bounded",
)
def bailingmoe3(hp: HyperParameters) -> Network:
    """Build it."""
    limits, shared_limits = swiglu_limits(hp, "exp"), swiglu_limits(hp, "shexp")
    bound = hp.float("kda.gate_lower_bound")
    if bound >= 0 or not hp.bool("kda.safe_gate", True):
        key = "kda.gate_lower_bound" if bound >= 0 else "kda.safe_gate"
        raise hp.error(key, "rules out a bounded decay, which is all this architecture has")

    def attends(number: int) -> Block:
        turn = multi_axis_rope(hp, number) if has_sections(hp) else rope(hp, "interleaved", number)
        short = hp.int("attention.q_lora_rank", 0) > 0
        return latent(hp, number, replace(turn, factors=None), short=short, gate=Gate(per_head=True))

    def sparse(number: int) -> Block:
        d_shared = hp.int("expert_shared_feed_forward_length", 0) or at_least_one(hp, number)
        bounds = {"limit": limits[number], "shared_limit": shared_limits[number], "late": True}
        return deepseek_experts(hp, number, shares="sigmoid", d_shared=d_shared, **bounds)

    n_dense = hp.int("leading_dense_block_count")
    names = {"attn_q_a": "q_a", "attn_q_a_norm": "q_a_norm", "attn_q": "q_b"}
    build = hybrid(
        hp,
        lambda number: delta_attention(hp, number, bound=bound, column=True),
        attends,
        lambda number: (
            feed_forward(hp, number, "silu", limit=shared_limits[number])
            if number < n_dense
            else sparse(number)
        ),
        LATENT_NAMES | names,
    )
    return network(hp, build, rms_norm(hp), llama_cpp={"embed": "model.input_embed"})
