"""Llama 4 (Meta 2025)."""

from __future__ import annotations

from dataclasses import replace

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import expert_width, experts, with_shared
from refgguf.arch.parts import feed_forward, qk_norm, rms_norm, sliding_masks
from refgguf.arch.positions import local_rope, rope
from refgguf.arch.registry import architecture
from refgguf.blocks.attention import Temperature
from refgguf.blocks.block import Block
from refgguf.blocks.mask import Mask
from refgguf.blocks.network import Network

# in no metadata (llama.cpp src/models/llama4.cpp)
CHUNK = 8192
PERIOD = 4  # every how many layers one has neither chunks nor position embedding
GROWTH = Temperature(0.1, CHUNK, 1.0)
EXPERTS_OF_MAVERICK = 128  # the size that does not norm queries and keys


@architecture(
    "llama4",
    blocks="RMSNorm · attention in chunks 3:1, RoPE there only · q/k-norm after RoPE · SwiGLU and experts by turns",
)
def llama4(hp: HyperParameters) -> Network:
    """Build the language model."""
    chunks = hp.int("attention.sliding_window", CHUNK) > 0
    masks = sliding_masks(hp, PERIOD, window=CHUNK, kind="chunk") if chunks else [Mask()] * hp.n_layers
    masks = [replace(mask, window=CHUNK) if mask.window else mask for mask in masks]
    period, step = PERIOD if chunks else hp.n_layers, hp.int("interleave_moe_layer_step")
    turns = [bool((n + 1) % period) for n in range(hp.n_layers)]
    norms = qk_norm(replace(rms_norm(hp), weight=False)) | {"norm_after_rope": True}
    norms = {} if hp.int("expert_count", least=1) == EXPERTS_OF_MAVERICK else norms

    def mixer(number: int) -> dict:
        still = {"temperature": GROWTH} if chunks else {}
        return {"mask": masks[number]} | (norms if turns[number] else still)

    def sparse(number: int) -> bool:
        return step > 0 and (number + 1) % step == 0

    def second(number: int) -> Block:
        if not sparse(number):
            return feed_forward(hp, number, "silu")
        by_score = {"by_score": True}
        chosen = experts(hp, number, shares="sigmoid", normed=False, router=by_score, weight_first=True)
        return with_shared(hp, number, chosen, expert_width(hp, number))

    def layers(number: int) -> dict:
        names = {
            "ffn_shexp": "ffn_moe_shexp",
            "ffn_out": "ffn_moe_out_merged",
            "attn_out": "ffn_norm",
            "ffn_norm": "",
        }
        return {"llama_cpp": {"attn_q_temp": "Qcur"} | (names if sparse(number) else {})}

    def turn(number: int):
        return (
            (local_rope if masks[number].window else rope)(hp, "interleaved", number)
            if turns[number]
            else None
        )

    return decoder(hp, turn, mixer=mixer, second=second, layers=layers)
