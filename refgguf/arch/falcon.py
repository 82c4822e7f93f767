"""Falcon and GPT-NeoX: attention and feed-forward network side by side (Almazrouei et al. 2023; Black et al. 2022)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture("falcon", blocks="LayerNorm · RoPE · grouped-query attention, fused qkv, and GELU in parallel")
def falcon(hp: HyperParameters) -> Network:
    """Build it; the large ones have a norm of its own for attention."""
    two = hp.has("blk.0.attn_norm_2.weight")
    layers = {"parallel": True, "norms": ("attn_norm_2", "attn_norm")} if two else {"shared_norm": True}
    layers["sums"] = (2, 1, 0)
    return decoder(hp, "split", norm=layer_norm(hp), act="gelu", gate="none", layers=layers)


@architecture(
    "gptneox", blocks="LayerNorm · partial RoPE · attention, fused qkv, and GELU, mostly in parallel · biases"
)
def gptneox(hp: HyperParameters) -> Network:
    """Build it."""
    layers = {"parallel": hp.bool("use_parallel_residual")}
    return decoder(hp, "split", norm=layer_norm(hp), act="gelu", gate="none", layers=layers)
