"""The feed-forward network of a layer.

gated:   act(x Wgate) · (x Wup) → Wdown      (Shazeer 2020: SwiGLU, GEGLU …)
plain:   act(x Wup) → Wdown
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.gated import GatedUnit
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.taps import Tap, declare

GATED_NAMES = {
    "silu": "ffn_swiglu",
    "gelu": "ffn_geglu",
    "relu": "ffn_reglu",
    "swiglu_oai": "ffn_swiglu_oai",
}
PLAIN_NAMES = {
    "silu": "ffn_silu",
    "gelu": "ffn_gelu",
    "relu": "ffn_relu",
    "relu_squared": "ffn_sqr(relu)",
    "xielu": "ffn_xielu",
}


@dataclass(frozen=True)
class FeedForward(Block):
    """Two or three matrices with an activation between them.

    Attributes:
        d_model: channels of the residual stream.
        d_ff: neurons.
        act: name of the activation function.
        gate: "split" (a matrix of its own), "merged" (gate and up are the halves of ffn_up) or "none".
        biased: names of the matrices for which the file has biases; llama.cpp adds them as steps of their own.
        act_constants: constants of the activation function.
        limit: bounds what gate and up give; 0 for not at all.
        late: as in `GatedUnit`.
        up_limit: as in `GatedUnit`.
        sparsity: only neurons count whose gate lies so many standard deviations above the mean of all, and only by how
            much it does; 0 for all neurons.
        act_scales: activations are divided by scales of the file (AWQ).
        sub_norm: norm of the activations, or None.
        suffix: what the names of its tensors and taps end in, such as "_shexp" for a shared expert.
        out: name of the result's tap.
    """

    d_model: int
    d_ff: int
    act: str
    gate: str = "split"
    biased: tuple[str, ...] = ()
    act_constants: tuple[float, ...] = ()
    limit: float = 0.0
    late: bool = True
    up_limit: float = 0.0
    sparsity: float = 0.0
    act_scales: bool = False
    sub_norm: Norm | None = None
    suffix: str = ""
    out: str = "ffn_out"

    @cached_property
    def _names(self) -> tuple[str, str, str, str]:
        """Names of gate, up, activations and down, of tensors and of taps."""
        return tuple(f"ffn_{part}{self.suffix}" for part in ("gate", "up", "act", "down"))

    @property
    def _unit(self) -> GatedUnit:
        return GatedUnit(self.act, self.limit, late=self.late, up_limit=self.up_limit)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        gate, up, _, down = self._names
        needs = linear_needs(gate, self.d_ff, self.d_model) if self.gate == "split" else []
        needs += linear_needs(up, self.d_ff * (2 if self.gate == "merged" else 1), self.d_model)
        needs += [Need("ffn.act.scales", (self.d_ff,))] if self.act_scales else []
        needs += self.sub_norm.needs("ffn_sub_norm", self.d_ff) if self.sub_norm else []
        return needs + linear_needs(down, self.d_model, self.d_ff)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        gate, up, neurons, down = self._names
        yield from self._into_taps(layer, source)
        plain = self.gate == "none"
        if self.sparsity:
            formula = f"max(gate − mean − {self.sparsity:.4g} · deviation, 0), both over the token's neurons"
            yield declare("ffn_gate_sparse", inputs=[gate], formula=formula, layer=layer)
            gate = "ffn_gate_sparse"
        yield declare(
            neurons,
            inputs=[up] if plain else [gate, up],
            formula=f"{self.act}(up)" if plain else self._unit.formula,
            llama_cpp="ffn_swiglu_limited"
            if self.limit and self.act in ("silu", "gelu", "relu")
            else (PLAIN_NAMES if plain else GATED_NAMES).get(self.act, ""),
            layer=layer,
        )
        if self.act_scales:
            weights = ["ffn.act.scales"]
            yield declare(
                "ffn_act_scaled", inputs=[neurons], weights=weights, formula="act / scales", layer=layer
            )
            neurons = "ffn_act_scaled"
        if self.sub_norm:
            weights, formula = self.sub_norm.weights("ffn_sub_norm"), self.sub_norm.formula
            yield declare("ffn_sub_norm", inputs=[neurons], weights=weights, formula=formula, layer=layer)
            neurons = "ffn_sub_norm"
        weights = linear_weights(down)
        yield declare(self.out, inputs=[neurons], weights=weights, formula="act · Wdownᵀ", layer=layer)

    def _into_taps(self, layer: int, source: str) -> Iterator[Tap]:
        gate, up, _, _ = self._names
        if self.gate == "merged":
            weights = linear_weights(up)
            biased = "ffn_up" in self.biased
            yield declare(
                "ffn_gate_up",
                inputs=[source],
                weights=weights,
                formula="x · Wgate,upᵀ" + (" + b" if biased else ""),
                llama_cpp="ffn_up_b" if biased else None,
                layer=layer,
            )
            for name, half in ((gate, "first"), (up, "second")):
                formula = f"{half} half of ffn_gate_up"
                yield declare(name, inputs=["ffn_gate_up"], formula=formula, layer=layer, llama_cpp="")
            return
        for name in [up] if self.gate == "none" else [gate, up]:
            plain_name = name.removesuffix(self.suffix)
            biased = plain_name in self.biased
            yield declare(
                name,
                inputs=[source],
                weights=linear_weights(name),
                formula=f"x · W{plain_name.removeprefix('ffn_')}ᵀ" + (" + b" if biased else ""),
                llama_cpp=f"{plain_name}_b" if biased else None,
                layer=layer,
            )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Work on each token alone: (token, d_model) → (token, d_model) float32."""
        _, up_name, neurons_name, down = self._names
        if self.limit:
            neurons = self._unit(*self._gate_and_up(x, s), s.numerics)
        elif self.gate == "none":
            up = s.tap(up_name, s.linear(x, up_name, scale_last=True))  # (token, d_ff)
            neurons = activation(self.act, s.numerics)(up, *self.act_constants)
        else:
            gate, up = self._gate_and_up(x, s)
            if self.sparsity:
                gate = s.tap("ffn_gate_sparse", _above(gate, self.sparsity))
            neurons = activation(self.act, s.numerics)(gate, *self.act_constants) * up
        neurons = s.tap(neurons_name, neurons)  # (token, d_ff)
        if self.act_scales:
            neurons = s.tap("ffn_act_scaled", neurons / s.vector("ffn.act.scales"))
        if self.sub_norm:
            neurons = s.tap("ffn_sub_norm", self.sub_norm(neurons, s, "ffn_sub_norm"))
        return s.tap(self.out, s.linear(neurons, down, scale_last=True))  # (token, d_model)

    def _gate_and_up(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Return gates and inputs of the neurons, (token, d_ff) each."""
        gate_name, up_name, _, _ = self._names
        if self.gate == "split":
            gate = s.tap(gate_name, s.linear(x, gate_name, scale_last=True))
            return gate, s.tap(up_name, s.linear(x, up_name, scale_last=True))
        both = s.tap("ffn_gate_up", s.linear(x, up_name, scale_last=True))
        gate, up = (np.ascontiguousarray(half) for half in np.split(both, 2, axis=1))
        return s.tap(gate_name, gate), s.tap(up_name, up)


def _above(gate: np.ndarray, deviations: float) -> np.ndarray:
    """Return by how much each gate lies above the mean and so many deviations of its token's, or 0.

    Sums in float64, as ggml's. Source: llama.cpp src/models/gemma3n.cpp, gaussian_topk.
    """
    n = gate.shape[1]
    mean = (gate.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)) / np.float32(n)
    centred = gate - mean
    square = (centred * centred).sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(square * np.float32(1 / (n - 1)))
    return np.maximum(gate - (mean + deviation * np.float32(deviations)), np.float32(0))
