"""Granite 3 and 4 and MiniCPM: models that scale what their parts give (IBM 2024; Hu et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refgguf.arch.decoder import decoder
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mamba import mamba2, without_heads
from refgguf.arch.mixture import experts, with_shared
from refgguf.arch.parts import sliding_masks
from refgguf.arch.positions import rope
from refgguf.arch.registry import architecture
from refgguf.blocks.block import Block
from refgguf.blocks.network import Network


def scaled(
    hp: HyperParameters,
    *,
    embedding: float,
    residual: float,
    logits: float,
    turns: list[bool],
    mixer: Callable[[int], dict[str, Any]] | None = None,
    **switches: Any,
) -> Network:
    """Build a network of scaled parts; a scale of 0 stands for none.

    Args:
        hp: hyper-parameters.
        embedding: scale of the embedding.
        residual: scale of what each branch adds.
        logits: what the logits are divided by.
        turns: which layers have position embedding.
        mixer: number of a layer → further switches of its attention.
        switches: of `decoder`.
    """
    scale = {"scale": hp.float("attention.scale", 0.0) or None}
    d_shared = hp.int("expert_shared_feed_forward_length", 0)
    second = (lambda number: _experts(hp, number, d_shared)) if hp.int("expert_count", 0) else None
    return decoder(
        hp,
        lambda number: rope(hp, "interleaved", number) if turns[number] else None,
        second=second,
        mixer=lambda number: scale | (mixer(number) if mixer else {}),
        layers={"residual_scale": residual or 1.0},
        embedding={"scale": embedding or 1.0},
        head={"scale": 1 / (logits or 1.0)},
        llama_cpp={"token_embd": "", "embed": "embd"},
        **switches,
    )


def _experts(hp: HyperParameters, number: int, d_shared: int) -> Block:
    """Return a layer's experts; with d_shared neurons, also one that sees every token."""
    merged = hp.has(f"blk.{number}.ffn_up_shexp.weight") and not hp.has(f"blk.{number}.ffn_gate_shexp.weight")
    gate = {"gate": "merged"} if merged else {}
    return with_shared(hp, number, experts(hp, number), d_shared, **gate)


@architecture(
    "granite",
    "granitemoe",
    blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts · scaled parts",
)
def granite(hp: HyperParameters) -> Network:
    """Build it; some files have no position embedding."""
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 0.0),
        residual=hp.float("residual_scale", 0.0),
        logits=hp.float("logit_scale"),
        turns=[hp.bool("rope.scaling.finetuned", True)] * hp.n_layers,
    )


@architecture(
    "granite_swa",
    blocks="RMSNorm · sliding windows · sinks · RoPE · grouped-query attention · SwiGLU or experts · scaled parts",
)
def granite_swa(hp: HyperParameters) -> Network:
    """Build it; the file says which layers have windows and which have position embedding."""
    masks = sliding_masks(hp, 1)
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 0.0),
        residual=hp.float("residual_scale", 0.0),
        logits=hp.float("logit_scale"),
        turns=[bool(turn) for turn in hp.per_layer("attention.rope_pattern", 1)],
        mixer=lambda number: {"mask": masks[number], "sinks": True},
    )


@architecture(
    "granitehybrid",
    blocks="RMSNorm · Mamba-2 or grouped-query attention, RoPE · SwiGLU or experts · scaled parts",
)
def granite_hybrid(hp: HyperParameters) -> Network:
    """Build it; layers without heads of keys are Mamba-2."""
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 0.0),
        residual=hp.float("residual_scale", 0.0),
        logits=hp.float("logit_scale", 0.0),
        turns=[hp.bool("rope.scaling.finetuned", True)] * hp.n_layers,
        first=without_heads(hp, lambda number: mamba2(hp, number)),
    )


@architecture("minicpm", blocks="RMSNorm · RoPE · grouped-query attention · SwiGLU or experts · scaled parts")
def minicpm(hp: HyperParameters) -> Network:
    """Build it; old files lack the scales, which follow from the sizes."""
    return scaled(
        hp,
        embedding=hp.float("embedding_scale", 12.0),
        residual=hp.float("residual_scale", 1.4 * hp.n_layers**-0.5),
        logits=hp.float("logit_scale", 256 / hp.d_model),
        turns=[True] * hp.n_layers,
    )
