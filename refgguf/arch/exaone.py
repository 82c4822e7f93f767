"""EXAONE 3 and 4 without experts (LG AI Research 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

LAYERS_OF_32B = 64  # the size that has sliding windows


@architecture("exaone", blocks="RMSNorm · RoPE with factors · grouped-query attention · SwiGLU")
def exaone(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split")


@architecture(
    "exaone4",
    blocks="RMSNorm after each branch · q/k-norm · RoPE · SwiGLU · 32B: sliding window 3:1, RoPE there only",
)
def exaone4(hp: HyperParameters) -> Network:
    """Build it."""
    norm, names = rms_norm(hp), {"ffn_out": "/ffn_post_norm"}
    slides = hp.n_layers == LAYERS_OF_32B
    masks = sliding_masks(hp, 4, window=4096) if slides else [Mask()] * hp.n_layers

    def build(number: int) -> Layer:
        turn = rope(hp, "split", number) if masks[number].window or not slides else None
        mixer = attention(hp, number, rope=turn, mask=masks[number], **qk_norm(norm))
        return layer(hp, mixer, feed_forward(hp, number, "silu"), None, post_norm=norm, llama_cpp=names)

    return network(hp, build, norm)
