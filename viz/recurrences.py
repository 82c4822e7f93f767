"""Recurrent mixers by hand: how a value of a state came about at the last token, and what a token reads from it.

All of them keep a matrix for each head, a row of it for each channel of a value, and make of every row

    state ← decay × previous state + input          y = state · query

so a row is run through all tokens here, in float64, and is only told of where it ends at the traced value: the
states between are not in the trace, and neither is what was remembered before its first token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from refgguf.trace import TracedTensor
from refgguf.viz.arithmetic import Index, agrees, plus
from refgguf.viz.scene.overlay import number


class Rule(Protocol):
    """What one row of a state goes through, token by token."""

    decay: np.ndarray  # (token, d_key), or (token, 1)
    key: np.ndarray  # (token, d_key)

    def input(self, token: int, before: np.ndarray) -> np.ndarray:
        """Return what a token adds to the faded row, (d_key), given the row before it."""

    def words(self, token: int, before: np.ndarray, at: int) -> list[str]:
        """Return lines on the decay and the input at one channel of the key."""


@dataclass(frozen=True, eq=False)
class Plain:
    """The value is written along the key (Mamba, RWKV-6, lightning and gated linear attention).

    Attributes:
        decay: (token, d_key or 1) what is kept.
        key: (token, d_key) where is written.
        value: (token) what.
        step: (token) factor of what is written.
        rate: (d_key or 1) number that makes the decay with the step; None where the decay is given.
        names: of decay and input in the formula.
    """

    decay: np.ndarray
    key: np.ndarray
    value: np.ndarray
    step: np.ndarray | None = None
    rate: np.ndarray | None = None
    names: tuple[str, str] = ("w", "k · v")

    def input(self, token: int, before: np.ndarray) -> np.ndarray:
        """Return what a token adds to the faded row."""
        step = 1.0 if self.step is None else self.step[token]
        return step * self.value[token] * self.key[token]

    def words(self, token: int, before: np.ndarray, at: int) -> list[str]:
        """Return lines on the decay and the input at one channel of the key."""
        factors = [self.value[token], self.key[token, at]]
        decay = number(_at(self.decay[token], at))
        if self.step is not None and self.rate is not None:
            factors.insert(0, self.step[token])
            decay = f"e^({number(self.step[token])} × {number(_at(self.rate, at))}) = {decay}"
        terms = " × ".join(number(f) for f in factors)
        added = number(self.input(token, before)[at])
        return [f"decay {self.names[0]} = {decay}", f"input {self.names[1]} = {terms} = {added}"]


@dataclass(frozen=True, eq=False)
class Delta:
    """What the faded state says of the key moves towards the value (gated delta networks).

    Attributes:
        decay: (token, d_key or 1) what is kept.
        key: (token, d_key) unit vectors.
        value: (token) what the key should say.
        beta: (token) how far it moves.
        rate: (token, d_key or 1) logarithm of the decay.
        name: of the logarithm.
    """

    decay: np.ndarray
    key: np.ndarray
    value: np.ndarray
    beta: np.ndarray
    rate: np.ndarray
    name: str

    def _said(self, token: int, before: np.ndarray) -> float:
        return float((self.decay[token] * before) @ self.key[token])

    def input(self, token: int, before: np.ndarray) -> np.ndarray:
        """Return what a token adds to the faded row."""
        return self.beta[token] * (self.value[token] - self._said(token, before)) * self.key[token]

    def words(self, token: int, before: np.ndarray, at: int) -> list[str]:
        """Return lines on the decay and the input at one channel of the key."""
        said, rate = self._said(token, before), number(_at(self.rate[token], at))
        terms = f"({number(self.value[token])} {plus(-said)}) × {number(self.key[token, at])}"
        return [
            f"decay exp({self.name}) = e^{rate} = {number(_at(self.decay[token], at))}",
            f"state · k = {number(said)}: what the faded state says of the key",
            f"input β · (v − state · k) · k = {number(self.beta[token])} × {terms}"
            f" = {number(self.input(token, before)[at])}",
        ]


@dataclass(frozen=True, eq=False)
class Wkv7:
    """What stands along κ is removed, then the value is written along the key (RWKV-7).

    Attributes:
        decay: (token, d_key) what is kept.
        key: (token, d_key) where is written.
        value: (token) what.
        kappa: (token, d_key) where is removed.
        rate: (token, d_key) how much of it.
    """

    decay: np.ndarray
    key: np.ndarray
    value: np.ndarray
    kappa: np.ndarray
    rate: np.ndarray

    def input(self, token: int, before: np.ndarray) -> np.ndarray:
        """Return what a token adds to the faded row."""
        removed = (before @ self.kappa[token]) * self.rate[token] * self.kappa[token]
        return self.value[token] * self.key[token] - removed

    def words(self, token: int, before: np.ndarray, at: int) -> list[str]:
        """Return lines on the decay and the input at one channel of the key."""
        found, kappa, rate = float(before @ self.kappa[token]), self.kappa[token, at], self.rate[token, at]
        written = f"{number(self.value[token])} × {number(self.key[token, at])}"
        removed = f"{number(found)} × {number(rate)} × {number(kappa)}"
        return [
            f"decay w = {number(_at(self.decay[token], at))}",
            f"state · κ = {number(found)}: what the previous state holds along κ",
            f"input v · k − (state · κ) · a · κ = {written} − ({removed})"
            f" = {number(self.input(token, before)[at])}",
        ]


def _at(values: np.ndarray, at: int) -> float:
    """Return one of several numbers, or the one that is the same for all."""
    return float(values[at if values.size > 1 else 0])


def row_after(rule: Rule, n_tokens: int) -> np.ndarray:
    """Return a row of the state after so many tokens, (d_key) float64."""
    row = np.zeros(rule.key.shape[1])
    for token in range(n_tokens):
        row = rule.decay[token] * row + rule.input(token, row)
    return row


# ---- the rules by the formulas that taps have

Arrays = Sequence[np.ndarray]
Rules = Callable[[int, int], list[tuple[int, Rule]]]  # head, channel of its value → head of its keys, rule
Maker = Callable[[Arrays, Arrays, tuple[int, int]], Rules]  # inputs, weights, numbers of heads and channels


def _real(values: np.ndarray) -> np.ndarray:
    """Return the part that a row needs, in float64."""
    return values.astype(np.float64)


def _mamba(inputs: Arrays, weights: Arrays, shape: tuple[int, int]) -> Rules:
    x, delta, b = inputs
    x, a = x.reshape(len(x), *shape), weights[0].reshape(shape[0], -1)
    names = "exp(Δ · A)", "Δ · x · B"

    def rules(head: int, value: int) -> list[tuple[int, Rule]]:
        step, group = _real(delta[:, head]), head * b.shape[1] // shape[0]
        decay = np.exp(step[:, None] * a[head])
        return [(group, Plain(decay, _real(b[:, group]), _real(x[:, head, value]), step, a[head], names))]

    return rules


def _wkv(inputs: Arrays, weights: Arrays, shape: tuple[int, int]) -> Rules:
    w, k, v = inputs
    return lambda head, value: [(head, Plain(_real(w[:, head]), _real(k[:, head]), _real(v[:, head, value])))]


def _lightning(inputs: Arrays, weights: Arrays, shape: tuple[int, int]) -> Rules:
    k, v = inputs

    def rules(head: int, value: int) -> list[tuple[int, Rule]]:
        slope = float(weights[0][head])
        names = f"exp(−slope) = e^{number(-slope)}", "v · k"
        decay = np.full((len(k), 1), np.exp(-slope))
        return [(head, Plain(decay, _real(k[:, head]), _real(v[:, head, value]), names=names))]

    return rules


def _wkv7(inputs: Arrays, weights: Arrays, shape: tuple[int, int]) -> Rules:
    w, k, v, kappa, a = inputs

    def rules(head: int, value: int) -> list[tuple[int, Rule]]:
        w_, k_, kappa_, a_ = (_real(x[:, head]) for x in (w, k, kappa, a))
        return [(head, Wkv7(w_, k_, _real(v[:, head, value]), kappa_, a_))]

    return rules


def _delta(name: str) -> Maker:
    def make(inputs: Arrays, weights: Arrays, shape: tuple[int, int]) -> Rules:
        k, v, gate, beta = inputs
        gate = gate.reshape(*gate.shape[:2], -1)

        def rules(head: int, value: int) -> list[tuple[int, Rule]]:
            n = k.shape[1]  # a head of keys serves several of values, which stand side by side or take turns
            served = dict.fromkeys((head * n // shape[0], head % n))
            rate = _real(gate[:, head])
            own = _real(v[:, head, value]), _real(beta[:, head]), rate, name
            return [(group, Delta(np.exp(rate), _real(k[:, group]), *own)) for group in served]

        return rules

    return make


STEPS = ", token after token"
# state's formula → its rule; which of its axes is the value's channel
STATES: dict[str, tuple[Maker, int]] = {
    "state ← exp(Δ · A) · state + Δ · x · Bᵀ": (_mamba, 1),
    "state ← w · state + k · vᵀ": (_wkv, 2),
    "state ← w · state + v · kᵀ": (_wkv, 1),
    "state ← exp(−slope) · state + v · kᵀ": (_lightning, 1),
    "state ← state · w − (state · κ) · (a · κ)ᵀ + v · kᵀ": (_wkv7, 1),
    "state ← exp(gate) · state; state ← state + β · (v − state · k) · kᵀ": (_delta("gate"), 1),
    "state ← state · exp(decay); state ← state + β · (v − state · k) · kᵀ": (_delta("decay"), 1),
}
# what is read of it → its rule; which of the inputs the query is, the rest are the state's; its name
READS: dict[str, tuple[Maker, int, str]] = {
    "state · C": (_mamba, 3, "C"),
    "(state + u · k · vᵀ)ᵀ · r": (_wkv, 0, "r"),
    "state · r": (_wkv7, 0, "r"),
    "state · q": (_lightning, 0, "q"),
    "state · r · scale": (_wkv, 0, "r"),
    "state · q / √d": (_delta("g"), 0, "q"),
}
SLOPE = re.compile(r"; slope = (?P<first>[\d.e-]+)( · (?P<ratio>[\d.e-]+)\^head)?")
SCALED = re.compile(r"state · r · (?P<scale>[\d.e-]+)")


def _formula(tensor: TracedTensor, n_heads: int) -> tuple[str, list[np.ndarray]]:
    """Return the formula of a state or of what is read, and the slopes of the heads if it gives them."""
    match = SLOPE.search(tensor.formula)
    if match is None:
        return tensor.formula, []
    slopes = float(match["first"]) * float(match["ratio"] or 1) ** np.arange(n_heads)
    return tensor.formula[: match.start()], [slopes]


def state(tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence) -> list[str]:
    """Work out a value of a state by its last step; nothing where the steps do not end at it."""
    formula, slopes = _formula(tensor, len(tensor.values))
    found = STATES.get(formula)
    if found is None or len(weights) != len(tensor.weights):
        return []
    make, axis = found
    shape = tensor.values.shape[0], tensor.values.shape[axis]
    head, value, at = index[0], index[axis], index[3 - axis]
    known = slopes + [w.dequantize().astype(np.float64) for w in weights]
    for _, rule in make([i.values for i in inputs], known, shape)(head, value):
        last = len(rule.key) - 1
        before = row_after(rule, last)
        kept, added = _at(rule.decay[last], at), float(rule.input(last, before)[at])
        got = kept * float(before[at]) + added
        if agrees(got, tensor, index, abs(kept * float(before[at])) + abs(added)):
            return [
                f"previous state {number(before[at])}"
                + (f", after token {last - 1}" if last else ", nothing yet"),
                *rule.words(last, before, at),
                f"decay × previous state + input = {number(kept)} × {number(before[at])} {plus(added)}"
                f" = {number(got)}",
            ]
    return []


def read_terms(
    tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence
) -> tuple[list[str], np.ndarray] | None:
    """Return what a token reads from a state as a sum over the key's channels; None where it is read otherwise.

    Args:
        tensor: (token, head, d_value) what is read.
        inputs: what it was computed from.
        index: token, head and channel.
        weights: the file's tensors that it was computed with.
    """
    formula, slopes = _formula(tensor, tensor.values.shape[1] if tensor.values.ndim == 3 else 0)
    formula, stepwise, _ = formula.partition(STEPS)
    scale = float(match["scale"]) if (match := SCALED.fullmatch(formula)) else 1.0
    found = READS.get("state · r · scale" if match else formula)
    if found is None or not stepwise or len(weights) != len(tensor.weights):
        return None
    make, place, sign = found
    arrays = [i.values for i in inputs]
    query = arrays.pop(place)
    scale = query.shape[-1] ** -0.5 if "√d" in formula else scale
    known = slopes + [w.dequantize().astype(np.float64) for w in weights]
    (token, head, value), shape = index, tensor.values.shape[1:]
    value_of, sums = float(tensor.values[index]), []
    for group, rule in make(arrays, known, shape)(head, value):
        q = _real(query[token, group]) * scale
        if sign == "r" and known:  # before the token is written, and the token itself as a bonus
            row = row_after(rule, token)
            own = known[0].reshape(shape[0], -1)[head] * rule.input(token, row)
            parts = [f"({number(s)} + u·k·v {number(x)})" for s, x in zip(row, own, strict=True)]
            row = row + own
        else:
            row = row_after(rule, token + 1)
            parts = [number(s) for s in row]
        axis = "d_state" if sign == "C" else "channel"
        by = f" × {scale:.4g}" * (scale != 1)
        names = [
            f"{axis} {i}: state {s} × {sign} {number(x / scale)}{by}"
            for i, (s, x) in enumerate(zip(parts, q, strict=True))
        ]
        sums.append((names, row * q))
    return min(sums, key=lambda s: abs(float(s[1].sum()) - value_of))
