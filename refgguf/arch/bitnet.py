"""BitNet b1.58 (Ma et al. 2024): ternary weights, norms before both output matrices."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture(
    "bitnet",
    blocks="RMSNorm, also before output matrices · RoPE · grouped-query attention · SwiGLU · ternary scales",
)
def bitnet(hp: HyperParameters) -> Network:
    """Build it."""
    inner = {"sub_norm": rms_norm(hp)}
    names = {"llama_cpp": {"ffn_act": "ffn_sub_out", "ffn_out": "ffn_down"}}
    return decoder(hp, "split", mixer=inner, ffn=inner, layers=names, tied=True)
