"""Llama and what is built like it: Mistral, Mixtral, SmolLM, Yi … (Touvron et al. 2023; Jiang et al. 2023, 2024)."""

from __future__ import annotations

from refgguf.arch.common import attention, experts, feed_forward, network, rms_norm, rope
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network


@architecture("llama", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts")
def llama(hp: HyperParameters) -> Network:
    """Build it; files with an expert count are mixtures of experts."""
    norm = rms_norm(hp)
    sparse = hp.int("expert_count", 0) > 0
    weight_scale = hp.float("expert_weights_scale", 0.0) or 1.0

    def layer(number: int) -> Layer:
        return Layer(
            hp.d_model,
            attention(hp, number, rope=rope(hp, "interleaved", number)),
            experts(hp, weight_scale=weight_scale) if sparse else feed_forward(hp, number, "silu"),
            norm,
        )

    return network(hp, layer, norm)
