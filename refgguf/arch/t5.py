"""T5 (Raffel et al. 2020): an encoder reads one text, a decoder writes another; and its encoder alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from refgguf.arch.encoder import BOTH_WAYS, named_end
from refgguf.arch.hyper import MAX_LAYERS, HyperParameters
from refgguf.arch.parts import feed_forward, head_sizes, layer, rms_norm
from refgguf.arch.pooling import pooling
from refgguf.arch.registry import architecture
from refgguf.blocks.branch import Branch
from refgguf.blocks.cross import CrossAttention, CrossLayer
from refgguf.blocks.encoding import Encoding
from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.ffn import FeedForward
from refgguf.blocks.layer import Layer
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.pooling import Pooling
from refgguf.blocks.relative import RelativeAttention

ENCODER, DECODER = "enc.", "dec."
NAMES = {
    "attn_out": "kqv_out",
    "resid_attn": "cross_inp",
    "cross_attn_norm": "attn_norm_cross",
    "cross_attn_out": "kqv_out",
}


def sizes(hp: HyperParameters) -> dict[str, Any]:
    """Return the switches of `Attention` that all attentions have; scores are not scaled."""
    n_heads, n_kv_heads, d_head, d_head_v = head_sizes(hp, 0)
    if n_heads != n_kv_heads:
        raise hp.error("attention.head_count_kv", f"is {n_kv_heads}; it must be the head count {n_heads}")
    if d_head != d_head_v:
        raise hp.error("attention.value_length", f"is {d_head_v}; it must be the key length {d_head}")
    heads = {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "d_head": d_head, "d_head_v": d_head_v}
    return {"d_model": hp.d_model, **heads, "scale": 1.0, "matrix": "attn_o"}


def relative(hp: HyperParameters, part: str, number: int, mask: Mask) -> RelativeAttention:
    """Return the attention of a layer among its own tokens; mostly only the first layer has a table of biases."""
    n_buckets = hp.int("attention.relative_buckets_count", least=4)
    own = f"{part}blk.{number}.attn_rel_b.weight"
    table = own if hp.has(own) else f"{part}blk.0.attn_rel_b.weight"
    return RelativeAttention(**sizes(hp), mask=mask, table=table, n_buckets=n_buckets)


def neurons(hp: HyperParameters, part: str, number: int) -> FeedForward:
    """Return the feed-forward network of a layer: with ReLU, or in Flan-T5 with a gate and GELU."""
    gated = hp.has(f"{part}blk.{number}.ffn_gate.weight")
    act, gate = ("gelu", "split") if gated else ("relu", "none")
    return feed_forward(hp, number, act, gate=gate, d_ff=hp.int("feed_forward_length", least=1))


def encoder(hp: HyperParameters, pool: Pooling, llama_cpp: dict[str, str], **switches: Any) -> Network:
    """Return the encoder; `llama_cpp` and switches as in `Network`."""
    norm, last = rms_norm(hp), f"{ENCODER}blk.{hp.n_layers - 1}.resid_post"

    def build(number: int) -> Layer:
        mixer, ffn = relative(hp, ENCODER, number, BOTH_WAYS), neurons(hp, ENCODER, number)
        return layer(hp, mixer, ffn, norm, llama_cpp=NAMES)

    return Network(
        Embedding(hp.n_vocab, hp.d_model),
        tuple(build(number) for number in range(hp.n_layers)),
        Encoding(hp.d_model, norm, pool, f"{ENCODER}output_norm"),
        causal=False,
        pooling=pool,
        prefix=ENCODER,
        llama_cpp={last: "result_embd", **llama_cpp},
        **switches,
    )


@architecture(
    "t5encoder", blocks="RMSNorm · both directions, a bias for each distance · ReLU or GEGLU · pooling"
)
def t5encoder(hp: HyperParameters) -> Network:
    """Build it."""
    pool = pooling(hp)
    return encoder(hp, pool, named_end(pool, "final_norm", "result_norm"))


@architecture(
    "t5",
    blocks="RMSNorm · an encoder in both directions, a decoder with attention across · a bias for each distance · "
    "ReLU or GEGLU",
)
def t5(hp: HyperParameters) -> Network:
    """Build it."""
    norm, n_layers = rms_norm(hp), hp.int("decoder_block_count", hp.n_layers, least=1, most=MAX_LAYERS)

    def build(number: int) -> CrossLayer:
        mixer, ffn = relative(hp, DECODER, number, Mask()), neurons(hp, DECODER, number)
        plain = layer(hp, mixer, ffn, norm)
        across = CrossAttention(**sizes(hp), mask=BOTH_WAYS)
        cross = Branch(hp.d_model, across, "cross_attn_norm", norm, "cross_attn_norm")
        return CrossLayer(plain.mixer, plain.ffn, cross=cross, llama_cpp=NAMES)

    matrix = "output" if hp.has("output.weight") else "token_embd"
    start = hp.int("decoder_start_token_id", -1, least=-1, most=hp.n_vocab - 1)
    none = replace(pooling(hp), kind="none")
    return Network(
        Embedding(hp.n_vocab, hp.d_model),
        tuple(build(number) for number in range(n_layers)),
        Head(hp.n_vocab, hp.d_model, norm, matrix, norm_tensor=f"{DECODER}output_norm"),
        prefix=DECODER,
        encoder=encoder(hp, none, {}, outside=ENCODER),
        start=start if start >= 0 else hp.int("/tokenizer.ggml.bos_token_id", most=hp.n_vocab - 1),
        llama_cpp={f"{DECODER}blk.{n_layers - 1}.resid_post": "result_embd"},
    )
