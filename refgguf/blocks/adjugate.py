"""Adjugate experts: small ones that groups of experts share, behind the large ones (GroveMoE: Ant Group 2025).

y       = Σ over topk: weight · expert(x)
topk'   = topk / experts in a group                 which small expert belongs to each chosen one
weights'= probs[topk'], over their sum
out     = y + scale · Σ over topk': weight' · small(y)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.router import over_their_sum
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, Word, declare

WORDS = {
    "adjugate_topk": Word("token slot", "router", "small experts, each of a chosen one's group", ""),
    "adjugate_weights": Word(
        "token slot", "router", "weight of each of the small experts", "ffn_moe_weights_norm"
    ),
    "ffn_out": Word("token d_model", "residual", "what the experts add", "ffn_final_moe_out"),
}


@dataclass(frozen=True)
class AdjugateRouter:
    """What chooses small experts: those of the groups of the experts chosen before.

    Attributes:
        n_experts: how many small ones there are.
        n_used: how many each token goes to.
        per_group: experts that share a small one.
    """

    n_experts: int
    n_used: int
    per_group: int

    @property
    def outputs(self) -> tuple[str, str]:
        """Local names of the taps of the chosen experts and of their weights."""
        return "adjugate_topk", "adjugate_weights"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none of its own."""
        return []

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; `source` is not read."""
        for name, inputs, formula in (
            ("adjugate_topk", ["router_topk"], f"the first {self.n_used} of topk / {self.per_group}"),
            ("adjugate_weights", ["router_probs", "adjugate_topk"], "probs[topk'] / Σ probs[topk']"),
        ):
            yield declare(name, inputs=inputs, formula=formula, layer=layer, word=WORDS[name])

    def __call__(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of small experts, (token, slot) int32, and their weights, (token, slot) float32."""
        topk = s.common["router_topk"][:, : self.n_used]
        if self.per_group > 1:  # by a product, as llama.cpp does
            topk = (topk.astype(np.float32) * np.float32(1 / self.per_group)).astype(np.int32)
        topk = s.tap("adjugate_topk", topk)
        weights = over_their_sum(np.take_along_axis(s.common["router_probs"], topk, axis=1), s.numerics)
        return topk, s.tap("adjugate_weights", weights)


@dataclass(frozen=True)
class AdjugateExperts(Block):
    """Experts, and small ones behind them.

    Attributes:
        experts: the large ones.
        small: the small ones.
        scale: multiplies what the small ones give.
        out: name of the result's tap.
    """

    experts: MixtureOfExperts
    small: MixtureOfExperts
    scale: float
    out: str = "ffn_out"

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return self.experts, self.small

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.experts.needs() + self.small.needs()

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield from self.experts.taps(layer, source)
        yield from self.small.taps(layer, self.experts.out)
        inputs = [self.experts.out, self.small.out]
        formula, word = f"{inputs[0]} + {self.scale:.4g} · {inputs[1]}", WORDS["ffn_out"]
        yield declare(self.out, inputs=inputs, formula=formula, layer=layer, word=word)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Send each token to its experts: (token, d_model) → (token, d_model) float32."""
        y = self.experts(x, s)
        return s.tap(self.out, y + self.small(y, s) * np.float32(self.scale))
