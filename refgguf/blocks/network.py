"""A whole model as a row of blocks: embedding, layers, head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refgguf.blocks.encoding import Encoding
from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.layer import Layer
from refgguf.blocks.pooling import Pooling
from refgguf.blocks.scope import Need, Scope
from refgguf.blocks.step import Step
from refgguf.blocks.summed_embedding import SummedEmbedding
from refgguf.taps import Tap


@dataclass(frozen=True)
class Network:
    """Embedding, layers, head.

    Attributes:
        embedding: tokens → residual stream.
        layers: the layers in order.
        head: residual stream → scores, or vectors.
        blocks: for each layer the number of the file's block whose tensors it works with; () if that is its own.
        causal: no token sees a later one, so that a text can be run in pieces.
        llama_cpp: llama.cpp's names of taps that differ from the table's; "" for none.
        before: steps between the embedding and the first layer.
        after: steps between the last layer and the head.
        pooling: what becomes of the tokens' vectors when a text is turned into one; None if that is not known.
        prefix: what stands before the names of its layers, of their taps as of their tensors, such as "dec.".
        encoder: a network that reads another text first, for this one's layers to look at; or None.
        start: with an encoder: the token that this network begins with.
        outside: what stands before the names of taps outside the layers; for an encoder of another network, whose
            tokens are that one's "source".
    """

    embedding: Embedding | SummedEmbedding
    layers: tuple[Layer, ...]
    head: Head | Encoding
    blocks: tuple[int, ...] = ()
    causal: bool = True
    llama_cpp: Mapping[str, str] = field(default_factory=dict)
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    pooling: Pooling | None = None
    prefix: str = ""
    encoder: Network | None = None
    start: int = 0
    outside: str = ""

    @property
    def scores_vocabulary(self) -> bool:
        """Whether it scores every vocabulary entry; otherwise it turns texts into vectors."""
        return self.head.scores_vocabulary

    def prefixes(self, layer: int) -> tuple[str, str]:
        """Return what stands before the names of a layer's taps and of its tensors."""
        stored = self.blocks[layer] if self.blocks else layer
        return f"{self.prefix}blk.{layer}.", f"{self.prefix}blk.{stored}."

    def needs(self) -> Iterator[Need]:
        """Return every tensor that the model works with, by its full name in the file."""
        yield from self.encoder.needs() if self.encoder else ()
        yield from self.embedding.needs()
        yield from (need for step in (*self.before, *self.after) for need in step.needs())
        for number, layer in enumerate(self.layers):
            for need in layer.needs():
                outside = need.name.startswith("/")
                name = need.name.removeprefix("/") if outside else self.prefixes(number)[1] + need.name
                yield Need(name, need.shape, need.optional)
        yield from self.head.needs()
        yield from self.pooling.needs() if self.pooling else ()

    def taps(self) -> Iterator[Tap]:
        """Declare every tap, in order of execution."""
        yield from self.encoder.taps() if self.encoder else ()
        for tap in self._taps():
            foreign = self.llama_cpp.get(tap.name)
            tap = tap if foreign is None else replace(tap, llama_cpp=foreign or None)
            yield self._as_source(tap) if self.outside else tap

    def _as_source(self, tap: Tap) -> Tap:
        """Return a tap of the encoder of another network, under a name of its own."""

        def own(name: str) -> str:
            return name if name.startswith(f"{self.prefix}blk.") else self.outside + name

        axes = tuple("source" if axis in ("token", "query", "key") else axis for axis in tap.axes)
        return replace(tap, name=own(tap.name), inputs=tuple(own(name) for name in tap.inputs), axes=axes)

    def _taps(self) -> Iterator[Tap]:
        yield from self.embedding.taps()
        sources = self.embedding.outputs
        for step in self.before:
            yield from step.taps(sources)
            sources = step.leaving(sources)
        for number, layer in enumerate(self.layers):
            own, stored = self.prefixes(number)
            for tap in layer.taps(number, sources):
                yield _renamed(tap, f"blk.{number}.", own, stored)
            sources = [own + name for name in layer.outputs]
        for step in self.after:
            yield from step.taps(sources)
            sources = step.leaving(sources)
        yield from self.head.taps(sources[0])

    def enter(self, s: Scope, states: list[Any]) -> np.ndarray:
        """Return what enters the first layer, (token, …) float32; `states` as from `new_states`."""
        x = s.common["embed"] = self.embedding(s)
        for step, state in zip(self.before, states[len(self.layers) :], strict=True):
            x = step(x, s.with_state(state))
        return x

    def score(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Score every vocabulary entry by what leaves the last layer: (token, vocab) float32."""
        return self.head(self._leave(x, s), s)

    def final(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return each token's vector, normed if the model norms it: (token, d_model) float32."""
        return self.head.final(self._leave(x, s), s)

    def _leave(self, x: np.ndarray, s: Scope) -> np.ndarray:
        for step in self.after:
            x = step(x, s)
        return x

    def new_states(self) -> list[Any]:
        """Return what each layer keeps between calls, then each step before them, empty."""
        return [part.new_state() for part in (*self.layers, *self.before)]


def _renamed(tap: Tap, declared: str, own: str, stored: str) -> Tap:
    """Return a layer's tap under the layer's own name, computed with the weights of the block that it works with."""
    if declared == own == stored:
        return tap

    def moved(names: tuple[str, ...], to: str) -> tuple[str, ...]:
        return tuple(to + n.removeprefix(declared) if n.startswith(declared) else n for n in names)

    (name,) = moved((tap.name,), own)
    return replace(tap, name=name, inputs=moved(tap.inputs, own), weights=moved(tap.weights, stored))
