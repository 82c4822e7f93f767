"""StableLM (Bellagente et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm, qk_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture(
    "stablelm",
    blocks="LayerNorm · partial RoPE · grouped-query attention · SwiGLU, in the 12B model parallel",
)
def stablelm(hp: HyperParameters) -> Network:
    """Build it; a file without a second norm has its branches in parallel, one with q/k-norms has one for each head."""
    mixer = qk_norm(layer_norm(hp, "none"), "heads") if hp.has("blk.0.attn_q_norm.weight") else {}
    layers = {
        "shared_norm": not hp.has("blk.0.ffn_norm.weight"),
        "llama_cpp": {"attn_q_norm": "Qcur", "attn_k_norm": "Kcur"},
    }
    return decoder(hp, "split", norm=layer_norm(hp), mixer=mixer, layers=layers)
