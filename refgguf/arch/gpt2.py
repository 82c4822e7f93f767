"""GPT-2 and the code models built on it (Radford et al. 2019; Li et al. 2023; Lozhkov et al. 2024; Xie et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture(
    "gpt2", "starcoder", blocks="LayerNorm · learned positions · attention, fused qkv · GELU · biases"
)
def gpt2(hp: HyperParameters) -> Network:
    """Build it."""
    positions = {"n_positions": hp.trained_context}
    return decoder(hp, None, norm=layer_norm(hp), act="gelu", gate="none", embedding=positions)


@architecture("starcoder2", "codeshell", blocks="LayerNorm · RoPE · grouped-query attention · GELU · biases")
def starcoder2(hp: HyperParameters) -> Network:
    """Build it; some files have the embedding only as output matrix."""
    table = {"table": "token_embd" if hp.has("token_embd.weight") else "output"}
    return decoder(hp, "split", norm=layer_norm(hp), act="gelu", gate="none", embedding=table)


@architecture("pockettts", blocks="LayerNorm · RoPE · multi-head attention · GELU")
def pockettts(hp: HyperParameters) -> Network:
    """Build the language model."""
    return decoder(hp, "interleaved", norm=layer_norm(hp), act="gelu", gate="none", tied=True)
