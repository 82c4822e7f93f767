"""The feed-forward network of a layer.

    gated:   act(x Wgate) · (x Wup) → Wdown      (Shazeer 2020: SwiGLU, GEGLU …)
    plain:   act(x Wup) → Wdown
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.taps import Tap, declare

GATED_NAMES = {"silu": "ffn_swiglu", "gelu": "ffn_geglu", "relu": "ffn_reglu"}
PLAIN_NAMES = {"silu": "ffn_silu", "gelu": "ffn_gelu", "relu": "ffn_relu", "relu_squared": "ffn_sqr(relu)"}


@dataclass(frozen=True)
class FeedForward:
    """Two or three matrices with an activation between them.

    Attributes:
        d_model: channels of the residual stream.
        d_ff: neurons.
        act: name of the activation function.
        gated: there is a gate matrix.
        biased: the file has biases, which llama.cpp adds as steps with names of their own.
        out: name of the result's tap: "ffn_out", or "ffn_down" where a norm follows.
    """

    d_model: int
    d_ff: int
    act: str
    gated: bool = True
    biased: bool = False
    out: str = "ffn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        into = ("ffn_gate", "ffn_up") if self.gated else ("ffn_up",)
        needs = [n for name in into for n in linear_needs(name, self.d_ff, self.d_model)]
        return needs + linear_needs("ffn_down", self.d_model, self.d_ff)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        into = ["ffn_gate", "ffn_up"] if self.gated else ["ffn_up"]
        for name in into:
            yield declare(
                name,
                inputs=[source],
                weights=linear_weights(name),
                formula=f"x · W{name.removeprefix('ffn_')}ᵀ" + (" + b" if self.biased else ""),
                llama_cpp=f"{name}_b" if self.biased else None,
                layer=layer,
            )
        names = GATED_NAMES if self.gated else PLAIN_NAMES
        yield declare(
            "ffn_act",
            inputs=into,
            formula=f"{self.act}(gate) · up" if self.gated else f"{self.act}(up)",
            llama_cpp=names.get(self.act),
            layer=layer,
        )
        yield declare(
            self.out, inputs=["ffn_act"], weights=linear_weights("ffn_down"), formula="act · Wdownᵀ", layer=layer
        )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Work on each token alone: (token, d_model) → (token, d_model) float32."""
        act = activation(self.act, s.numerics)
        if self.gated:
            gate = s.tap("ffn_gate", s.linear(x, "ffn_gate"))  # (token, d_ff)
            up = s.tap("ffn_up", s.linear(x, "ffn_up"))  # (token, d_ff)
            neurons = s.tap("ffn_act", act(gate) * up)  # (token, d_ff)
        else:
            up = s.tap("ffn_up", s.linear(x, "ffn_up"))  # (token, d_ff)
            neurons = s.tap("ffn_act", act(up))  # (token, d_ff)
        return s.tap(self.out, s.linear(neurons, "ffn_down"))  # (token, d_model)
