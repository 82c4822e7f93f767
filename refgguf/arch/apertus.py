"""Apertus (Swiss AI 2025): xIELU, whose constants are metadata (Huang & Schlag 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, feed_forward, layer, qk_norm, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network

NAMES = {"attn_q_rope": "Qcur_pos", "attn_k_rope": "Kcur_pos", "ffn_out": "ffn_down"}


@architecture("apertus", blocks="RMSNorm · q/k-norm · RoPE with factors · grouped-query attention · xIELU")
def apertus(hp: HyperParameters) -> Network:
    """Build it."""
    norm = rms_norm(hp)
    constants = [hp.per_layer_float(f"/xielu.{name}") for name in ("alpha_n", "alpha_p", "beta", "eps")]

    def build(number: int) -> Layer:
        turn = rope(hp, "split", number)
        mixer = attention(hp, number, rope=turn, **qk_norm(norm))
        own = tuple(values[number] for values in constants)
        ffn = feed_forward(hp, number, "xielu", gate="none", act_constants=own)
        return layer(hp, mixer, ffn, norm, llama_cpp=NAMES)

    return network(hp, build, norm)
