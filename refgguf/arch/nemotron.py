"""Models with LayerNorm and ReLU² or SwiGLU: Nemotron, Jais 2, Orion (Parmar et al. 2024; So et al. 2021)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture("nemotron", blocks="LayerNorm · partial RoPE · grouped-query attention · ReLU²")
def nemotron(hp: HyperParameters) -> Network:
    """Build it; norm weights are stored with the 1 added that the model adds."""
    return decoder(hp, "split", norm=layer_norm(hp), act="relu_squared", gate="none")


@architecture("jais2", blocks="LayerNorm · RoPE · grouped-query attention · ReLU² · biases")
def jais2(hp: HyperParameters) -> Network:
    """Build it."""
    names = {"llama_cpp": {"attn_q_rope": "Qcur_rope", "attn_k_rope": "Kcur_rope"}}
    return decoder(hp, "split", norm=layer_norm(hp), act="relu_squared", gate="none", layers=names)


@architecture("orion", blocks="LayerNorm · RoPE · grouped-query attention · SwiGLU")
def orion(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split", norm=layer_norm(hp))
