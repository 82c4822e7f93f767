"""Models whose scores fall with distance, by ALiBi: BLOOM, MPT, Refact, Baichuan, Jais (Press et al. 2022)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import head_sizes, layer_norm, qk_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.linear import Activation
from refgguf.blocks.network import Network

SPAN = 8.0  # log2 of the span of slopes, where no metadata gives it
MOST_SPAN = 128.0  # beyond it the smallest slope is 0 in float32
BAICHUAN_7B, BAICHUAN_13B = 32, 40  # layers, by which the one has RoPE and the other ALiBi


def slope_span(hp: HyperParameters) -> float:
    """Return the span of the slopes that the file gives, 0 for none.

    Raises:
        HyperParameterError: it is negative or absurdly large.
    """
    span = hp.float("attention.max_alibi_bias", 0.0)
    if not 0 <= span <= MOST_SPAN:
        raise hp.error("attention.max_alibi_bias", f"is {span:g}; it must lie between 0 and {MOST_SPAN:g}")
    return span


@architecture(
    "bloom", blocks="LayerNorm, also of the embedding · ALiBi · attention, fused qkv · GELU · biases"
)
def bloom(hp: HyperParameters) -> Network:
    """Build it."""
    norm = layer_norm(hp)
    names = {"embed": "inp_norm-0"}
    embedding, mixer = {"norm": norm}, {"alibi": SPAN}
    return decoder(
        hp, None, norm=norm, act="gelu", gate="none", embedding=embedding, mixer=mixer, llama_cpp=names
    )


@architecture("mpt", blocks="LayerNorm · ALiBi or learned positions · clamped fused qkv · GELU")
def mpt(hp: HyperParameters) -> Network:
    """Build it; biases, q/k-norms over all heads, activation scales and learned positions are there or not."""
    norm = layer_norm(hp, "optional")
    mixer = {
        "alibi": slope_span(hp),
        "clamp": hp.float("attention.clamp_kqv", 0.0),
    }
    if hp.has("blk.0.attn_q_norm.weight"):
        mixer |= qk_norm(norm, "all")
    positions = {"n_positions": hp.trained_context if hp.has("position_embd.weight") else 0}
    names = {"llama_cpp": {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"}}
    ffn = {"act_scales": hp.has("blk.0.ffn.act.scales")}
    return decoder(
        hp, None, norm=norm, act="gelu", gate="none", ffn=ffn, mixer=mixer, embedding=positions, layers=names
    )


@architecture("refact", blocks="RMSNorm · ALiBi · multi-query attention · SwiGLU")
def refact(hp: HyperParameters) -> Network:
    """Build it; of files with an expert count llama.cpp runs the activation function alone."""
    second = (lambda number: Activation("silu")) if hp.int("expert_count", 0) else None
    return decoder(hp, None, mixer={"alibi": SPAN}, second=second)


@architecture("baichuan", blocks="RMSNorm · RoPE, in the 13B model ALiBi · multi-head attention · SwiGLU")
def baichuan(hp: HyperParameters) -> Network:
    """Build it; other depths than the two known have neither, as in llama.cpp."""
    turn = "interleaved" if hp.n_layers == BAICHUAN_7B else None
    return decoder(hp, turn, mixer={"alibi": SPAN if hp.n_layers == BAICHUAN_13B else 0.0})


@architecture("jais", blocks="LayerNorm · ALiBi · attention, fused qkv · SwiGLU · biases")
def jais(hp: HyperParameters) -> Network:
    """Build it; scores are divided by d_head, not by its root."""
    mixer = {"alibi": slope_span(hp), "scale": 1 / head_sizes(hp, 0)[2]}
    return decoder(hp, None, norm=layer_norm(hp), mixer=mixer)
