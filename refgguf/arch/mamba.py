"""Mamba and models with Mamba layers beside attention (Gu & Dao 2023; Dao & Gu 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import attention, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.layer import Layer
from refgguf.blocks.mamba import Mamba, Mamba2
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.together import Together

MOST_CONV, MOST_STATE = 1024, 1 << 14  # far more than any model has


def mamba(hp: HyperParameters, number: int, **switches: Any) -> Mamba:
    """Return the Mamba-1 of a layer; switches as in `Mamba`."""
    weighted = hp.has(f"blk.{number}.ssm_dt_norm.weight")
    normed = weighted or hp.bool("ssm.dt_b_c_rms", False)
    return Mamba(
        hp.d_model,
        hp.int("ssm.inner_size", least=1),
        hp.int("ssm.conv_kernel", least=1, most=MOST_CONV),
        hp.int("ssm.state_size", least=1, most=MOST_STATE),
        hp.int("ssm.time_step_rank", least=1),
        norm=rms_norm(hp, weight=weighted) if normed else None,
        **switches,
    )


def mamba2(hp: HyperParameters, number: int, **switches: Any) -> Mamba2:
    """Return the Mamba-2 of a layer; switches as in `Mamba2`."""
    d_inner, n_heads = hp.int("ssm.inner_size", least=1), hp.int("ssm.time_step_rank", least=1)
    n_groups = hp.int("ssm.group_count", least=1)
    for what, n in (("time_step_rank", n_heads), ("group_count", n_groups)):
        if d_inner % n:
            raise hp.error("ssm.inner_size", f"is {d_inner}, no multiple of ssm.{what} {n}")
    if n_heads % n_groups:
        raise hp.error("ssm.time_step_rank", f"is {n_heads}, no multiple of ssm.group_count {n_groups}")
    return Mamba2(
        hp.d_model,
        d_inner,
        hp.int("ssm.conv_kernel", least=1, most=MOST_CONV),
        hp.int("ssm.state_size", least=1, most=MOST_STATE),
        n_heads,
        n_groups,
        norm=rms_norm(hp) if hp.has(f"blk.{number}.ssm_norm.weight") else None,
        **switches,
    )


def without_heads(hp: HyperParameters, build: Callable[[int], Block]) -> Callable[[int], Block | None]:
    """Return what builds the token mixer of a layer that has no heads of keys, and None for those that have."""
    heads = hp.per_layer("attention.head_count_kv")
    return lambda number: None if heads[number] else build(number)


@architecture("mamba", blocks="RMSNorm · Mamba")
def mamba_1(hp: HyperParameters) -> Network:
    """Build it."""
    norm, names = rms_norm(hp), {"ssm_out": "", "ssm_skip": ""}
    return network(hp, lambda n: layer(hp, mamba(hp, n), None, norm, llama_cpp=names), norm)


@architecture("mamba2", blocks="RMSNorm · Mamba-2")
def mamba_2(hp: HyperParameters) -> Network:
    """Build it."""
    norm = rms_norm(hp)
    return network(hp, lambda n: layer(hp, mamba2(hp, n), None, norm), norm)


@architecture(
    "jamba", blocks="RMSNorm · Mamba or grouped-query attention without positions · SwiGLU or experts"
)
def jamba(hp: HyperParameters) -> Network:
    """Build it; layers without heads of keys are Mamba, and those with a router have experts."""

    def second(number: int) -> Block:
        if hp.has(f"blk.{number}.ffn_gate_inp.weight"):
            return experts(hp, number, normed=False)
        return feed_forward(hp, number, "silu")

    # llama.cpp gives the name ffn_inp to what is added, not to the sum
    names = {"resid_mid": "", "ssm_out": "ffn_inp", "attn_out": "ffn_inp", "ssm_skip": ""}
    first = without_heads(hp, lambda number: mamba(hp, number))
    return decoder(hp, None, first=first, second=second, layers={"llama_cpp": names})


FALCON_NAMES = {
    "attn_q_rope": "Qcur-post-rope",
    "attn_k_rope": "Kcur-post-rope",
    "attn_out": "layer_out",
    "ssm_out": "ssm_out",
}


@architecture(
    "falcon-h1", blocks="RMSNorm · RoPE · grouped-query attention and Mamba-2 side by side · SwiGLU"
)
def falcon_h1(hp: HyperParameters) -> Network:
    """Build it; files call the weight of the second norm plainly ffn_norm."""
    norm, scale = rms_norm(hp), hp.float("attention.scale", 0.0) or None

    def build(number: int) -> Layer:
        plain = hp.has(f"blk.{number}.ffn_norm")
        heads = attention(hp, number, rope=rope(hp, "split", number), scale=scale, out="attn_output")
        mixer = Together((heads, mamba2(hp, number)), out="attn_out")
        built = layer(hp, mixer, feed_forward(hp, number, "silu"), norm, llama_cpp=FALCON_NAMES)
        return with_norm(built, rms_norm(hp, suffix="")) if plain else built

    return network(hp, build, norm)


def with_norm(built: Layer, norm: Norm) -> Layer:
    """Return a layer with another norm before its feed-forward network."""
    return replace(built, ffn=replace(built.ffn, norm=norm))
