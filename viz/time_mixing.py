"""What RWKV's mixing over time makes value by value: differences of tokens, unit keys, the bonus of a token itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refgguf.trace import TracedTensor
from refgguf.viz.arithmetic import Index, agrees, place_in_row, plus
from refgguf.viz.scene.overlay import number


def time_mixed(
    tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence
) -> list[str]:
    """Work out one of these values; nothing where it is none of them, or the arithmetic does not end at it."""
    way = WAYS.get(tensor.formula)
    if way is None or len(weights) != len(tensor.weights):
        return []
    row = (len(tensor.values), int(np.prod(tensor.values.shape[1:])))
    rows = [i.values.reshape(row).astype(np.float64) for i in inputs]
    known = [w.dequantize().reshape(-1).astype(np.float64) for w in weights]
    lines, got = way(rows, known, index[0], place_in_row(tensor, index), inputs[0].values.shape[-1], tensor)
    return lines if agrees(got, tensor, index) else []


Told = tuple[list[str], float]
Rows = Sequence[np.ndarray]


def _difference(rows: Rows, weights: Rows, token: int, at: int, width: int, tensor: TracedTensor) -> Told:
    """The token before, less this one."""
    before, now = float(rows[0][token - 1, at]) if token else 0.0, float(rows[0][token, at])
    first = "" if token else ", there is none before the first"
    return [
        f"token before {number(before)}{first}",
        f"{number(before)} {plus(-now)} = {number(before - now)}",
    ], (before - now)


def _unit_key(rows: Rows, weights: Rows, token: int, at: int, width: int, tensor: TracedTensor) -> Told:
    """A key times ξ, each head of length 1."""
    k, ksi, width = rows[0][token], weights[0], tensor.values.shape[-1]
    head = slice(at - at % width, at - at % width + width)
    length, own = float(np.linalg.norm((k * ksi)[head])), float(k[at] * ksi[at])
    got = own / length if length else np.nan
    return [
        f"k · ξ = {number(k[at])} × {number(ksi[at])} = {number(own)}",
        f"√(Σ (k · ξ)²) = {number(length)} over the head's {width:,} channels",
        f"{number(own)} / {number(length)} = {number(got)}",
    ], got


def _bonus(rows: Rows, weights: Rows, token: int, at: int, width: int, tensor: TracedTensor) -> Told:
    """What a token reads from itself: its value, as much as its receptance and key agree."""
    r, k, v = (x[token] for x in rows)
    head = slice(at - at % width, at - at % width + width)
    agreed = float((r * k * weights[0])[head].sum())
    return [
        f"Σ(r · k · ρ) = {number(agreed)} over the head's {width:,} channels",
        f"{number(agreed)} × {number(v[at])} = {number(agreed * v[at])}",
    ], float(agreed * v[at])


WAYS = {
    "x₋₁ − x": _difference,
    "k · ξ, each head of length 1": _unit_key,
    "each head: Σ(r · k · ρ) · v": _bonus,
}
