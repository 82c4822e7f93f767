"""Llama and what is built like it: Mistral, Mixtral, SmolLM, Yi … (Touvron et al. 2023; Jiang et al. 2023, 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture("llama", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts")
def llama(hp: HyperParameters) -> Network:
    """Build it; files with an expert count are mixtures of experts."""
    return decoder(hp, "interleaved")
