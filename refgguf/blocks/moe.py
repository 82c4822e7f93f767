"""Mixture of experts: a router sends each token to a few of many feed-forward networks (Shazeer et al. 2017).

    topk, weights = router(x)
    out           = Σ over topk: weight · expert(x)

or, with the weights first, expert(weight · x). Experts that no token chose are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.gated import GatedUnit
from refgguf.blocks.router import Router
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.taps import LAYER_WORDS, Tap, Word, declare

GATED_NAMES = {
    "silu": "ffn_moe_swiglu",
    "gelu": "ffn_moe_geglu",
    "relu": "ffn_moe_reglu",
    "swiglu_oai": "ffn_moe_swiglu_oai",
    "situ": "ffn_moe_situ",
}
OWN_LIMITS = ("swiglu_oai", "situ")  # gated units that are bounded by nature
PLAIN_NAMES = {
    "silu": "ffn_moe_silu",
    "gelu": "ffn_moe_gelu",
    "relu": "ffn_moe_relu",
    "relu_squared": "ffn_moe_relu_sqr",
}


@dataclass(frozen=True)
class MixtureOfExperts(Block):
    """A router and its experts.

    Attributes:
        d_model: channels of the residual stream.
        d_ff: neurons of an expert.
        router: what chooses experts.
        act: name of the experts' activation function, or of a gated unit (`GatedUnit`).
        gate: "split" (matrices of their own), "merged" (gate and up are the halves of ffn_gate_up_exps) or "none".
        limit: bounds what gate and up give; 0 for not at all.
        up_limit: as in `GatedUnit`.
        late: that bound comes after the activation.
        weight_first: the weight multiplies what an expert reads, not what it gives.
        biased: the file has biases of the experts' matrices.
        suffix: what the names of its tensors and taps end in.
        out: name of the result's tap.
    """

    d_model: int
    d_ff: int
    router: Router
    act: str = "silu"
    gate: str = "split"
    limit: float = 0.0
    up_limit: float = 0.0
    late: bool = False
    weight_first: bool = False
    biased: bool = False
    suffix: str = "_exps"
    out: str = "ffn_out"

    @property
    def n_used(self) -> int:
        """How many experts each token goes to."""
        return self.router.n_used

    @property
    def _unit(self) -> GatedUnit:
        return GatedUnit(self.act, self.limit, self.late, self.up_limit)

    @property
    def _inward(self) -> tuple[tuple[str, int], ...]:
        """Names and widths of the matrices that read the stream."""
        if self.gate == "merged":
            return ((self._name("gate_up"), 2 * self.d_ff),)
        parts = ("up",) if self.gate == "none" else ("gate", "up")
        return tuple((self._name(part), self.d_ff) for part in parts)

    def _name(self, part: str) -> str:
        """Name of a part's tensor and tap."""
        return f"ffn_{part}{self.suffix}"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        n = self.router.n_experts
        inward = [need for name, width in self._inward for need in linear_needs(name, width, self.d_model, n)]
        return [*self.router.needs(), *inward, *linear_needs(self._name("down"), self.d_model, self.d_ff, n)]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(
            name: str, inputs: list[str], formula: str, *weights: str, llama_cpp: str | None = None
        ) -> Tap:
            weights, word = linear_weights(*weights), self._word(name)
            return declare(
                name,
                inputs=inputs,
                formula=formula,
                weights=weights,
                layer=layer,
                word=word,
                llama_cpp=llama_cpp,
            )

        topk, shares = self.router.outputs
        yield from self.router.taps(layer, source)
        if self.weight_first:
            yield tap(self._name("in"), [source, shares], "weight · x")
            source = self._name("in")
        bias = " + b" if self.biased else ""
        for name, _ in self._inward:
            sign = name.removeprefix("ffn_").removesuffix(self.suffix)
            foreign = f"ffn_moe_{sign}_biased" if self.biased else None
            formula = f"x · W{sign}[expert]ᵀ{bias}"
            yield tap(name, [source, topk], formula, name, llama_cpp=foreign)
        if self.gate == "merged":
            both = self._name("gate_up")
            for part, half in (("gate", "first"), ("up", "second")):
                yield tap(self._name(part), [both], f"{half} half of {both}", llama_cpp="")
        yield self._act_tap(layer)
        foreign = "ffn_moe_down_biased" if self.biased else None
        formula = f"act · Wdown[expert]ᵀ{bias}"
        results = self._name("down")
        yield tap(results, [self._name("act"), topk], formula, results, llama_cpp=foreign)
        if not self.weight_first:
            yield tap(self._name("weighted"), [results, shares], "weight · result")
            results = self._name("weighted")
        foreign = None if self.suffix != "_exps" else "ffn_moe_out"
        yield tap(self.out, [results], "Σ over chosen experts", llama_cpp=foreign)

    def _word(self, name: str) -> Word:
        """What a tap's name means: the same, whatever it ends in."""
        return LAYER_WORDS.get(name) or LAYER_WORDS[name.removesuffix(self.suffix) + "_exps"]

    def _act_tap(self, layer: int) -> Tap:
        plain = self.gate == "none"
        names = PLAIN_NAMES if plain else GATED_NAMES
        limited = self.limit and self.act not in OWN_LIMITS
        name = self._name("act")
        return declare(
            name,
            inputs=[self._name(part) for part in (("up",) if plain else ("gate", "up"))],
            formula=f"{self.act}(up)" if plain else self._unit.formula,
            layer=layer,
            word=self._word(name),
            llama_cpp="ffn_moe_swiglu_limited" if limited else names.get(self.act, ""),
        )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Send each token to its experts: (token, d_model) → (token, d_model) float32."""
        topk, weights = self.router(x, s)  # (token, slot) each
        if self.weight_first:
            x = s.tap(self._name("in"), x[:, None, :] * weights[:, :, None])  # (token, slot, d_model)
        neurons = s.tap(self._name("act"), self._neurons(x, topk, s))  # (token, slot, d_ff)
        down = _by_expert(neurons, topk, self._name("down"), s)
        down = s.tap(self._name("down"), down)  # (token, slot, d_model)
        if not self.weight_first:
            down = s.tap(self._name("weighted"), down * weights[:, :, None])  # (token, slot, d_model)
        total = down[:, 0]
        for slot in range(1, self.router.n_used):  # in order of rank, as llama.cpp adds them
            total = total + down[:, slot]
        return s.tap(self.out, np.ascontiguousarray(total))  # (token, d_model)

    def _neurons(self, x: np.ndarray, topk: np.ndarray, s: Scope) -> np.ndarray:
        """Return the activations of the chosen experts' neurons, (token, slot, d_ff)."""
        parts = [s.tap(name, _by_expert(x, topk, name, s)) for name, _ in self._inward]
        if self.gate == "none":
            return activation(self.act, s.numerics)(parts[0])
        if self.gate == "merged":
            halves = (np.ascontiguousarray(half) for half in np.split(parts[0], 2, axis=2))
            parts = [s.tap(self._name(part), half) for part, half in zip(("gate", "up"), halves, strict=True)]
        return self._unit(*parts, s.numerics)


def _by_expert(x: np.ndarray, topk: np.ndarray, name: str, s: Scope) -> np.ndarray:
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
        some = x[tokens] if x.ndim == 2 else x[tokens, slots]
        y = s.linear(some, name, int(expert), alone=True)
        if out is None:
            out = np.empty((*topk.shape, y.shape[1]), np.float32)
        out[tokens, slots] = y
    return out
