"""A branch as one block among several: with norms of its own around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap


@dataclass(frozen=True)
class Inner(Block):
    """y = post_norm(block(norm(x))).

    Attributes:
        branch: the block and its norms.
    """

    branch: Branch

    @property
    def out(self) -> str:
        """Local name of the tap of its result."""
        return self.branch.out

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return (self.branch.block,)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.branch.needs()

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        return self.branch.taps(layer, source)

    def new_state(self) -> Any:
        """Return what its block keeps between calls, empty."""
        return self.branch.new_state()

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it: (token, d_model) → (token, d_model) float32."""
        return self.branch.run(self.branch.enter(x, s), s)
