"""Qwen3, dense (Yang et al. 2025)."""

from __future__ import annotations

from refgguf.arch.common import attention, feed_forward, network, rms_norm, rope
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network


@architecture("qwen3", blocks="RMSNorm · q/k-norm · RoPE · grouped-query attention · SwiGLU")
def qwen3(hp: HyperParameters) -> Network:
    """Build it."""
    norm = rms_norm(hp)

    def layer(number: int) -> Layer:
        return Layer(
            hp.d_model,
            attention(hp, number, rope=rope(hp, "split", number), qk_norm=norm),
            feed_forward(hp, number, "silu"),
            norm,
        )

    return network(hp, layer, norm)
