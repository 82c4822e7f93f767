"""One matrix, or one activation function, in place of a whole block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Linear(Block):
    """x · Wᵀ.

    Attributes:
        d_model: channels of the residual stream.
        tensor: name of the matrix.
        out: name of the result's tap.
    """

    d_model: int
    tensor: str
    out: str = "attn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return linear_needs(self.tensor, self.d_model, self.d_model)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its tap."""
        yield declare(
            self.out,
            inputs=[source],
            weights=linear_weights(self.tensor),
            formula="x · Wᵀ",
            layer=layer,
            llama_cpp="wo",
        )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Multiply: (token, d_model) → (token, d_model) float32."""
        return s.tap(self.out, s.linear(x, self.tensor))


@dataclass(frozen=True)
class Activation(Block):
    """act(x).

    Attributes:
        act: name of the activation function.
        out: name of the result's tap.
    """

    act: str
    out: str = "ffn_out"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its tap."""
        yield declare(self.out, inputs=[source], formula=f"{self.act}(x)", layer=layer)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Bend each number: (token, d_model) → (token, d_model) float32."""
        return s.tap(self.out, activation(self.act, s.numerics)(x))
