"""Qwen 1 to 3 without experts, and what is built like them (Bai et al. 2023; Yang et al. 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture("qwen3", blocks="RMSNorm · q/k-norm · RoPE · grouped-query attention · SwiGLU")
def qwen3(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split", mixer=qk_norm(rms_norm(hp)))
