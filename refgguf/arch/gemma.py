"""Gemma 1 to 3 (Gemma Team 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, head_sizes, layer, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

GEMMA2_27B, GEMMA3_27B = (
    46,
    62,
)  # layers of the sizes whose scores are scaled by d_model / n_heads, not by d_head


def scale(hp: HyperParameters, number: int, odd_one: int) -> float:
    """Return what multiplies the scores."""
    n_heads, _, d_head, _ = head_sizes(hp, number)
    return (hp.d_model // n_heads if hp.n_layers == odd_one else d_head) ** -0.5


@architecture("gemma3", blocks="sandwich RMSNorm · q/k-norm · two RoPE bases · sliding window 5:1 · GEGLU")
def gemma3(hp: HyperParameters) -> Network:
    """Build it: layers with a sliding window have a RoPE base of their own and no context extension."""
    norm = rms_norm(hp)
    masks = sliding_masks(hp, 6) if hp.int("attention.sliding_window", 0) else [Mask()] * hp.n_layers

    def build(number: int) -> Layer:
        local = masks[number].window > 0
        turn = (
            local_rope(hp, "split", number, base=10000.0, stretched=False)
            if local
            else rope(hp, "split", number)
        )
        switches = {"mask": masks[number], "scale": scale(hp, number, GEMMA3_27B), **qk_norm(norm)}
        mixer = attention(hp, number, rope=turn, **switches)
        return layer(
            hp,
            mixer,
            feed_forward(hp, number, "gelu"),
            norm,
            post_norm=norm,
            llama_cpp={"resid_mid": "sa_out"},
        )

    head = {"softcap": hp.float("final_logit_softcapping", 0.0)}
    return network(hp, build, norm, embedding={"scale": hp.d_model**0.5}, head=head)
