"""An expert that sees every token, as much as a gate of its own lets through (Qwen2-MoE).

y = ffn(x) · sigmoid(x · w)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.ffn import FeedForward
from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.activation import sigmoid, swish
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class GatedExpert(Block):
    """A feed-forward network and one number a token that multiplies what it gives.

    Attributes:
        ffn: the network.
        tensor: name of the vector behind the gate, without ".weight".
        by_silu: llama.cpp computes sigmoid(gate) as silu(gate) / gate.
        out: name of the result's tap.
    """

    ffn: FeedForward
    tensor: str = "ffn_gate_inp_shexp"
    by_silu: bool = False
    out: str = "ffn_shexp_gated"

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return (self.ffn,)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [*self.ffn.needs(), Need(f"{self.tensor}.weight", (self.ffn.d_model,))]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield from self.ffn.taps(layer, source)
        weights = [f"{self.tensor}.weight"]
        yield declare("shexp_gate", inputs=[source], weights=weights, formula="x · w", layer=layer)
        yield declare("shexp_gate_act", inputs=["shexp_gate"], formula="sigmoid(gate)", layer=layer)
        yield declare(self.out, inputs=[self.ffn.out, "shexp_gate_act"], formula="result · gate", layer=layer)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it: (token, d_model) → (token, d_model) float32."""
        y = self.ffn(x, s)
        gate = s.tap("shexp_gate", s.linear(x, self.tensor))  # (token, 1)
        by_silu = self.by_silu and s.numerics == "llama.cpp"
        gate = s.tap("shexp_gate_act", swish(gate, 1.0) / gate if by_silu else sigmoid(gate))
        return s.tap(self.out, y * gate)
