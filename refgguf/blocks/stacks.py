"""Two streams that take turns, each through a stack of layers of its own (HRM: Wang et al. 2025).

low  ← stack_low(low + high)        several times, then
high ← stack_high(low + high)       and all again
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.layer import Layer
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap


@dataclass(frozen=True)
class StackLayer(Layer):
    """A layer of one of two stacks.

    Attributes:
        joins: full name of the tap of the other stream, which is added to what enters a stack's first layer; None
            inside a stack.
        start: name of a tensor that stands for the other stream before there is one, instead.
    """

    joins: str | None = None
    start: str | None = None

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return super().needs() + ([Need(f"/{self.start}", (self.mixer.d_model,))] if self.start else [])

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        entering, *inside = super()._taps(layer, [*sources, *([self.joins] if self.joins else [])])
        if other := self.joins or self.start:
            weights, formula = (self.start,) if self.start else (), " + ".join([*sources, other])
            entering = replace(entering, weights=weights, formula=formula, llama_cpp=None)
        yield entering
        yield from inside

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        if self.start:
            x = x + s.weights.vector(self.start)
        if self.joins:
            x = x + s.common[self.joins]
        y = super().__call__(x, s)
        if self.after:
            s.common[s.prefix + self.out] = y
        return y
