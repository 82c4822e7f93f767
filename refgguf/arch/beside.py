"""A dense network beside the experts: Grok and Arctic."""

from __future__ import annotations

import math
from dataclasses import replace

from refgguf.arch.decoder import decoder, network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import attention, feed_forward, rms_norm
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.early import Early
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.rope import Rope
from refgguf.blocks.together import Together

# what Grok-1's files do not say (llama.cpp src/models/grok.cpp)
GROK_EMBEDDING_SCALE, GROK_LOGIT_SCALE = 78.38367176906169, 0.5773502691896257
GROK_ATTENTION_SCALE, GROK_SOFTCAP, GROK_BETA_FAST = 0.08838834764831845, 30.0, 8.0


@architecture(
    "grok",
    blocks="sandwich RMSNorm · RoPE · capped attention scores · GEGLU experts, Grok 2: beside a dense GEGLU",
)
def grok(hp: HyperParameters) -> Network:
    """Build it (xAI 2024, 2025)."""
    norm, scale = rms_norm(hp), hp.float("attention.output_scale", GROK_ATTENTION_SCALE)
    cap = hp.float("attn_logit_softcapping", GROK_SOFTCAP)
    names = {"attn_out": "attn_out_norm"}

    def turn(number: int) -> Rope:
        turning = rope(hp, "split", number)
        beta = turning.scaling.beta_fast if hp.given("rope.scaling.yarn_beta_fast") else GROK_BETA_FAST
        return replace(turning, scaling=replace(turning.scaling, beta_fast=beta), factors=None)

    def second(number: int) -> Block:
        if not hp.has(f"blk.{number}.ffn_up.weight"):
            return experts(hp, number, "gelu")
        dense = feed_forward(hp, number, "gelu", out="ffn_dense")
        return Together((experts(hp, number, "gelu", out="ffn_moe_out"), dense), math.sqrt(2) / 2)

    def build(number: int) -> Layer:
        last = "layer_output_norm" if hp.has(f"blk.{number}.layer_output_norm.weight") else "post_ffw_norm"
        mixer = attention(hp, number, rope=turn(number), scale=scale, scaled="capped", softcap=cap)
        first = Branch(hp.d_model, mixer, "attn_norm", norm, "attn_norm", norm, "attn_output_norm")
        then = Branch(hp.d_model, second(number), "ffn_norm", norm, "ffn_norm", norm, last)
        return Layer(first, then, llama_cpp=names)

    head = {
        "scale": hp.float("logit_scale", GROK_LOGIT_SCALE),
        "softcap": hp.float("final_logit_softcapping", 0.0),
    }
    embedding = {"scale": hp.float("embedding_scale", GROK_EMBEDDING_SCALE)}
    names_outside = {"token_embd": "", "embed": "embd"}
    return network(hp, build, norm, embedding=embedding, head=head, llama_cpp=names_outside)


@architecture(
    "arctic", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU after it, experts beside both"
)
def arctic(hp: HyperParameters) -> Network:
    """Build it (Snowflake 2024): its experts read the stream that enters the layer."""
    norm = rms_norm(hp)

    def second(number: int) -> Together:
        dense = feed_forward(hp, number, "silu", d_ff=hp.d_model, out="ffn_dense")
        chosen = experts(hp, number, d_ff=hp.per_layer("feed_forward_length")[number], out="ffn_moe_out")
        return Together((dense, Early(hp.d_model, chosen, norm, "ffn_norm_exps")))

    return decoder(hp, "interleaved", second=second, layers={"llama_cpp": {"ffn_out": "", "ffn_dense": ""}})
