"""Hunyuan 4: latent attention over chosen keys, between several residual streams (Tencent 2026)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.hyper import HyperParameters
from refgguf.arch.latent import latent_attention
from refgguf.arch.mixture import after_dense, deepseek_experts, swiglu_limits
from refgguf.arch.parts import layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.arch.sparse import indexer, latent_sizes, shared_selectors
from refgguf.arch.streams import hyper_connection, stream_network, streamed
from refgguf.blocks.attention import Gate
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.selector import Selector

# llama.cpp names few of latent attention's steps here
NAMES = dict.fromkeys(("attn_q_a", "attn_q_a_norm", "attn_q", "attn_q_full", "attn_q_absorbed", "attn_k"), "")
NAMES |= dict.fromkeys(("attn_kv_a", "attn_gate", "attn_gate_act", "indexer.weights", "indexer.k"), "")
NAMES |= {"attn_z": "attn_kqv", "resid_mid": "hc_attn_out", "hc_attn_in": "", "hc_ffn_in": ""}
NAMES |= {
    "hc_attn_post": "hc_post_gate",
    "hc_ffn_post": "hc_post_gate",
    "indexer.q": "",
    "indexer.k_norm": "",
}


def _selectors(hp: HyperParameters) -> list[Selector | None]:
    """Return what chooses each layer's keys; files without a choice attend to all."""
    if not hp.int("attention.indexer.top_k", 0):
        return [None] * hp.n_layers
    turn = replace(rope(hp, "interleaved"), factors=None, tail=True)
    norm = Norm("layer", rms_norm(hp).eps, bias="required")
    own = hp.per_layer("attention.indexer.types", most=1)
    return shared_selectors(hp, own, indexer(hp, norm, turn))


@architecture(
    "hy_v4",
    blocks="hyper-connections · RMSNorm · gated latent attention over the keys that an indexer, or an earlier layer's,"
    " chooses · sinks · RoPE · SwiGLU, then bounded experts with a choice bias and shared ones",
)
def hy_v4(hp: HyperParameters) -> Network:
    """Build it."""
    norm, sizes, selectors = rms_norm(hp), latent_sizes(hp), _selectors(hp)
    turn = replace(rope(hp, "interleaved"), factors=None)
    limits = swiglu_limits(hp, "exp")
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="softmax", limit=limits[n]))
    eps = hp.float("hyper_connection.epsilon")
    most = {"post_scale": hp.float("hyper_connection.magnitude"), "eps_post": eps}

    def build(number: int) -> Layer:
        switches = {"gate": Gate(), "sinks": True, "selector": selectors[number]}
        mixer = latent_attention(hp, number, turn, scale=sizes["d_head"] ** -0.5, **sizes, **switches)
        plain = layer(hp, mixer, second(number), norm, llama_cpp=NAMES)
        return streamed(plain, lambda name: hyper_connection(hp, name, **most))

    return stream_network(hp, build, hyper_connection(hp, "output_hc", writes=False))
