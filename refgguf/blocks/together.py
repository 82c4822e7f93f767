"""Several blocks that read the same and whose results are added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Together(Block):
    """The sum a(x) + b(x) + … of what each gives.

    Attributes:
        parts: the blocks, each with a name of its own for its result.
        scale: multiplies the sum.
        out: name of the result's tap.
    """

    parts: tuple[Block, ...]
    scale: float = 1.0
    out: str = "ffn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that they work with."""
        return [need for part in self.parts for need in part.needs()]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare their taps, in order of execution."""
        for part in self.parts:
            yield from part.taps(layer, source)
        names = [part.out for part in self.parts]
        formula = " + ".join(names)
        formula = formula if self.scale == 1 else f"({formula}) · {self.scale:.4g}"
        yield declare(self.out, inputs=names, formula=formula, layer=layer)

    def new_state(self) -> list[Any]:
        """Return what each keeps between calls, empty."""
        return [part.new_state() for part in self.parts]

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run them: (token, d_model) → (token, d_model) float32."""
        total = None
        for part, state in zip(self.parts, s.state, strict=True):
            y = part(x, s.with_state(state))
            total = y if total is None else total + y
        return s.tap(self.out, total if self.scale == 1 else total * np.float32(self.scale))
