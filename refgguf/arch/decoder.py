"""Whole networks, as most architectures need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refgguf.arch.hyper import HyperParameters
from refgguf.arch.mixture import experts
from refgguf.arch.parts import attention, feed_forward, layer, rms_norm
from refgguf.arch.positions import rope
from refgguf.blocks.block import Block
from refgguf.blocks.encoding import Encoding
from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.norm import Norm
from refgguf.blocks.pooling import Pooling
from refgguf.blocks.rope import Rope

# the same for every layer, or by its number
Switches = Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None


def network(
    hp: HyperParameters,
    build: Callable[[int], Layer],
    norm: Norm,
    *,
    embedding: Mapping[str, Any] | None = None,
    head: Mapping[str, Any] | None = None,
    tied: bool = False,
    n_layers: int | None = None,
    pool: Pooling | None = None,
    norm_tensor: str = "output_norm",
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
        n_layers: how many layers run; as many as the file has if None.
        pool: in place of an output matrix, what becomes of the tokens' vectors.
        norm_tensor: with `pool`: name of the final norm's tensors.
        switches: as in `Network`.
    """
    matrix = "output" if hp.has("output.weight") and not tied else "token_embd"
    end = {"n_outputs": hp.n_vocab, "d_model": hp.d_model, "norm": norm, "matrix": matrix, **(head or {})}
    return Network(
        Embedding(hp.n_vocab, hp.d_model, **(embedding or {})),
        tuple(build(number) for number in range(hp.n_layers if n_layers is None else n_layers)),
        Head(**end) if pool is None else Encoding(hp.d_model, norm, pool, norm_tensor),
        pooling=pool,
        **switches,
    )


def decoder(
    hp: HyperParameters,
    turn: str | Callable[[int], Rope | None] | None,
    *,
    norm: Norm | None = None,
    act: str = "silu",
    gate: str = "split",
    sparse: bool = False,
    layers: Switches = None,
    mixer: Switches = None,
    ffn: Mapping[str, Any] | None = None,
    first: Callable[[int], Block | None] | None = None,
    second: Callable[[int], Block] | None = None,
    **switches: Any,
) -> Network:
    """Return a network of like layers: attention, then a feed-forward network or experts.

    Args:
        hp: hyper-parameters.
        turn: style of RoPE, "interleaved" or "split"; None for no RoPE; or number of a layer → its RoPE.
        norm: all norms; RMSNorm if None.
        act: activation function.
        gate: as in `FeedForward`.
        sparse: files with an expert count are mixtures of experts.
        layers: switches of `layer`; or number of a layer → its switches.
        mixer: switches of `Attention`, likewise.
        ffn: further switches of `FeedForward`.
        first: number of a layer → what mixes tokens in place of attention, or None where attention does.
        second: number of a layer → what follows attention, in place of the feed-forward network.
        switches: of `network`.
    """
    norm = norm or rms_norm(hp)
    ropes = turn if callable(turn) else lambda number: rope(hp, turn, number) if turn else None
    if sparse and hp.int("expert_count", 0) > 0:
        seconds = second or (lambda number: experts(hp, number, act))
    else:
        seconds = second or (lambda number: feed_forward(hp, number, act, gate=gate, **(ffn or {})))

    def build(number: int) -> Layer:
        mixes = first(number) if first else None
        mixes = mixes or attention(hp, number, rope=ropes(number), **_of_layer(mixer, number))
        return layer(hp, mixes, seconds(number), norm, **_of_layer(layers, number))

    return network(hp, build, norm, **switches)


def _of_layer(switches: Switches, number: int) -> Mapping[str, Any]:
    return switches(number) if callable(switches) else switches or {}
