"""Command R and Command A (Cohere 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, layer_norm, qk_norm, sliding_masks
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network

SUMS = (2, 0, 1)  # (ffn + stream) + attention


@architecture(
    "command-r", blocks="LayerNorm without bias · RoPE · attention and SwiGLU in parallel behind one norm"
)
def command_r(hp: HyperParameters) -> Network:
    """Build it; the large ones norm queries and keys."""
    norm = layer_norm(hp, "none")
    mixer = qk_norm(norm, "heads") if hp.has("blk.0.attn_q_norm.weight") else {}
    layers = {"shared_norm": True, "sums": SUMS, "llama_cpp": {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}}
    head = {"scale": hp.float("logit_scale", 0.0) or 1.0}
    return decoder(hp, "interleaved", norm=norm, mixer=mixer, layers=layers, head=head, tied=True)


@architecture(
    "cohere2",
    blocks="LayerNorm without bias · sliding window 3:1, RoPE there only · attention and SwiGLU in parallel",
)
def cohere2(hp: HyperParameters) -> Network:
    """Build it."""
    norm, masks = layer_norm(hp, "none"), sliding_masks(hp, 4)

    def build(number: int) -> Layer:
        turn = rope(hp, "interleaved", number) if masks[number].window else None
        mixer = attention(hp, number, rope=turn, mask=masks[number])
        return layer(hp, mixer, feed_forward(hp, number, "silu"), norm, shared_norm=True, sums=SUMS)

    return network(hp, build, norm, head={"scale": hp.float("logit_scale") or 1.0}, tied=True)
