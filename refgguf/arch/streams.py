"""Hyper-parameters → layers around several residual streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refgguf.arch.decoder import network
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.parts import rms_norm
from refgguf.blocks.hyper_connection import HyperConnection
from refgguf.blocks.layer import Layer
from refgguf.blocks.network import Network
from refgguf.blocks.step import Step
from refgguf.blocks.streams import Connection, Mean, Merge, Spread, StreamLayer

MOST_STREAMS, MOST_ROUNDS = 64, 1000


def n_streams(hp: HyperParameters, least: int = 1) -> int:
    """Return how many residual streams there are."""
    return hp.int("hyper_connection.count", least=least, most=MOST_STREAMS)


def hyper_connection(hp: HyperParameters, name: str, **switches: Any) -> HyperConnection:
    """Return a hyper-connection; switches as in `HyperConnection`."""
    eps, eps_pre = rms_norm(hp).eps, hp.float("hyper_connection.epsilon")
    return HyperConnection(name, n_streams(hp), hp.d_model, eps, eps_pre, **switches)


def balanced(hp: HyperParameters) -> dict[str, Any]:
    """Return the switches of a hyper-connection whose streams mix, rows and columns balanced."""
    return {"n_sinkhorn": hp.int("hyper_connection.sinkhorn_iterations", least=1, most=MOST_ROUNDS)}


def streamed(plain: Layer, connect: Callable[[str], Connection], **switches: Any) -> StreamLayer:
    """Return a layer around several streams.

    Args:
        plain: the layer around one.
        connect: what the names of a connection's tensors begin with → the connection.
        switches: as in `StreamLayer`.
    """
    return StreamLayer(
        plain.mixer,
        plain.ffn,
        llama_cpp=plain.llama_cpp,
        attn_connection=connect("hc_attn"),
        ffn_connection=connect("hc_ffn"),
        **switches,
    )


def stream_network(
    hp: HyperParameters, build: Callable[[int], Layer], merge: Connection | None, **switches: Any
) -> Network:
    """Return a network of layers around several streams.

    Args:
        hp: hyper-parameters.
        build: number of a layer → the layer.
        merge: what reads the streams for the output; None for their mean.
        switches: of `network`.
    """
    n = n_streams(hp)
    last: Step = Merge(merge, n) if merge else Mean(n)
    return network(hp, build, rms_norm(hp), before=(Spread(n),), after=(last,), **switches)
