"""Learned augmented residual layer, low-rank (LAuReL: Menghani et al. 2024): a thin branch beside another.

y = x + norm(x Wl Wr)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.taps import Tap, Word, declare

WORDS = {
    "laurel_low": Word("token rank", "ffn", "residual stream in a few channels", ""),
    "laurel_raw": Word("token d_model", "ffn", "that, back in all channels, before its norm", ""),
    "laurel_out": Word(
        "token d_model", "residual", "what the thin branch adds beside attention", "laurel_out"
    ),
}


@dataclass(frozen=True)
class Laurel(Block):
    """Two thin matrices and a norm.

    Attributes:
        d_model: channels of the residual stream.
        rank: channels between the matrices.
        norm: norm of what they give.
        out: name of the result's tap.
    """

    d_model: int
    rank: int
    norm: Norm
    out: str = "laurel_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *linear_needs("laurel_l", self.rank, self.d_model),
            *linear_needs("laurel_r", self.d_model, self.rank),
            *self.norm.needs("laurel_post_norm", self.d_model),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: list[str], formula: str, weights: tuple[str, ...]) -> Tap:
            return declare(
                name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=WORDS[name]
            )

        yield tap("laurel_low", [source], "x · Wlᵀ", linear_weights("laurel_l"))
        yield tap("laurel_raw", ["laurel_low"], "y · Wrᵀ", linear_weights("laurel_r"))
        formula, weights = self.norm.formula, self.norm.weights("laurel_post_norm")
        yield tap(self.out, [source, "laurel_raw"], f"y = {formula}; x + y", weights)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it: (token, d_model) → (token, d_model) float32."""
        y = s.tap("laurel_low", s.linear(x, "laurel_l"))
        y = s.tap("laurel_raw", s.linear(y, "laurel_r"))
        return s.tap(self.out, self.norm(y, s, "laurel_post_norm") + x)
