"""What chooses the keys that attention sees, beside the mask that keeps it from looking ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs
from refgguf.taps import Tap, Word

MASK = Word("query key", "attention", "1 where a query attends to a key, 0 where it does not")


class Selector:
    """A part of attention that chooses keys.

    Subclasses are frozen dataclasses of switches, as blocks are.
    """

    @property
    def mask(self) -> str:
        """Name of the tap of its choice: local, or full where it is another layer's."""
        return "indexer.mask"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        raise NotImplementedError

    def taps(self, layer: int, source: str, short: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: number of the layer.
            source: local name of the tap that attention reads.
            short: local name of the tap of the short vector that queries come from; `source` if there is none.
        """
        raise NotImplementedError

    def new_state(self) -> Any:
        """Return what it keeps between calls, empty; None if nothing."""
        return None

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose keys.

        Args:
            x: (token, d_model) float32, what attention reads.
            short: (token, d_short) float32, the short vector that queries come from.
            s: weights, taps, its own state, positions.

        Returns:
            (query, key) or (kv_head, query, key) int8, 1 for the keys that attention sees.
        """
        raise NotImplementedError


def small_head_needs(d_model: int, n_heads: int, d_head: int, norm: Norm, rope: Rope) -> list[Need]:
    """Return the tensors of small heads whose queries and one key a token are projected, normed and turned."""
    return [
        *linear_needs("indexer.q_proj", n_heads * d_head, d_model),
        *linear_needs("indexer.k_proj", d_head, d_model),
        *norm.needs("indexer.q_norm", d_head),
        *norm.needs("indexer.k_norm", d_head),
        *rope.needs(),
    ]


@dataclass(frozen=True)
class SharedSelector(Selector):
    """The choice of an earlier layer, once more.

    Attributes:
        lender: number of that layer.
    """

    lender: int

    @property
    def mask(self) -> str:
        """Full name of the tap of that layer's choice."""
        return f"blk.{self.lender}.indexer.mask"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, layer: int, source: str, short: str) -> Iterator[Tap]:
        """Declare no taps: the choice is another layer's."""
        return iter(())

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Return that layer's choice."""
        return s.common[self.mask]
