"""Encoders that norm what their branches read: ModernBERT, NeoBERT, EuroBERT, embedding models of Llama and Gemma.

Warner et al. 2024; Le Breton et al. 2025; Boizard et al. 2025; Schechter Vera et al. 2025.
"""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder, network
from refgguf.arch.encoder import BOTH_WAYS, NAMES, encoder, named_end
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, layer_norm, qk_norm, rms_norm, sliding_masks
from refgguf.arch.pooling import MEAN, pooling
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope

LOCAL_BASE = 10000.0  # frequency base of layers with a window, where the file does not say
MERGED_NAMES = NAMES | {"ffn_out": ""}  # nor a name to what comes of gates and inputs from one matrix
# llama.cpp's names of gated activation functions, which are those of the unit or of the function alone
HIDDEN_ACTS = {
    "gelu": "gelu", "geglu": "gelu", "silu": "silu", "swish": "silu", "swiglu": "silu", "reglu": "relu",
}  # fmt: skip


@architecture(
    "eurobert", blocks="RMSNorm · RoPE · grouped-query attention in both directions · SwiGLU · pooling"
)
def eurobert(hp: HyperParameters) -> Network:
    """Build it."""
    return encoder(hp, "split", llama_cpp={"embed": "inp_embd"})


@architecture(
    "neo-bert",
    blocks="RMSNorm · RoPE · attention in both directions, fused qkv · SwiGLU in one matrix · pooling",
)
def neo_bert(hp: HyperParameters) -> Network:
    """Build it."""
    names = {"embed": "inp_embd"}
    layers = {"llama_cpp": MERGED_NAMES | {"attn_norm": ""}}
    return encoder(
        hp, "interleaved", gate="merged", norm_tensor="enc.output_norm", layers=layers, llama_cpp=names
    )


@architecture("llama-embed", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts · pooling")
def llama_embed(hp: HyperParameters) -> Network:
    """Build it: a Llama that was trained on to see texts in both directions; the file says whether it does."""
    causal = hp.bool("attention.causal", True)
    pool = pooling(hp, causal=causal)
    end = named_end(pool, "final_norm", "result_norm")
    mixer = {"mask": Mask(causal=causal)}
    return decoder(hp, "interleaved", sparse=True, mixer=mixer, pool=pool, llama_cpp=end, causal=causal)


def _masks(hp: HyperParameters, period: int, *, dense_first: bool = False) -> list[Mask]:
    """Return what each layer sees: all tokens, or those within half a window to each side."""
    masks = sliding_masks(hp, period, dense_first=dense_first, kind="symmetric")
    return [replace(mask, causal=False) for mask in masks]


def _turn(hp: HyperParameters, mask: Mask, number: int) -> Rope:
    """Return a layer's RoPE: those with a window have a base of their own and no context extension."""
    if mask.window:
        return local_rope(hp, "split", number, base=LOCAL_BASE, stretched=False)
    return rope(hp, "split", number)


@architecture(
    "modern-bert",
    blocks="LayerNorm without bias · two RoPE bases · both directions, window 2:1 · GEGLU in one matrix · pooling",
)
def modern_bert(hp: HyperParameters) -> Network:
    """Build it; the first layer reads the stream as it is, since the embedding is normed already."""
    norm = layer_norm(hp, "none")
    slides = hp.int("attention.sliding_window", 0) > 0
    masks = _masks(hp, 3, dense_first=True) if slides else [BOTH_WAYS] * hp.n_layers
    act = hp.str("hidden_activation", "gelu")
    if act == "relu":
        raise hp.error(
            "hidden_activation", "is relu; this architecture's neurons have gates, so that it must be reglu"
        )
    pool = pooling(hp, act="gelu", norm=norm, reads=MEAN)

    def build(number: int):
        mixer = attention(hp, number, rope=_turn(hp, masks[number], number), mask=masks[number])
        ffn = feed_forward(hp, number, HIDDEN_ACTS.get(act, "gelu"), gate="merged")
        built = layer(hp, mixer, ffn, norm, llama_cpp=MERGED_NAMES)
        bare = number == 0 and not hp.has("blk.0.attn_norm.weight")
        return replace(built, mixer=replace(built.mixer, norm=None)) if bare else built

    names = {
        "token_embd": "inp_embd",
        "embed": "inp_norm-0",
        **named_end(pool, "final_norm", "final_norm_out"),
    }
    return network(hp, build, norm, pool=pool, embedding={"norm": norm}, llama_cpp=names, causal=False)


@architecture(
    "gemma-embedding",
    blocks="sandwich RMSNorm · q/k-norm · two RoPE bases · both directions, window 5:1 · GEGLU · pooling, matrices",
)
def gemma_embedding(hp: HyperParameters) -> Network:
    """Build it."""
    norm, masks, pool = rms_norm(hp), _masks(hp, 6), pooling(hp)
    return decoder(
        hp,
        lambda number: _turn(hp, masks[number], number),
        act="gelu",
        mixer=lambda number: {"mask": masks[number], "scaled": "queries", **qk_norm(norm)},
        layers={"post_norm": norm, "llama_cpp": {"resid_mid": "sa_out", "ffn_out": "/ffn_post_norm"}},
        pool=pool,
        embedding={"scale": hp.d_model**0.5},
        llama_cpp=named_end(pool, "final_norm", "result_norm"),
        causal=False,
    )
