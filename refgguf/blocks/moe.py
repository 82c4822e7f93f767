"""Mixture of experts: a router sends each token to a few of many feed-forward networks (Shazeer et al. 2017).

    probs   = softmax(x Wrouter)
    topk    = the n_used experts with the largest probs
    weights = probs[topk] / Σ probs[topk]
    out     = Σ over topk: weight · expert(x)

Experts that no token chose are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation, sigmoid
from refgguf.kernels.ops.attention import softmax
from refgguf.taps import Tap, declare

# the smallest half-precision number; llama.cpp keeps the sum of weights from falling below it
LEAST_WEIGHT_SUM = np.float32(6.103515625e-5)
LLAMA_CPP_NAMES = {"silu": "ffn_moe_swiglu", "gelu": "ffn_moe_geglu", "relu": "ffn_moe_reglu"}
ROUTERS = {"softmax": softmax, "sigmoid": sigmoid}


@dataclass(frozen=True)
class MixtureOfExperts(Block):
    """A router and its experts.

    Attributes:
        d_model: channels of the residual stream.
        d_ff: neurons of an expert.
        n_experts: how many experts there are.
        n_used: how many each token goes to.
        act: name of the experts' activation function.
        router: how scores become shares: "softmax" or "sigmoid".
        normed: the chosen weights are scaled to a sum of 1.
        weight_scale: multiplies the weights.
        out: name of the result's tap.
    """

    d_model: int
    d_ff: int
    n_experts: int
    n_used: int
    act: str = "silu"
    router: str = "softmax"
    normed: bool = True
    weight_scale: float = 1.0
    out: str = "ffn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *linear_needs("ffn_gate_inp", self.n_experts, self.d_model),
            *linear_needs("ffn_gate_exps", self.d_ff, self.d_model, self.n_experts),
            *linear_needs("ffn_up_exps", self.d_ff, self.d_model, self.n_experts),
            *linear_needs("ffn_down_exps", self.d_model, self.d_ff, self.n_experts),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: list[str], formula: str, *weights: str, **names: str) -> Tap:
            return declare(
                name, inputs=inputs, formula=formula, weights=linear_weights(*weights), layer=layer, **names
            )

        share = "probs[topk] / Σ probs[topk]" if self.normed else "probs[topk]"
        if self.weight_scale != 1:
            share += f" · {self.weight_scale:g}"
        chosen = [source, "router_topk"]
        yield tap("router_logits", [source], "x · Wrouterᵀ", "ffn_gate_inp")
        yield tap("router_probs", ["router_logits"], f"{self.router}(logits)")
        yield tap("router_topk", ["router_probs"], f"the {self.n_used} largest of {self.n_experts}")
        yield tap(
            "router_weights",
            ["router_probs", "router_topk"],
            share,
            llama_cpp="ffn_moe_weights_norm" if self.normed else None,
        )
        yield tap("ffn_gate_exps", chosen, "x · Wgate[expert]ᵀ", "ffn_gate_exps")
        yield tap("ffn_up_exps", chosen, "x · Wup[expert]ᵀ", "ffn_up_exps")
        yield tap(
            "ffn_act_exps",
            ["ffn_gate_exps", "ffn_up_exps"],
            f"{self.act}(gate) · up",
            llama_cpp=LLAMA_CPP_NAMES.get(self.act),
        )
        yield tap("ffn_down_exps", ["ffn_act_exps", "router_topk"], "act · Wdown[expert]ᵀ", "ffn_down_exps")
        yield tap("ffn_weighted_exps", ["ffn_down_exps", "router_weights"], "weight · result")
        yield tap(self.out, ["ffn_weighted_exps"], "Σ over chosen experts", llama_cpp="ffn_moe_out")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Send each token to its experts: (token, d_model) → (token, d_model) float32."""
        logits = s.tap("router_logits", s.linear(x, "ffn_gate_inp"))  # (token, expert)
        probs = s.tap("router_probs", ROUTERS[self.router](logits))  # (token, expert)
        topk = s.tap("router_topk", top_k(probs, self.n_used))  # (token, slot)
        weights = s.tap("router_weights", self._weights(probs, topk))  # (token, slot)
        gate = s.tap("ffn_gate_exps", self._by_expert(x, topk, "ffn_gate_exps", s))  # (token, slot, d_ff)
        up = s.tap("ffn_up_exps", self._by_expert(x, topk, "ffn_up_exps", s))  # (token, slot, d_ff)
        neurons = s.tap("ffn_act_exps", activation(self.act, s.numerics)(gate) * up)  # (token, slot, d_ff)
        down = s.tap(
            "ffn_down_exps", self._by_expert(neurons, topk, "ffn_down_exps", s)
        )  # (token, slot, d_model)
        weighted = s.tap("ffn_weighted_exps", down * weights[:, :, None])  # (token, slot, d_model)
        total = weighted[:, 0]
        for slot in range(1, self.n_used):  # in order of rank, as llama.cpp adds them
            total = total + weighted[:, slot]
        return s.tap(self.out, np.ascontiguousarray(total))  # (token, d_model)

    def _weights(self, probs: np.ndarray, topk: np.ndarray) -> np.ndarray:
        weights = np.take_along_axis(probs, topk, axis=1)
        if self.normed:
            weights = weights / np.maximum(
                weights.sum(axis=1, keepdims=True, dtype=np.float32), LEAST_WEIGHT_SUM
            )
        return weights if self.weight_scale == 1 else weights * np.float32(self.weight_scale)

    def _by_expert(self, x: np.ndarray, topk: np.ndarray, name: str, s: Scope) -> np.ndarray:
        """Multiply each token by the matrices of its experts, expert after expert.

        Args:
            x: (token, d_in), the same for all experts of a token; or (token, slot, d_in), one for each.
            topk: (token, slot) expert numbers.
            name: local name of the stacked matrices.
            s: the scope.

        Returns:
            (token, slot, d_out) float32.
        """
        out = None
        for expert in np.unique(topk):
            tokens, slots = np.nonzero(topk == expert)
            y = s.linear(x[tokens] if x.ndim == 2 else x[tokens, slots], name, int(expert))
            if out is None:
                out = np.empty((*topk.shape, y.shape[1]), np.float32)
            out[tokens, slots] = y
        return out


def top_k(values: np.ndarray, k: int) -> np.ndarray:
    """Return the indices of the k largest values of each row, the largest first, (row, k) int32; ties by index."""
    return np.argsort(-values, axis=1, kind="stable")[:, :k].astype(np.int32)
