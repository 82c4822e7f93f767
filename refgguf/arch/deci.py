"""DeciLM and Nemotron made by architecture search: each layer with its own sizes (Bercovich et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Attention
from refgguf.blocks.layer import Layer
from refgguf.blocks.linear import Linear
from refgguf.blocks.network import Network


@architecture(
    "deci", blocks="RMSNorm · RoPE · grouped-query attention, one matrix or nothing · SwiGLU or nothing"
)
def deci(hp: HyperParameters) -> Network:
    """Build it; no heads means no attention, no key heads one matrix instead, no neurons no feed-forward network."""
    norm = rms_norm(hp)
    heads = hp.per_layer("attention.head_count")
    kv_heads = hp.per_layer("attention.head_count_kv", 0) if hp.given("attention.head_count_kv") else heads
    widths = hp.per_layer("feed_forward_length")

    def mixer(number: int) -> Attention | Linear | None:
        if not heads[number]:
            return None
        if not kv_heads[number]:
            return Linear(hp.d_model, "attn_output")
        turn = rope(hp, "interleaved", number)
        return attention(hp, number, rope=turn)

    def build(number: int) -> Layer:
        ffn = feed_forward(hp, number, "silu") if widths[number] else None
        return layer(hp, mixer(number), ffn, norm)

    return network(hp, build, norm)
