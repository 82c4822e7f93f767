"""Qwen3-Next and Qwen 3.5: gated delta networks, with gated attention in every fourth layer (Qwen 2025, 2026)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mamba import MOST_CONV, MOST_STATE
from refgguf.arch.mixture import expert_width, experts
from refgguf.arch.parts import feed_forward, head_sizes, qk_norm, rms_norm
from refgguf.arch.positions import multi_axis_rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.block import Block
from refgguf.blocks.delta_net import GatedDeltaNet
from refgguf.blocks.network import Network
from refgguf.blocks.shared import GatedExpert
from refgguf.blocks.together import Together

FULL_EVERY = 4  # every how many layers one has attention, where the file does not say
NAMES = {
    "attn_q": "",
    "attn_z": "attn_pregate",
    "attn_gate": "gate_reshaped",
    "attn_gate_act": "gate_sigmoid",
    "attn_out": "attn_output",
    "resid_mid": "attn_residual",
    "shexp_gate": "shared_expert_gate",
    "shexp_gate_act": "shared_expert_gate_sigmoid",
    "ffn_shexp_gated": "ffn_shexp_gated",
}


def delta_net(hp: HyperParameters, **switches: Any) -> GatedDeltaNet:
    """Return the gated delta network of a layer; switches as in `GatedDeltaNet`."""
    d_head = hp.int("ssm.state_size", least=1, most=MOST_STATE)
    n_heads, n_key_heads = hp.int("ssm.time_step_rank", least=1), hp.int("ssm.group_count", least=1)
    d_inner, d_conv = hp.int("ssm.inner_size", least=1), hp.int("ssm.conv_kernel", least=1, most=MOST_CONV)
    if d_inner != n_heads * d_head:
        raise hp.error(
            "ssm.inner_size", f"is {d_inner}; {n_heads} heads of {d_head} channels make up another"
        )
    if n_heads % n_key_heads:
        raise hp.error("ssm.time_step_rank", f"is {n_heads}, no multiple of ssm.group_count {n_key_heads}")
    return GatedDeltaNet(hp.d_model, n_key_heads, n_heads, d_head, d_conv, rms_norm(hp), **switches)


def linear_layers(hp: HyperParameters, every: int = FULL_EVERY) -> list[bool]:
    """Return which layers have linear attention.

    Args:
        hp: hyper-parameters.
        every: every how many layers one has not, where the file does not say.
    """
    if hp.given("attention.recurrent_layers"):
        return [bool(linear) for linear in hp.per_layer("attention.recurrent_layers", most=1)]
    every = hp.int("full_attention_interval", every, least=1)
    return [(number + 1) % every != 0 for number in range(hp.n_layers)]


def hybrid(
    hp: HyperParameters,
    turn: str | Callable,
    embedding: str,
    second: Callable[[int], Block] | None = None,
    **switches: Any,
) -> Network:
    """Return a network of delta networks and gated attention.

    Args:
        hp: hyper-parameters.
        turn: as in `decoder`.
        embedding: llama.cpp's name of the embedding.
        second: as in `decoder`.
        switches: of `delta_net`.
    """
    linear = linear_layers(hp)

    def mixer(number: int) -> dict[str, Any]:
        _, _, d_head, d_head_v = head_sizes(hp, number)
        if d_head != d_head_v:
            raise hp.error("attention.value_length", f"is {d_head_v}; keys have {d_head} channels")
        scale = hp.float("attention.scale", 0.0) or None
        return {"gate": Gate(joint=True), "scale": scale, **qk_norm(rms_norm(hp))}

    return decoder(
        hp,
        turn,
        first=lambda number: delta_net(hp, **switches) if linear[number] else None,
        second=second,
        mixer=mixer,
        layers={"norms": ("attn_norm", "post_attention_norm"), "llama_cpp": NAMES},
        llama_cpp={"embed": embedding},
    )


def with_gated(hp: HyperParameters, number: int) -> Block:
    """Return a layer's experts, beside one that sees every token as much as its gate lets through."""
    d_ff = expert_width(hp, number, divided=True)
    if not hp.has(f"blk.{number}.ffn_up_shexp.weight"):
        return experts(hp, number, d_ff=d_ff)
    width = hp.int("expert_shared_feed_forward_length", 0) or hp.per_layer("feed_forward_length")[number]
    shared = feed_forward(hp, number, "silu", d_ff=width, suffix="_shexp", out="ffn_shexp")
    return Together((experts(hp, number, d_ff=d_ff, out="ffn_moe_out"), GatedExpert(shared)))


@architecture(
    "qwen35", blocks="RMSNorm · gated delta network or gated attention, q/k-norm, multi-axis RoPE · SwiGLU"
)
def qwen35(hp: HyperParameters) -> Network:
    """Build the language model; pictures are not read."""
    return hybrid(hp, lambda n: multi_axis_rope(hp, n, interleaved_axes=True), "model.input_embed")


@architecture(
    "qwen35moe",
    blocks="RMSNorm · gated delta network or gated attention, q/k-norm, multi-axis RoPE · experts, one gated",
)
def qwen35moe(hp: HyperParameters) -> Network:
    """Build the language model; pictures are not read."""

    def turn(number: int):
        return multi_axis_rope(hp, number, interleaved_axes=True)

    return hybrid(hp, turn, "model.input_embed", lambda number: with_gated(hp, number))


@architecture(
    "qwen3next",
    blocks="RMSNorm · gated delta network or gated attention, q/k-norm, RoPE · experts and a gated shared one",
)
def qwen3next(hp: HyperParameters) -> Network:
    """Build it; heads that share a key stand side by side."""
    switches = {"joint": True, "adjacent": True}
    return hybrid(hp, "split", "model.embed_tokens", lambda number: with_gated(hp, number), **switches)
