"""OLMo 1 to 3 (Groeneveld et al. 2024; OLMo Team 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, layer_norm, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.kernels.ops.rope import RopeScaling


@architecture(
    "olmo", blocks="LayerNorm without weights · RoPE · clamped qkv · grouped-query attention · SwiGLU"
)
def olmo(hp: HyperParameters) -> Network:
    """Build it."""
    clamp = {"clamp": hp.float("attention.clamp_kqv", 0.0)}
    return decoder(hp, "interleaved", norm=layer_norm(hp, "none", weight=False), mixer=clamp)


@architecture(
    "olmo2",
    blocks="RMSNorm after each branch · q/k-norm over all heads · RoPE · SwiGLU · OLMo 3: sliding window 3:1",
)
def olmo2(hp: HyperParameters) -> Network:
    """Build it; layers with a sliding window have no context extension."""
    norm = rms_norm(hp)
    masks = sliding_masks(hp, 4) if hp.int("attention.sliding_window", 0) else [Mask()] * hp.n_layers
    names = {"ffn_out": "/ffn_post_norm"}

    def build(number: int) -> Layer:
        turn = rope(hp, "split", number)
        turn = replace(turn, scaling=RopeScaling()) if masks[number].window else turn
        mixer = attention(hp, number, rope=turn, mask=masks[number], **qk_norm(norm, "all"))
        return layer(hp, mixer, feed_forward(hp, number, "silu"), None, post_norm=norm, llama_cpp=names)

    return network(hp, build, norm)
