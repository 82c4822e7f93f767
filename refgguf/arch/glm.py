"""ChatGLM and GLM-4 without experts (GLM Team 2024, 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import rms_norm
from refgguf.arch.positions import has_sections, multi_axis_rope
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture(
    "chatglm", blocks="RMSNorm · partial RoPE · grouped-query attention, biased qkv · SwiGLU in one matrix"
)
def chatglm(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "interleaved", gate="merged")


@architecture(
    "glm4",
    blocks="sandwich RMSNorm · partial or multi-axis RoPE · grouped-query attention · SwiGLU in one matrix",
)
def glm4(hp: HyperParameters) -> Network:
    """Build the language model."""
    turn = (lambda number: multi_axis_rope(hp, number)) if has_sections(hp) else "interleaved"
    names = {"attn_out": "post_attn_norm", "ffn_out": "post_mlp_norm"}
    return decoder(hp, turn, gate="merged", layers={"post_norm": rms_norm(hp), "llama_cpp": names})
