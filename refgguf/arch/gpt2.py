"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture("gpt2", blocks="LayerNorm · learned positions · multi-head attention, fused qkv · GELU")
def gpt2(hp: HyperParameters) -> Network:
    """Build it."""
    positions = {"n_positions": hp.trained_context}
    return decoder(hp, None, norm=layer_norm(hp), act="gelu", gate="none", embedding=positions)
