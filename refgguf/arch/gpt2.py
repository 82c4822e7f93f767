"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from refgguf.arch.common import attention, feed_forward, layer_norm, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network


@architecture("gpt2", blocks="LayerNorm · learned positions · multi-head attention, fused qkv · GELU")
def gpt2(hp: HyperParameters) -> Network:
    """Build it."""
    norm = layer_norm(hp)

    def layer(number: int) -> Layer:
        return Layer(
            hp.d_model, attention(hp, number, rope=None), feed_forward(hp, number, "gelu", gated=False), norm
        )

    return network(hp, layer, norm, n_positions=hp.context_length)
