"""Gated units: what a gate lets through of a neuron's input (Shazeer 2020, and bounded forms of it).

plain        act(gate) · up
limited      act(min(gate, limit)) · cut(up)          cut: between −limit and limit
limited late min(act(gate), limit) · cut(up)
swiglu_oai   g · sigmoid(1.702 g) · (cut(up) + 1),    g = min(gate, limit)
situ         bend(gate, limit) · sigmoid(gate) · bend(up, up_limit),    bend(x, l) = l · tanh(x / l)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.kernels.ops.activation import activation, gelu_quick, softcap, swish

OAI_SLOPE = 1.702  # of the sigmoid in swiglu_oai


@dataclass(frozen=True)
class GatedUnit:
    """A gated unit.

    Attributes:
        act: name of the activation function; "swiglu_oai" or "situ" for those forms.
        limit: bounds gate and input; 0 for not at all.
        late: the bound comes after the activation, not before.
        up_limit: bounds the input in "situ"; 0 for not at all.
    """

    act: str
    limit: float = 0.0
    late: bool = False
    up_limit: float = 0.0

    @property
    def formula(self) -> str:
        """What it computes."""
        if self.act == "swiglu_oai":
            return (
                f"g · σ({OAI_SLOPE} g) · (cut(up) + 1); g = min(gate, {self.limit:g}), cut to ±{self.limit:g}"
            )
        if self.act == "situ":
            up = f"{self.up_limit:g} · tanh(up / {self.up_limit:g})" if self.up_limit else "up"
            return f"{self.limit:g} · tanh(gate / {self.limit:g}) · σ(gate) · {up}"
        if not self.limit:
            return f"{self.act}(gate) · up"
        inner = (
            f"min({self.act}(gate), {self.limit:g})"
            if self.late
            else f"{self.act}(min(gate, {self.limit:g}))"
        )
        return f"{inner} · up cut to ±{self.limit:g}"

    def __call__(self, gate: np.ndarray, up: np.ndarray, numerics: str) -> np.ndarray:
        """Gate the inputs of neurons; arrays of one shape, float32."""
        limit = np.float32(self.limit)
        if self.act == "swiglu_oai":
            gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit) + np.float32(1)
            return (swish(gate, OAI_SLOPE) if numerics == "llama.cpp" else gelu_quick(gate)) * up
        if self.act == "situ":
            up = softcap(up, self.up_limit) if self.up_limit else up
            return softcap(gate, self.limit) * activation("sigmoid", numerics)(gate) * up
        act = activation(self.act, numerics)
        if not self.limit:
            return act(gate) * up
        if self.act == "silu" and not self.late and numerics == "llama.cpp":
            gate = swish(np.minimum(gate, limit), 1.0)
        else:
            gate = np.minimum(act(gate), limit) if self.late else act(np.minimum(gate, limit))
        return gate * np.clip(up, -limit, limit)
