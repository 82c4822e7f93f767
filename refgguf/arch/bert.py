"""BERT and what is built like it: MiniLM, BGE, E5, Nomic, Jina.

Devlin et al. 2019; Nussbaum et al. 2024; Günther et al. 2023; Sturua et al. 2024.
"""

from __future__ import annotations

from refgguf.arch.encoder import post_norm_encoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import feed_forward, layer_norm, qk_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.network import Network

JINA_SPAN = 8.0  # log2 of the span of ALiBi's slopes, which no metadata gives


@architecture(
    "bert", blocks="LayerNorm after each addition · learned positions · both directions · GELU · pooling"
)
def bert(hp: HyperParameters) -> Network:
    """Build it."""
    return post_norm_encoder(hp, lambda n: feed_forward(hp, n, "gelu", gate="none"), learned_positions=True)


@architecture(
    "nomic-bert", blocks="LayerNorm after each addition · RoPE · both directions · SwiGLU · pooling"
)
def nomic_bert(hp: HyperParameters) -> Network:
    """Build it."""
    return post_norm_encoder(hp, lambda n: feed_forward(hp, n, "silu"), turns=True)


@architecture(
    "jina-bert-v3", blocks="LayerNorm after each addition · RoPE · both directions · GELU · pooling"
)
def jina_bert_v3(hp: HyperParameters) -> Network:
    """Build it."""
    return post_norm_encoder(hp, lambda n: feed_forward(hp, n, "gelu", gate="none"), turns=True)


@architecture(
    "nomic-bert-moe",
    blocks="LayerNorm after each addition · RoPE · both directions · GELU and GELU experts by turns · pooling",
)
def nomic_bert_moe(hp: HyperParameters) -> Network:
    """Build it; the second of every few layers has experts."""
    period = hp.int("moe_every_n_layers", 0)

    def second(number: int) -> Block:
        if period and number % period == 1:
            d_ff = hp.per_layer("feed_forward_length", least=1)[number]
            return experts(hp, number, "gelu", gate="none", normed=False, d_ff=d_ff)
        return feed_forward(hp, number, "gelu", gate="none")

    return post_norm_encoder(hp, second, turns=True)


@architecture(
    "jina-bert-v2",
    blocks="LayerNorm after each addition · ALiBi · both directions · q/k-norm in some · GEGLU or GELU · pooling",
)
def jina_bert_v2(hp: HyperParameters) -> Network:
    """Build it; gates have a matrix of their own, share one with the neurons' inputs, or there are none."""

    def second(number: int) -> Block:
        d_ff = hp.per_layer("feed_forward_length")[number]
        up = hp.tensors.get(f"blk.{number}.ffn_up.weight")
        alone = "none" if up is None or up.shape[0] == d_ff else "merged"
        gate = "split" if hp.has(f"blk.{number}.ffn_gate.weight") else alone
        return feed_forward(hp, number, "gelu", gate=gate)

    mixer = {"alibi": JINA_SPAN}
    for sign in "qk":
        if hp.has(f"blk.0.attn_{sign}_norm.weight"):
            mixer |= {f"{sign}_norm": qk_norm(layer_norm(hp, "optional"), "all")[f"{sign}_norm"]}
    return post_norm_encoder(hp, second, again=lambda n: hp.has(f"blk.{n}.attn_norm_2.weight"), mixer=mixer)
