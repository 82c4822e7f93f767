"""A layer whose stream goes on from what its norms give, not from what they read (MiniMax-01: MiniMax 2025).

n = norm(x);    x ← mixer(n) + scale · n
n = norm(x);    x ← ffn(n) + scale · n
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.layer import Layer
from refgguf.blocks.scope import Scope
from refgguf.taps import Tap, Word, declare

WORDS = {
    "attn_carried": Word(
        "token d_model",
        "residual",
        "what goes on beside attention: its input, scaled",
        "residual_scaled_attn",
    ),
    "ffn_carried": Word(
        "token d_model",
        "residual",
        "what goes on beside the feed-forward network: its input, scaled",
        "residual_scaled_ffn",
    ),
}


@dataclass(frozen=True)
class NormedStreamLayer(Layer):
    """A layer with two branches, each with a norm before it.

    Attributes:
        scale: multiplies what goes on.
    """

    scale: float = 1.0

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        inputs = [f"/{name}" for name in sources]
        formula = "what the last layer left" if layer else " + ".join(sources)
        yield declare("resid_pre", inputs=inputs, formula=formula, layer=layer)
        stream = "resid_pre"
        for branch, carried, left in (
            (self.mixer, "attn_carried", "resid_mid"),
            (self.ffn, "ffn_carried", "resid_post"),
        ):
            yield from branch.taps(layer, stream)
            formula, word = f"x · {self.scale:.4g}", WORDS[carried]
            yield declare(carried, inputs=[branch.source], formula=formula, layer=layer, word=word)
            terms = [branch.out, carried]
            yield declare(left, inputs=terms, formula=" + ".join(terms), layer=layer)
            stream = left

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        x, scale = s.tap("resid_pre", x), np.float32(self.scale)
        n = self.mixer.enter(x, s)
        y = self.mixer.run(n, s.with_state(s.state[0]))
        x = s.tap("resid_mid", y + s.tap("attn_carried", n * scale))
        n = self.ffn.enter(x, s)
        y = self.ffn.run(n, s.with_state(s.state[1]))
        return s.tap("resid_post", y + s.tap("ffn_carried", n * scale))
