"""Qwen 2 and 3 with experts, and what is built like them (Yang et al. 2024, 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import expert_width, experts
from refgguf.arch.parts import feed_forward, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import multi_axis_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.mask import Mask
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.network import Network
from refgguf.blocks.shared import GatedExpert
from refgguf.blocks.together import Together
from refgguf.kernels.ops.rope import RopeScaling


def _experts(hp: HyperParameters, number: int, **switches) -> MixtureOfExperts:
    return experts(hp, number, d_ff=expert_width(hp, number, divided=True), **switches)


@architecture(
    "qwen2moe", blocks="RMSNorm · RoPE · grouped-query attention, biased qkv · experts and a gated shared one"
)
def qwen2moe(hp: HyperParameters) -> Network:
    """Build it."""

    def second(number: int) -> Together:
        width = hp.int("expert_shared_feed_forward_length", 0) or hp.per_layer("feed_forward_length")[number]
        shared = feed_forward(hp, number, "silu", d_ff=width, suffix="_shexp", out="ffn_shexp")
        return Together(
            (_experts(hp, number, normed=False, out="ffn_moe_out"), GatedExpert(shared, by_silu=True))
        )

    return decoder(hp, "split", second=second)


@architecture("qwen3moe", blocks="RMSNorm · q/k-norm · RoPE · grouped-query attention · experts")
def qwen3moe(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split", second=lambda n: _experts(hp, n), mixer=qk_norm(rms_norm(hp)))


@architecture(
    "qwen3vlmoe",
    blocks="RMSNorm · q/k-norm · multi-axis RoPE, axes interleaved · grouped-query attention · experts",
)
def qwen3vlmoe(hp: HyperParameters) -> Network:
    """Build the language model; pictures are not read."""

    def turn(number: int):
        return multi_axis_rope(hp, number, interleaved_axes=True)

    return decoder(hp, turn, second=lambda n: _experts(hp, n), mixer=qk_norm(rms_norm(hp)))


@architecture(
    "rnd1", "llada-moe", blocks="RMSNorm · q/k-norm · RoPE · attention in both directions · experts"
)
def diffusion(hp: HyperParameters) -> Network:
    """Build it: a diffusion model, which fills in masked tokens."""
    mixer = {"mask": Mask(causal=False), **qk_norm(rms_norm(hp))}
    normed = hp.architecture == "rnd1"
    return decoder(hp, "split", second=lambda n: _experts(hp, n, normed=normed), mixer=mixer, causal=False)


@architecture("mellum", blocks="RMSNorm · q/k-norm · sliding window 3:1 · RoPE · experts")
def mellum(hp: HyperParameters) -> Network:
    """Build it; layers with a sliding window have no context extension."""
    windows = hp.int("attention.sliding_window", 0) > 0
    masks = sliding_masks(hp, 4) if windows else [Mask()] * hp.n_layers

    def turn(number: int):
        turning = rope(hp, "split", number)
        return replace(turning, scaling=RopeScaling()) if masks[number].window else turning

    norms = qk_norm(rms_norm(hp))
    return decoder(hp, turn, second=lambda n: _experts(hp, n), mixer=lambda n: {"mask": masks[n], **norms})
