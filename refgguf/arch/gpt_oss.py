"""gpt-oss (OpenAI 2025)."""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network

LIMIT = 7.0  # of gates and inputs, in no metadata (llama.cpp src/llama-graph.cpp, build_moe_ffn)


@architecture(
    "gpt-oss",
    blocks="RMSNorm · sliding window 1:1 · sinks · RoPE (YaRN) · experts, softmax over the chosen, bounded SwiGLU",
)
def gpt_oss(hp: HyperParameters) -> Network:
    """Build it."""
    masks = sliding_masks(hp, 2)

    def second(number: int):
        return experts(hp, number, "swiglu_oai", shares="chosen", normed=False, limit=LIMIT)

    return decoder(
        hp,
        lambda n: (local_rope if masks[n].window else rope)(hp, "split", n),
        mixer=lambda n: {"mask": masks[n], "sinks": True},
        second=second,
        layers={"norms": ("attn_norm", "post_attention_norm")},
    )
