"""Nemotron-H and Nemotron 3: layers of one block each, Mamba-2, attention, or a network (NVIDIA 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mamba import mamba2
from refgguf.arch.mixture import expert_width, experts
from refgguf.arch.parts import attention, feed_forward, layer
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.latent_experts import LatentExperts
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.together import Together

# llama.cpp gives the name l_out to what a network adds, not to the sum
NAMES = {"resid_post": "nemotron_h_block_out", "ffn_norm": "attn_norm", "ffn_out": "l_out"}


def mixture(hp: HyperParameters, number: int) -> Block:
    """Return a layer's experts, in fewer channels where the file has matrices for that, beside a shared one."""
    d_ff = expert_width(hp, number, divided=True)
    normed, d_shared = (
        hp.bool("expert_weights_norm", False),
        hp.int("expert_shared_feed_forward_length", 0),
    )
    chosen: Block = experts(
        hp, number, "relu_squared", shares="sigmoid", normed=normed, scaled=True, d_ff=d_ff, gate="none"
    )
    chosen = replace(chosen, out="ffn_moe_out")
    if hp.has(f"blk.{number}.ffn_latent_down.weight"):
        chosen = replace(chosen, d_model=hp.int("moe_latent_size", 0) or hp.d_model)
        chosen = LatentExperts(hp.d_model, chosen)
    if not d_shared:
        return Together((chosen,))
    shared = {"d_ff": d_shared, "gate": "none", "suffix": "_shexp", "out": "ffn_shexp"}
    return Together((chosen, feed_forward(hp, number, "relu_squared", **shared)))


@architecture(
    "nemotron_h",
    "nemotron_h_moe",
    blocks="RMSNorm · one a layer: Mamba-2, grouped-query attention without positions, ReLU² or ReLU² experts",
)
def nemotron_h(hp: HyperParameters) -> Network:
    """Build it; a layer without heads of keys and without neurons is Mamba-2."""
    key = "attention.layer_norm_rms_epsilon"
    norm = Norm("rms", hp.float(key if hp.given(key) else "attention.layer_norm_epsilon", positive=True))
    kv_heads, d_ffs = hp.per_layer("attention.head_count_kv"), hp.per_layer("feed_forward_length")
    sparse, scale = hp.int("expert_count", 0) > 0, hp.float("attention.scale", 0.0) or None

    def build(number: int) -> Layer:
        if d_ffs[number]:
            plain = None if sparse else feed_forward(hp, number, "relu_squared", gate="none")
            ffn = plain or mixture(hp, number)
            return layer(hp, None, ffn, norm, norms=("attn_norm", "attn_norm"), llama_cpp=NAMES)
        mixer = attention(hp, number, rope=None, scale=scale) if kv_heads[number] else mamba2(hp, number)
        return layer(hp, mixer, None, norm, llama_cpp=NAMES)

    return network(hp, build, norm)
