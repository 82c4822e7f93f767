"""Phi 2 to 4 (Javaheripi et al. 2023; Abdin et al. 2024)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import layer_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network


@architecture(
    "phi2", blocks="LayerNorm · partial RoPE · attention and GELU in parallel behind one norm · biases"
)
def phi2(hp: HyperParameters) -> Network:
    """Build it."""
    layers, mixer = {"shared_norm": True, "sums": (1, 2, 0)}, {"scaled": "queries"}
    return decoder(hp, "split", norm=layer_norm(hp), act="gelu", gate="none", layers=layers, mixer=mixer)


@architecture(
    "phi3", blocks="RMSNorm · RoPE (longrope) · grouped-query attention, fused qkv · SwiGLU in one matrix"
)
def phi3(hp: HyperParameters) -> Network:
    """Build it; as in llama.cpp the sliding window of some files is not applied.

    What llama.cpp calls queries is scaled already, and so no name of ours.
    """
    layers, mixer = {"llama_cpp": {"attn_q": "", "attn_q_rope": ""}}, {"scaled": "queries"}
    return decoder(hp, "split", gate="merged", layers=layers, mixer=mixer)
