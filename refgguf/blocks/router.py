"""The router of a mixture of experts: which of them see a token, and how much each counts (Shazeer et al. 2017).

    logits  = x Wrouter
    probs   = softmax or sigmoid of the logits
    topk    = the n_used experts with the largest probs (plus a bias that only selection sees: DeepSeek-V3)
    weights = probs[topk], over their sum or not, times a scale

The token itself may say which experts see it: topk = its row of a table. Experts may stand in groups, of which only
those with the largest sum of their two best are considered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.errors import InputError
from refgguf.kernels.ops.activation import sigmoid, softplus
from refgguf.kernels.ops.attention import softmax
from refgguf.kernels.ops.sums import row_sums
from refgguf.taps import Tap, declare

# the smallest half-precision number; llama.cpp keeps the sum of weights from falling below it
LEAST_WEIGHT_SUM = np.float32(6.103515625e-5)
BEST_OF_GROUP = 2  # how many experts speak for their group
SHARES = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "sqrt_softplus": lambda x: np.sqrt(softplus(x)),
}


@dataclass(frozen=True)
class Router:
    """What chooses experts.

    Attributes:
        d_model: channels of the residual stream.
        n_experts: how many experts there are.
        n_used: how many each token goes to.
        shares: how scores become shares: a key of SHARES, or "chosen" for softmax over the chosen experts' scores.
        by_score: experts are chosen by their scores, not by their shares.
        choice_shares: how scores become what experts are chosen by, where that is not what they are weighted by.
        bias: name of the tensor that is added for the choice alone, or None.
        n_groups: groups of experts; 1 for none.
        n_groups_used: groups that a token may choose from.
        normed: the chosen weights are scaled to a sum of 1.
        scale: multiplies the weights.
        biased: the file has a bias of the scores.
        reads: local name of the tap that it reads, where that is not what the experts read.
        table: name of the tensor that has each token's experts, where they are not chosen; or None.
        n_tokens: rows of that table.
        norm: norm of what it reads, over √d_model, before a scale of each channel; or None.
    """

    d_model: int
    n_experts: int
    n_used: int
    shares: str = "softmax"
    by_score: bool = False
    choice_shares: str | None = None
    bias: str | None = None
    n_groups: int = 1
    n_groups_used: int = 1
    normed: bool = True
    scale: float = 1.0
    biased: bool = False
    reads: str | None = None
    table: str | None = None
    n_tokens: int = 0
    norm: Norm | None = None

    @property
    def outputs(self) -> tuple[str, str]:
        """Local names of the taps of the chosen experts and of their weights."""
        return "router_topk", "router_weights"

    @property
    def _late(self) -> bool:
        """Whether shares come only after the choice."""
        return self.shares == "chosen"

    @property
    def _shares(self) -> str:
        return "router_logits" if self._late else "router_probs"

    @property
    def _choice(self) -> str:
        """Name of the tap by which experts are chosen."""
        if self.bias or self.choice_shares:
            return "router_choice"
        return "router_logits" if self.by_score else self._shares

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        if self.norm:
            shapes = {"weight": (self.n_experts, self.d_model), "scale": (self.d_model,)}
            needs = [Need(f"ffn_gate_inp.{part}", shape) for part, shape in shapes.items()]
        else:
            needs = linear_needs("ffn_gate_inp", self.n_experts, self.d_model)
        needs += [Need(self.bias, (self.n_experts,))] if self.bias else []
        return needs + ([Need(self.table, (self.n_tokens, self.n_used))] if self.table else [])

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(
            name: str, inputs: list[str], formula: str, *weights: str, llama_cpp: str | None = None
        ) -> Tap:
            return declare(
                name, inputs=inputs, formula=formula, weights=weights, layer=layer, llama_cpp=llama_cpp
            )

        named = "ffn_moe_probs" if self._late else "ffn_moe_logits_biased" if self.biased else None
        read, weights = self.reads or source, linear_weights("ffn_gate_inp")
        if self.norm:
            yield tap("router_in", [read], f"{self.norm.formula} / √d_model · scale", "ffn_gate_inp.scale")
            read, weights = "router_in", ("ffn_gate_inp.weight",)
        formula = "x · Wrouterᵀ" + (" + b" if self.biased else "")
        yield tap("router_logits", [read], formula, *weights, llama_cpp=named)
        if not self._late:
            yield tap("router_probs", ["router_logits"], f"{self.shares}(logits)")
        if self.bias:
            formula = f"{'logits' if self._late else 'probs'} + b"
            yield tap("router_choice", [self._shares], formula, self.bias)
        elif self.choice_shares:
            yield tap("router_choice", ["router_logits"], f"{self.choice_shares}(logits)")
        choice = [self._choice]
        if self.n_groups > 1:
            formula = f"the {self.n_groups_used} of {self.n_groups} groups with the best two experts together"
            yield tap("router_groups", choice, formula)
            choice = [*choice, "router_groups"]
        if self.table:
            yield tap("router_topk", [], "the token's row of a table", self.table)
        else:
            yield tap("router_topk", choice, f"the {self.n_used} largest of {self.n_experts}")
        yield tap(
            "router_weights", [self._shares, "router_topk"], self._formula, llama_cpp=self._weights_name
        )

    @property
    def _formula(self) -> str:
        share = "softmax(logits[topk])" if self._late else "probs[topk]"
        share = f"{share} / Σ {share}" if self.normed else share
        return share if self.scale == 1 else f"{share} · {self.scale:g}"

    @property
    def _weights_name(self) -> str | None:
        """llama.cpp's name of the weights."""
        if self.scale != 1:
            return "ffn_moe_weights_scaled"
        if self.normed:
            return "ffn_moe_weights_norm"
        return "ffn_moe_weights_softmax" if self._late else None

    def __call__(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Choose experts for each token.

        Args:
            x: (token, d_model) float32, what the experts read.
            s: the scope.

        Returns:
            their numbers, (token, slot) int32, the best first, and their weights, (token, slot) float32.
        """
        x = s.common[self.reads] if self.reads else x
        logits = s.tap("router_logits", self._scores(x, s))  # (token, expert)
        probs = logits if self._late else s.tap("router_probs", shares(self.shares, logits, s))
        choice = logits if self.by_score else probs  # (token, expert)
        if self.bias:
            choice = s.tap("router_choice", choice + s.vector(self.bias))
        elif self.choice_shares:
            choice = s.tap("router_choice", shares(self.choice_shares, logits, s))
        if self.n_groups > 1:
            choice = self._within_groups(choice, s)
        chosen = self._looked_up(s) if self.table else top_k(choice, self.n_used)
        topk = s.tap("router_topk", chosen)  # (token, slot)
        s.common.update(router_probs=probs, router_topk=topk)  # for blocks that choose by it once more
        return topk, s.tap("router_weights", self._weights(probs, topk, s))

    def _scores(self, x: np.ndarray, s: Scope) -> np.ndarray:
        if not self.norm:
            return s.linear(x, "ffn_gate_inp")
        x = self.norm(x, s, "") * np.float32(self.d_model**-0.5) * s.vector("ffn_gate_inp.scale")
        return s.weights.linear(s.tap("router_in", x), f"{s.weight_prefix}ffn_gate_inp.weight")

    def _looked_up(self, s: Scope) -> np.ndarray:
        """Return each token's experts, (token, slot) int32."""
        rows = s.weights.rows(s.weight_prefix + self.table, s.tokens)
        if not ((rows >= 0) & (rows < self.n_experts)).all():
            raise InputError(
                f"tensor {s.weight_prefix}{self.table} sends a token to an expert beyond the {self.n_experts} there are"
            )
        return rows.astype(np.int32)

    def _within_groups(self, choice: np.ndarray, s: Scope) -> np.ndarray:
        """Return the choice with the experts outside the best groups ruled out."""
        grouped = choice.reshape(len(choice), self.n_groups, -1)
        best = -np.sort(-grouped, axis=2)[:, :, :BEST_OF_GROUP]
        groups = s.tap(
            "router_groups", top_k(best.sum(axis=2, dtype=np.float32), self.n_groups_used)
        )  # (token, slot)
        open_ = np.zeros(grouped.shape[:2], bool)
        np.put_along_axis(open_, groups, True, axis=1)
        return np.where(open_[:, :, None], grouped, np.float32(-np.inf)).reshape(choice.shape)

    def _weights(self, probs: np.ndarray, topk: np.ndarray, s: Scope) -> np.ndarray:
        weights = np.take_along_axis(probs, topk, axis=1)
        if self._late:
            weights = softmax(weights, order=s.order())
        if self.normed:
            weights = over_their_sum(weights, s.numerics)
        return weights if self.scale == 1 else weights * np.float32(self.scale)


def shares(name: str, logits: np.ndarray, s: Scope) -> np.ndarray:
    """Return what a key of SHARES makes of scores (token, expert)."""
    return softmax(logits, order=s.order()) if name == "softmax" else SHARES[name](logits)


def over_their_sum(weights: np.ndarray, numerics: str) -> np.ndarray:
    """Return weights (token, slot) scaled to a sum of 1 for each token."""
    return weights / np.maximum(row_sums(weights, numerics), LEAST_WEIGHT_SUM)


def top_k(values: np.ndarray, k: int) -> np.ndarray:
    """Return the indices of the k largest values of each row, the largest first, (row, k) int32; ties by index."""
    return np.argsort(-values, axis=1, kind="stable")[:, :k].astype(np.int32)
