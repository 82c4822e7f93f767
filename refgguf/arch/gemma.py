"""Gemma 1 to 3 (Gemma Team 2024, 2025); their norm weights are stored with the 1 added that the papers add."""

from __future__ import annotations

from refgguf.arch.decoder import decoder, network
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


@architecture("gemma", blocks="RMSNorm · RoPE · grouped-query attention · GEGLU · scaled embedding")
def gemma(hp: HyperParameters) -> Network:
    """Build it."""
    switches = {"layers": {"llama_cpp": {"resid_mid": "sa_out"}}, "mixer": {"scaled": "queries"}}
    return decoder(hp, "split", act="gelu", embedding={"scale": hp.d_model**0.5}, tied=True, **switches)


@architecture(
    "gemma2",
    blocks="sandwich RMSNorm · RoPE · soft-capped scores · sliding window 1:1 · GEGLU · soft-capped logits",
)
def gemma2(hp: HyperParameters) -> Network:
    """Build it."""
    norm, masks = rms_norm(hp), sliding_masks(hp, 2, window=4096)
    softcap = hp.float("attn_logit_softcapping", 50.0)
    names = {"resid_mid": "sa_out", "ffn_out": "/ffn_post_norm"}

    def build(number: int) -> Layer:
        turn = (local_rope if masks[number].window else rope)(hp, "split", number)
        factor = scale(hp, number, GEMMA2_27B)
        scores = {"scale": factor, "scaled": "queries", "softcap": softcap}
        mixer = attention(hp, number, rope=turn, mask=masks[number], **scores)
        return layer(hp, mixer, feed_forward(hp, number, "gelu"), norm, post_norm=norm, llama_cpp=names)

    head = {"softcap": hp.float("final_logit_softcapping", 30.0)}
    return network(hp, build, norm, embedding={"scale": hp.d_model**0.5}, head=head, tied=True)


@architecture("gemma3", blocks="sandwich RMSNorm · q/k-norm · two RoPE bases · sliding window 5:1 · GEGLU")
def gemma3(hp: HyperParameters) -> Network:
    """Build it: layers with a sliding window have a RoPE base of their own and no context extension."""
    norm, names = rms_norm(hp), {"resid_mid": "sa_out"}
    masks = sliding_masks(hp, 6) if hp.int("attention.sliding_window", 0) else [Mask()] * hp.n_layers

    def build(number: int) -> Layer:
        local = masks[number].window > 0
        turn = (
            local_rope(hp, "split", number, base=10000.0, stretched=False)
            if local
            else rope(hp, "split", number)
        )
        factor = scale(hp, number, GEMMA3_27B)
        scores = {"scale": factor, "scaled": "queries", **qk_norm(norm)}
        mixer = attention(hp, number, rope=turn, mask=masks[number], **scores)
        return layer(hp, mixer, feed_forward(hp, number, "gelu"), norm, post_norm=norm, llama_cpp=names)

    head = {"softcap": hp.float("final_logit_softcapping", 0.0)}
    return network(hp, build, norm, embedding={"scale": hp.d_model**0.5}, head=head)
