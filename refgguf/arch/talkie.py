"""Talkie (2025): the embedding is added again after every layer; no norm has weights."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.layer import EmbeddingSkip
from refgguf.blocks.network import Network
from refgguf.blocks.norm import HeadNorm

NAMES = {"attn_q_rope": "", "attn_k_rope": "", "attn_q_norm": "Qcur_norm", "attn_k_norm": "Kcur_norm"}


@architecture(
    "talkie",
    blocks="RMSNorm without weights · RoPE, then q/k-norm · grouped-query attention · SwiGLU · embedding skip",
)
def talkie(hp: HyperParameters) -> Network:
    """Build it."""
    norm = rms_norm(hp, weight=False)
    return decoder(
        hp,
        "split",
        norm=norm,
        mixer={"q_norm": HeadNorm(rms_norm(hp), "gain"), "k_norm": HeadNorm(norm), "norm_after_rope": True},
        layers={"skip": EmbeddingSkip(), "llama_cpp": NAMES},
        embedding={"norm": norm},
        head={"scale": hp.float("logit_scale")},
    )
