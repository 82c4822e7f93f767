"""DeepSeek's mixtures of experts with ordinary attention, and what is built like them: dots.llm1, GLM-4.5, Ling.

Dai et al. 2024 (many small experts and some that see every token); DeepSeek-AI 2024 (a bias for the choice alone).
"""

from __future__ import annotations

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import (
    after_dense,
    deepseek_experts,
    expert_width,
    experts,
    shared_width,
    with_shared,
)
from refgguf.arch.parts import qk_norm, rms_norm
from refgguf.arch.positions import has_sections, multi_axis_rope, rope_base
from refgguf.arch.registry import architecture
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope


@architecture(
    "deepseek", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU, then experts and shared ones"
)
def deepseek(hp: HyperParameters) -> Network:
    """Build it."""

    def second(number: int):
        chosen = experts(hp, number, normed=False, scaled=True)
        return with_shared(hp, number, chosen, shared_width(hp, number))

    return decoder(hp, "interleaved", second=after_dense(hp, second))


@architecture(
    "deepseek2-ocr", blocks="RMSNorm · RoPE · multi-head attention · SwiGLU, then experts and shared ones"
)
def deepseek_ocr(hp: HyperParameters) -> Network:
    """Build the language model; it knows no context extension."""
    width = hp.d_model // hp.per_layer("attention.head_count", least=1)[0]
    turn = Rope("split", width, rope_base(hp))
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="softmax"))
    layers = {"llama_cpp": {"attn_q_rope": "q_pe", "attn_k_rope": "k_pe"}}
    return decoder(hp, lambda number: turn, second=second, layers=layers)


@architecture(
    "dots1", blocks="RMSNorm · q/k-norm · RoPE · SwiGLU, then experts with a choice bias and shared ones"
)
def dots1(hp: HyperParameters) -> Network:
    """Build it."""
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="softmax"))
    return decoder(hp, "split", second=second, mixer=qk_norm(rms_norm(hp)))


@architecture(
    "glm4moe",
    blocks="RMSNorm · partial or multi-axis RoPE · q/k-norm in the large one · SwiGLU, then experts and shared ones",
)
def glm4moe(hp: HyperParameters) -> Network:
    """Build the language model."""
    turn = (lambda number: multi_axis_rope(hp, number)) if has_sections(hp) else "split"
    mixer = qk_norm(rms_norm(hp)) if hp.has("blk.0.attn_q_norm.weight") else {}
    names = {"ffn_norm": "post_attn_norm", "ffn_shexp": "ffn_shexp_out"}
    second = after_dense(hp, lambda n: deepseek_experts(hp, n, shares="sigmoid"))
    layers = {"norms": ("attn_norm", "post_attention_norm"), "llama_cpp": names}
    return decoder(hp, turn, second=second, mixer=mixer, layers=layers)


@architecture("bailingmoe", blocks="RMSNorm · RoPE · grouped-query attention · experts and shared ones")
def bailingmoe(hp: HyperParameters) -> Network:
    """Build it."""
    normed = hp.bool("expert_weights_norm", False)

    def second(number: int):
        chosen = experts(hp, number, normed=normed, scaled=True)
        return with_shared(hp, number, chosen, shared_width(hp, number))

    return decoder(hp, "interleaved", second=second)


@architecture(
    "bailingmoe2",
    blocks="RMSNorm · q/k-norm · RoPE · fused qkv · SwiGLU, then experts in groups and shared ones",
)
def bailingmoe2(hp: HyperParameters) -> Network:
    """Build it."""

    def second(number: int):
        width = hp.int("expert_shared_feed_forward_length", 0) or expert_width(hp, number)
        d_shared = width * hp.int("expert_shared_count")
        return deepseek_experts(hp, number, shares="softmax", d_shared=d_shared)

    layers = {"llama_cpp": {"resid_mid": "sa_out"}}
    return decoder(hp, "split", second=after_dense(hp, second), mixer=qk_norm(rms_norm(hp)), layers=layers)
