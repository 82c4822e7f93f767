"""Experts behind attention that is gated: AFMoE, Laguna, Step 3.5."""

from __future__ import annotations

import math
from dataclasses import replace

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import (
    after_dense,
    deepseek_experts,
    experts,
    gating,
    shared_width,
    swiglu_limits,
    with_shared,
)
from refgguf.arch.parts import feed_forward, head_sizes, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Gate
from refgguf.blocks.block import Block
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network
from refgguf.kernels.ops.rope import RopeScaling

TURNED = {"attn_q_rope": "Qcur_rope", "attn_k_rope": "Kcur_rope"}
NAMES = TURNED | {"attn_z": "attn_out", "attn_out": "attn_o_proj"}
AFMOE_PERIOD = 4  # every how many layers one has no position embedding


@architecture(
    "afmoe",
    blocks="sandwich RMSNorm · q/k-norm · sliding window 3:1, RoPE there only · gated attention · SwiGLU, then experts",
)
def afmoe(hp: HyperParameters) -> Network:
    """Build it (Arcee 2025)."""
    norm, windows = rms_norm(hp), hp.int("attention.sliding_window", 0) > 0
    masks = sliding_masks(hp, 4) if windows else [Mask()] * hp.n_layers
    names = NAMES | {"attn_output": "attn_o_proj", "attn_out": "attn_post_norm"}

    def turn(number: int):
        if (number + 1) % AFMOE_PERIOD == 0:
            return None
        return (local_rope if masks[number].window else rope)(hp, "split", number)

    return decoder(
        hp,
        turn,
        mixer=lambda n: {"mask": masks[n], "gate": Gate(), **qk_norm(norm)},
        second=after_dense(hp, lambda n: deepseek_experts(hp, n, shares="sigmoid")),
        layers={"post_norm": norm, "llama_cpp": names},
        embedding={"scale": math.sqrt(hp.d_model)},
        llama_cpp={"token_embd": "embd", "embed": "inp_embd_scaled"},
    )


@architecture(
    "laguna",
    blocks="RMSNorm · q/k-norm · sliding window 3:1 · RoPE · attention gated by softplus · SwiGLU, then experts",
)
def laguna(hp: HyperParameters) -> Network:
    """Build it; layers with a sliding window have no context extension."""
    norms, windows = qk_norm(rms_norm(hp)), hp.int("attention.sliding_window", 0) > 0
    masks = sliding_masks(hp, 4, dense_first=True) if windows else [Mask()] * hp.n_layers

    def turn(number: int):
        if not masks[number].window:
            return replace(rope(hp, "split", number), factors=None)
        return replace(local_rope(hp, "split", number), scaling=RopeScaling(), factors=None)

    def mixer(number: int) -> dict:
        gate = hp.tensors.get(f"blk.{number}.attn_gate.weight")
        per_head = gate is None or gate.shape[0] == head_sizes(hp, number)[0]
        return {"mask": masks[number], "gate": Gate("softplus", per_head), **norms}

    def second(number: int) -> Block:
        d_shared = hp.int("expert_shared_feed_forward_length", 0) or shared_width(hp, number, 1)
        return deepseek_experts(hp, number, shares="sigmoid", d_shared=d_shared)

    layers = {"llama_cpp": NAMES | {"attn_gate_act": "attn_gate_softplus"}}
    return decoder(hp, turn, mixer=mixer, second=after_dense(hp, second), layers=layers)


@architecture(
    "step35",
    blocks="RMSNorm · q/k-norm · sliding windows, partial RoPE elsewhere · gated heads · SwiGLU or experts, bounded",
)
def step35(hp: HyperParameters) -> Network:
    """Build it (StepFun 2026)."""
    masks, n_layers = sliding_masks(hp, 4), hp.n_layers
    limits, shared_limits = swiglu_limits(hp, "exp"), swiglu_limits(hp, "shexp")
    d_shared = hp.int("expert_shared_feed_forward_length", 0)

    def turn(number: int):
        whole = hp.int("rope.dimension_count", head_sizes(hp, number)[2], least=4)
        if masks[number].window:
            return replace(local_rope(hp, "split", number), factors=None)
        return rope(hp, "split", number, n_rot=whole // 2)

    def mixer(number: int) -> dict:
        gate = Gate(per_head=True) if hp.has(f"blk.{number}.attn_gate.weight") else None
        norms = qk_norm(rms_norm(hp)) if hp.has(f"blk.{number}.attn_q_norm.weight") else {}
        return {"mask": masks[number], "gate": gate, **norms}

    def second(number: int) -> Block:
        limit = {"limit": shared_limits[number]}
        if not hp.has(f"blk.{number}.ffn_gate_inp.weight"):
            return feed_forward(hp, number, "silu", **limit)
        normed = hp.bool("expert_weights_norm", False)
        bounds = {"limit": limits[number], "late": True, "scaled": True}
        chosen = experts(hp, number, shares=gating(hp, "sigmoid"), normed=normed, **bounds)
        return with_shared(hp, number, chosen, d_shared, **limit)

    def layers(number: int) -> dict:
        names = {"attn_q_rope": "Qcur_pos", "attn_k_rope": "Kcur_pos", "ffn_shexp": "ffn_shared_out"}
        names |= {"attn_z": "attn_out", "attn_gate": "attn_gate", "attn_gate_act": "attn_gate_sigmoid"}
        names |= {"attn_gated": "attn_gated_3d", "attn_out": "attn_proj", "resid_pre": "attn_norm_in"}
        return {"llama_cpp": names | {"resid_post": "/h_nextn" if number == n_layers - 1 else ""}}

    return decoder(hp, turn, mixer=mixer, second=second, layers=layers)
