"""Worked examples of mixtures of experts: shares, choice, weights, the experts' matrices, the sum of their results."""

from __future__ import annotations

import numpy as np

from refgguf.cli.stepper.example import Place, close, sum_of
from refgguf.cli.stepper.glyphs import number


def shares(place: Place) -> list[str] | None:
    """Scores of all experts turned into shares."""
    same = place.input_like(place.here.values.shape)
    if place.here.axes != ("expert",) or len(same) != 1 or place.weights:
        return None
    score, share = same[0].astype(np.float64), place.here.values.astype(np.float64)
    best = int(share.argmax())
    weights = np.exp(score - score.max())
    if close(weights[best] / weights.sum(), share[best], 1.0):
        return [
            f"expert {best}: e^{number(score[best] - score.max())} = {weights[best]:.4g} of all experts'"
            f" {weights.sum():.4g}, a share of {share[best]:.1%}",
        ]
    if close(1 / (1 + np.exp(-score[best])), share[best], 1.0):
        return [
            f"expert {best}: 1 / (1 + e^{number(-score[best])}) = {share[best]:.1%}, each expert by itself"
        ]
    return None


def choice(place: Place) -> list[str] | None:
    """The experts with the largest shares."""
    if place.here.axes != ("slot",) or place.here.values.dtype.kind not in "iu" or len(place.inputs) != 1:
        return None
    (offered,) = (part.values for part in place.inputs.values())
    chosen = place.here.values
    if offered.ndim != 1 or chosen.max() >= offered.size or chosen[0] != offered.argmax():
        return None
    terms = ", ".join(f"expert {int(e)} with {float(offered[e]):.1%}" for e in chosen)
    return [f"the {chosen.size} largest of {offered.size}: {terms}"]


def weight(place: Place) -> list[str] | None:
    """The chosen experts' shares, scaled to sum to one where the model does so."""
    offered, chosen = _by_axes(place, ("expert",)), _by_axes(place, ("slot",))
    if place.here.axes != ("slot",) or offered is None or chosen is None or chosen.dtype.kind not in "iu":
        return None
    mine, value = offered[chosen].astype(np.float64), float(place.here.values[0])
    if close(mine[0], value, 1.0):
        return [f"slot 0 is expert {int(chosen[0])} with its share of {mine[0]:.1%}"]
    if close(mine[0] / mine.sum(), value, 1.0):
        terms = " + ".join(f"{share:.1%}" for share in mine)
        return [f"slot 0 is expert {int(chosen[0])}: {mine[0]:.1%} of {terms} is {value:.1%}"]
    return None


def matrix(place: Place) -> list[str] | None:
    """One expert's matrix: a sum of products as in any other."""
    stacks = [
        (name, w) for name, w in place.weights.items() if name.endswith(".weight") and len(w.shape) == 3
    ]
    chosen = _by_axes(place, ("slot",))
    if len(stacks) != 1 or chosen is None or place.here.values.ndim != 2:
        return None
    name, stack = stacks[0]
    slot, at = (int(i) for i in np.unravel_index(place.largest, place.here.values.shape))
    x = next(part.values for part in place.inputs.values() if part.values.dtype.kind == "f")
    x = (x[slot] if x.ndim == 2 else x).astype(np.float64)
    expert = int(chosen[slot])
    if stack.shape[1:] != (place.here.values.shape[1], x.size):
        return None
    row = stack.dequantize(rows=expert * stack.shape[1] + at).reshape(-1).astype(np.float64)
    products, value = x * row, float(place.here.values[slot, at])
    if not close(products.sum(), value, float(np.abs(products).sum())):
        return None
    what = f"slot {slot}, expert {expert}: {place.here.axes[1]} {at} = x · row {at} of its {name}"
    lines = [f"{what} = {number(value)}: the largest of {x.size} products"]
    return lines + sum_of(products, lambda i: f"x[{i}] {number(x[i])} × w {number(row[i])}")


def weighted(place: Place) -> list[str] | None:
    """Each expert's result times its weight."""
    same, weights = place.input_like(place.here.values.shape), _by_axes(place, ("slot",))
    if len(same) != 1 or weights is None or weights.dtype.kind != "f" or place.here.values.ndim != 2:
        return None
    slot, at = (int(i) for i in np.unravel_index(place.largest, place.here.values.shape))
    result, value = float(same[0][slot, at]), float(place.here.values[slot, at])
    if not close(result * float(weights[slot]), value, abs(value)):
        return None
    return [
        f"slot {slot}, {place.here.axes[1]} {at}: {number(result)} × {float(weights[slot]):.1%} = {number(value)}"
    ]


def total(place: Place) -> list[str] | None:
    """The sum of what the chosen experts say."""
    if len(place.inputs) != 1 or place.weights:
        return None
    (parts,) = (part.values.astype(np.float64) for part in place.inputs.values())
    if parts.ndim != 2 or parts.shape[1:] != place.here.values.shape:
        return None
    at, value = place.largest, float(place.here.values[place.largest])
    if not close(parts[:, at].sum(), value, float(np.abs(parts[:, at]).sum())):
        return None
    terms = " ".join(number(v) for v in parts[:, at])
    return [f"{place.here.place(at)}, over the {len(parts)} chosen experts: {terms} = {number(value)}"]


def _by_axes(place: Place, axes: tuple[str, ...]) -> np.ndarray | None:
    """Return the first input with these axes."""
    return next((part.values for part in place.inputs.values() if part.axes == axes), None)
