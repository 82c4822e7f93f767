"""A whole model as a row of blocks: embedding, layers, head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refgguf.blocks.ends import Embedding, Head
from refgguf.blocks.layer import Layer
from refgguf.blocks.scope import Need
from refgguf.taps import Tap


@dataclass(frozen=True)
class Network:
    """Embedding, layers, head.

    Attributes:
        embedding: tokens → residual stream.
        layers: the layers in order.
        head: residual stream → scores.
    """

    embedding: Embedding
    layers: tuple[Layer, ...]
    head: Head

    def needs(self) -> Iterator[Need]:
        """Return every tensor that the model works with, by its full name in the file."""
        yield from self.embedding.needs()
        for number, layer in enumerate(self.layers):
            for need in layer.needs():
                outside = need.name.startswith("/")
                name = need.name.removeprefix("/") if outside else f"blk.{number}.{need.name}"
                yield Need(name, need.shape, need.optional)
        yield from self.head.needs()

    def taps(self) -> Iterator[Tap]:
        """Declare every tap, in order of execution."""
        yield from self.embedding.taps()
        sources = self.embedding.outputs
        for number, layer in enumerate(self.layers):
            yield from layer.taps(number, sources)
            sources = [f"blk.{number}.resid_post"]
        yield from self.head.taps(sources[0])

    def new_states(self) -> list[Any]:
        """Return what each layer keeps between calls, empty."""
        return [layer.new_state() for layer in self.layers]
