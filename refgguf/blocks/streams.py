"""Several residual streams side by side: layers that read a mixture of them and write to each (Zhu et al. 2024).

streams ← the embedding, as often as there are streams
streams ← write(block(norm(read(streams))), streams)      for the token mixer, then for the feed-forward network
x       = a mixture, or the mean, of the streams          what the final norm reads

What reads and writes is a connection: of hyper-connections (`hyper_connection.py`) or of gated ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refgguf.blocks.layer import Layer
from refgguf.blocks.scope import Need, Scope
from refgguf.blocks.step import Step
from refgguf.taps import LAYER_WORDS, Tap, Word, declare

STREAMS = "token stream d_model"
INPUT = Word("token d_model", "residual", "mixture of the streams that a branch reads")
COPIES = Word(STREAMS, "residual", "residual streams entering the first layer", "hc_init")
MERGED = Word("token d_model", "residual", "residual streams, merged for the output", "hc_head")


class Connection:
    """What a branch reads of the streams, and how it writes to them.

    Subclasses are frozen dataclasses of switches.

    Attributes:
        name: what the names of its tensors and taps begin with.
        n_streams: residual streams.
    """

    name: str
    n_streams: int

    @property
    def input(self) -> str:
        """Local name of the tap of what the branch reads."""
        return f"{self.name}_in"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        raise NotImplementedError

    def taps(self, layer: int | None, stream: str) -> Iterator[Tap]:
        """Declare the taps of reading, in order of execution; `stream` is the local name of the streams' tap."""
        raise NotImplementedError

    def written(self, layer: int, name: str, stream: str, result: str) -> Tap:
        """Declare the tap of the streams that the branch leaves.

        Args:
            layer: number of the layer.
            name: local name of that tap.
            stream: local name of the tap of the streams that it read.
            result: local name of the tap of what the branch gives.
        """
        raise NotImplementedError

    def read(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, Any]:
        """Mix the streams, (token, stream, d_model).

        Returns:
            (token, d_model) float32, and what `write` wants to know.
        """
        raise NotImplementedError

    def write(self, y: np.ndarray, x: np.ndarray, how: Any) -> np.ndarray:
        """Write y, (token, d_model), to the streams x; returns (token, stream, d_model) float32."""
        raise NotImplementedError


def stream_word(name: str) -> Word:
    """Return the table's entry of a tap of the residual stream, for several streams."""
    return replace(LAYER_WORDS[name], axes=STREAMS)


@dataclass(frozen=True)
class StreamLayer(Layer):
    """A layer around several residual streams.

    Attributes:
        attn_connection: what the token mixer reads and how it writes.
        ffn_connection: the same of the feed-forward network.
        first: what changes the streams before that, or None.
    """

    attn_connection: Connection | None = None
    ffn_connection: Connection | None = None
    first: Any = None

    @property
    def n_streams(self) -> int:
        """How many streams there are."""
        return self.attn_connection.n_streams

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        parts = (self.first, self.attn_connection, self.ffn_connection)
        return [*super().needs(), *(need for part in parts if part for need in part.needs())]

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        yield declare(
            "resid_pre",
            inputs=[f"/{name}" for name in sources],
            formula="what the last layer left",
            layer=layer,
            word=stream_word("resid_pre"),
        )
        stream = "resid_pre"
        if self.first:
            yield from self.first.taps(layer, stream)
            stream = self.first.out
        for connection, branch, name in (
            (self.attn_connection, self.mixer, "resid_mid"),
            (self.ffn_connection, self.ffn, "resid_post"),
        ):
            yield from connection.taps(layer, stream)
            yield from branch.taps(layer, connection.input)
            yield connection.written(layer, name, stream, branch.out)
            stream = name

    def new_state(self) -> tuple[Any, ...]:
        """Return what its parts keep between calls, empty."""
        return (*super().new_state(), self.first.new_state() if self.first else None)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, stream, d_model) → (token, stream, d_model) float32."""
        x = s.tap("resid_pre", x)
        if self.first:
            x = self.first(x, s.with_state(s.state[2]))
        for connection, branch, name, state in (
            (self.attn_connection, self.mixer, "resid_mid", s.state[0]),
            (self.ffn_connection, self.ffn, "resid_post", s.state[1]),
        ):
            mixed, how = connection.read(x, s)
            y = branch.run(branch.enter(mixed, s), s.with_state(state))
            x = s.tap(name, connection.write(y, x, how))
        return x


@dataclass(frozen=True)
class Spread(Step):
    """As many copies of the embedding as there are streams.

    Attributes:
        n_streams: how many.
    """

    n_streams: int
    out: str = "streams"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its tap."""
        formula = f"the embedding, {self.n_streams} times"
        yield declare(self.out, inputs=sources, formula=formula, word=COPIES)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Copy the stream: (token, d_model) → (token, stream, d_model) float32."""
        return s.tap(self.out, copies(x, self.n_streams))


def copies(x: np.ndarray, n_streams: int) -> np.ndarray:
    """Return streams: (token, d_model) copied, or (token, stream, d_model) as they are."""
    return np.repeat(x[:, None], n_streams, axis=1) if x.ndim == 2 else x


@dataclass(frozen=True)
class Mean(Step):
    """The mean of the streams.

    Attributes:
        n_streams: how many there are.
    """

    n_streams: int
    out: str = "merged"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its tap."""
        yield declare(self.out, inputs=sources, formula="mean over streams", word=MERGED)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Merge the streams: (token, stream, d_model) → (token, d_model) float32."""
        return s.tap(self.out, summed(copies(x, self.n_streams)) * np.float32(1 / self.n_streams))


@dataclass(frozen=True)
class Merge(Step):
    """The mixture of the streams that a connection reads.

    Attributes:
        connection: what reads them; its tensors stand outside the layers.
        n_streams: how many there are.
    """

    connection: Connection
    n_streams: int

    @property
    def out(self) -> str:
        """Name of the tap of the mixture."""
        return self.connection.input

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.connection.needs()

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield from self.connection.taps(None, sources[0])

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Merge the streams: (token, stream, d_model) → (token, d_model) float32."""
        return self.connection.read(copies(x, self.n_streams), s)[0]


def summed(x: np.ndarray) -> np.ndarray:
    """Add streams (token, stream, d_model) one after another: (token, d_model) float32."""
    total = x[:, 0]
    for number in range(1, x.shape[1]):
        total = total + x[:, number]
    return total
