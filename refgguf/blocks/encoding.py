"""An encoder's end: residual stream → a vector for each token → what they are pooled to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.pooling import Pooling
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Encoding:
    """Final norm, where the model has one, and pooling.

    Attributes:
        d_model: channels.
        norm: the final norm, or None.
        pooling: what becomes of the tokens' vectors.
        norm_tensor: name of the final norm's tensors.
    """

    d_model: int
    norm: Norm | None
    pooling: Pooling
    norm_tensor: str = "output_norm"

    scores_vocabulary: ClassVar[bool] = False

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.norm.needs(self.norm_tensor, self.d_model) if self.norm else []

    def taps(self, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        if self.norm:
            weights, formula = self.norm.weights(self.norm_tensor), self.norm.formula
            yield declare("final_norm", inputs=[source], weights=weights, formula=formula)
            source = "final_norm"
        yield from self.pooling.taps(source)

    def final(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return each token's vector, (token, d_model) float32."""
        return s.tap("final_norm", self.norm(x, s, self.norm_tensor)) if self.norm else x

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Pool the tokens' vectors: (token, d_model) → (text, d_model), (text, label) or (token, d_model) float32."""
        return self.pooling(self.final(x, s), s)
