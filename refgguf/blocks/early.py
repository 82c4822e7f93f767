"""A block that reads not what its branch reads but the stream that entered the layer, behind a norm of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Early(Block):
    """A block of the second branch that stands beside the first.

    Attributes:
        d_model: channels of the residual stream.
        block: the block.
        norm: the norm before it.
        normed: name of that norm's tap and tensors.
    """

    d_model: int
    block: Block
    norm: Norm
    normed: str

    @property
    def out(self) -> str:
        """Local name of the tap of its result."""
        return self.block.out

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return (self.block,)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [*self.norm.needs(self.normed, self.d_model), *self.block.needs()]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; `source` is not read."""
        weights = self.norm.weights(self.normed)
        yield declare(
            self.normed, inputs=["resid_pre"], weights=weights, formula=self.norm.formula, layer=layer
        )
        yield from self.block.taps(layer, self.normed)

    def new_state(self) -> Any:
        """Return what its block keeps between calls, empty."""
        return self.block.new_state()

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it: (token, d_model) → (token, d_model) float32."""
        return self.block(s.tap(self.normed, self.norm(s.common["resid_pre"], s, self.normed)), s)
