"""Kimi K3: Kimi delta attention, gated latent attention, experts in fewer channels, attention over layers (2026)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from refgguf.arch.decoder import network
from refgguf.arch.hyper import MAX_LAYERS, HyperParameters
from refgguf.arch.kimi import LATENT_NAMES, at_least_one, delta_attention, hybrid, latent
from refgguf.arch.mixture import after_dense, experts, gating
from refgguf.arch.parts import feed_forward, rms_norm
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.attention_residual import SourcedLayer, SourceMix
from refgguf.blocks.block import Block
from refgguf.blocks.kda import KimiDeltaAttention
from refgguf.blocks.latent_experts import LatentExperts
from refgguf.blocks.layer import Layer
from refgguf.blocks.mla import LatentAttention
from refgguf.blocks.network import Network
from refgguf.blocks.together import Together

NAMES = LATENT_NAMES | {"resid_mid": "prefix_sum_attn"}


def situ(hp: HyperParameters) -> dict[str, Any]:
    """Return the switches of the gated unit that all its networks have."""
    bounds = hp.float("activation.situ_beta", positive=True), hp.float("activation.situ_linear_beta")
    return {"limit": bounds[0], "up_limit": max(bounds[1], 0.0)}


def mixture(hp: HyperParameters, number: int) -> Block:
    """Return a layer's experts, in fewer channels where the file says so, beside one that sees every token."""
    bounds, latent_size = situ(hp), hp.int("expert_latent_length", 0)
    normed = hp.bool("expert_weights_norm", False)
    chosen: Block = experts(
        hp,
        number,
        "situ",
        shares=gating(hp, "sigmoid"),
        normed=normed,
        scaled=True,
        out="ffn_moe_out",
        **bounds,
    )
    if latent_size:
        norm = rms_norm(hp) if hp.has(f"blk.{number}.ffn_routed_norm.weight") else None
        chosen = replace(chosen, d_model=latent_size)
        chosen = LatentExperts(hp.d_model, chosen, tensors="ffn_routed", norm=norm)
    if not hp.has(f"blk.{number}.ffn_gate_shexp.weight"):
        return Together((chosen,))
    width = at_least_one(hp, number)
    shared = {"d_ff": width, "suffix": "_shexp", "out": "ffn_shexp", **bounds}
    return Together((chosen, feed_forward(hp, number, "situ", **shared)))


def sourced(hp: HyperParameters, built: Layer, number: int, every: int) -> SourcedLayer:
    """Return a layer whose branches read mixtures of what entered every `every`-th layer."""
    norm, keeps = rms_norm(hp, weight=False), number % every == 0

    def mix(tensor: str, name: str, last: int) -> SourceMix:
        kept = tuple(f"blk.{n}.resid_pre" for n in range(0, last + 1, every))
        return SourceMix(hp.d_model, norm, tensor, name, kept)

    after = mix("/output_res_score", "output_res", number) if number == hp.n_layers - 1 else None
    return SourcedLayer(
        built.mixer,
        built.ffn,
        after=after,
        llama_cpp=built.llama_cpp,
        attn_mix=mix("attn_res_score", "attn_res", number - 1) if number else None,
        ffn_mix=mix("ffn_res_score", "ffn_res", number),
        keeps=keeps,
    )


@architecture(
    "kimi-k3",
    blocks="RMSNorm · Kimi delta attention, or gated latent attention without positions · SiTU, then experts in"
    " fewer channels · attention over layers",
)
def kimi_k3(hp: HyperParameters) -> Network:
    """Build it."""
    bound, every = hp.float("kda.gate_lower_bound", 0.0), hp.int("attn_res.block_size", most=MAX_LAYERS)
    if bound > 0 or (bound == 0 and hp.given("kda.gate_lower_bound")):
        raise hp.error("kda.gate_lower_bound", f"is {bound:g}; it must be negative")
    switches = {
        "decay_rank": hp.int("kda.head_dim", least=1),
        "gate_tensor": "ssm_g",
        "bound": bound,
        "sign": -1.0,
    }

    def delta(number: int) -> KimiDeltaAttention:
        return delta_attention(hp, number, **switches)

    def attends(number: int) -> LatentAttention:
        gate = Gate() if hp.has(f"blk.{number}.attn_gate.weight") else None
        short = hp.has(f"blk.{number}.attn_q_a_norm.weight")
        return latent(hp, number, None, short=short, gate=gate)

    dense = {"act": "situ", **situ(hp)}
    plain = hybrid(hp, delta, attends, after_dense(hp, lambda n: mixture(hp, n), **dense), NAMES)

    def build(number: int) -> Layer:
        return sourced(hp, plain(number), number, every) if every else plain(number)

    return network(hp, build, rms_norm(hp), llama_cpp={"embed": "inp_embd"})
