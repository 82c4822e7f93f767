"""OpenELM (Mehta et al. 2024): each layer with its own number of heads and neurons."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network

# llama.cpp names the turned queries Vcur
NAMES = {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur", "attn_q_rope": "Vcur"}


@architecture(
    "openelm",
    blocks="RMSNorm · q/k-norm · RoPE · grouped-query attention, fused qkv, sizes by layer · SwiGLU",
)
def openelm(hp: HyperParameters) -> Network:
    """Build it."""
    return decoder(hp, "split", mixer=qk_norm(rms_norm(hp)), layers={"llama_cpp": NAMES}, tied=True)
