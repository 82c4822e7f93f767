"""Whole networks, as most architectures need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import attention, attention_scale, experts, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm


def network(
    hp: HyperParameters,
    build: Callable[[int], Layer],
    norm: Norm,
    *,
    embedding: Mapping[str, Any] | None = None,
    head: Mapping[str, Any] | None = None,
    tied: bool = False,
    **switches: Any,
) -> Network:
    """Return a network; the output matrix is the embedding where the file has no other.

    Args:
        hp: hyper-parameters.
        build: number of a layer → the layer.
        norm: the final norm.
        embedding: switches of `Embedding`.
        head: switches of `Head`.
        tied: the embedding is the output matrix whatever the file has.
        switches: as in `Network`.
    """
    matrix = "output" if hp.has("output.weight") and not tied else "token_embd"
    return Network(
        Embedding(hp.n_vocab, hp.d_model, **(embedding or {})),
        tuple(build(number) for number in range(hp.n_layers)),
        Head(
            **{"n_outputs": hp.n_vocab, "d_model": hp.d_model, "norm": norm, "matrix": matrix, **(head or {})}
        ),
        **switches,
    )


def decoder(
    hp: HyperParameters,
    style: str | None,
    *,
    norm: Norm | None = None,
    act: str = "silu",
    gate: str = "split",
    scale: float | None = None,
    layers: Mapping[str, Any] | None = None,
    mixer: Mapping[str, Any] | None = None,
    **switches: Any,
) -> Network:
    """Return a network of like layers: attention, then a feed-forward network or experts.

    Args:
        hp: hyper-parameters.
        style: of RoPE, "interleaved" or "split"; None for no RoPE.
        norm: all norms; RMSNorm if None.
        act: activation function.
        gate: as in `FeedForward`.
        scale: what multiplies the scores; 1 / √d_head if None and the file does not say.
        layers: switches of `layer`.
        mixer: switches of `Attention`.
        switches: of `network`.
    """
    norm = norm or rms_norm(hp)
    sparse = hp.int("expert_count", 0) > 0
    scale = attention_scale(hp) if scale is None else scale
    weight_scale = hp.float("expert_weights_scale", 0.0) or 1.0

    def build(number: int) -> Layer:
        turn = rope(hp, style, number) if style else None
        ffn = (
            experts(hp, act, weight_scale=weight_scale)
            if sparse
            else feed_forward(hp, number, act, gate=gate)
        )
        return layer(
            hp, attention(hp, number, rope=turn, scale=scale, **(mixer or {})), ffn, norm, **(layers or {})
        )

    return network(hp, build, norm, **switches)
