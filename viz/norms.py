"""Norms by hand: RMSNorm, LayerNorm and vectors of length 1, over a row, a head, a group or the first channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from refgguf.trace import TracedTensor
from refgguf.viz.arithmetic import AGREES, Index, place_in_row, plus
from refgguf.viz.scene.overlay import number

EPSILONS = (0.0, 1e-12, 1e-8, 1e-6, 1e-5, 64e-5, 1e-3)  # below roots
FIRST = re.compile(r"first (?P<n>\d+) channels: ")


def norm(tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence) -> list[str]:
    """Work out a normed value; nothing where the arithmetic does not end at it, and at those normed with it."""
    rooted = "√" in tensor.formula and "ε" in tensor.formula
    if not rooted or len(inputs) != 1 or len(weights) > 2 or len(inputs[0].values) != len(tensor.values):
        return []
    flat = [w.dequantize().reshape(-1).astype(np.float64) for w in weights]
    for x, span, at in _spans(tensor, inputs[0], index, [w.shape[-1] for w in weights]):
        factors = [_factors(w, tensor, index, span) for w in flat]
        for epsilon in EPSILONS if all(f.size for f in factors) else ():
            lines = _told(tensor, index, (x, span, at), factors, epsilon)
            if lines:
                return lines
    return []


Span = tuple[np.ndarray, slice, int]  # what is normed together, where in the token's row, and the place in it


def _spans(tensor: TracedTensor, source: TracedTensor, index: Index, widths: Sequence[int]) -> Iterator[Span]:
    """Return the vectors that may be normed together, and where in them the value stands."""
    row, place = source.values[index[0]].reshape(-1).astype(np.float64), place_in_row(tensor, index)
    if match := FIRST.match(tensor.formula):
        row = row[: int(match["n"])]
    if row.size != np.prod(tensor.values.shape[1:]):
        return
    for width in dict.fromkeys([tensor.values.shape[-1], source.values.shape[-1], *widths, len(row)]):
        if width > 1 and len(row) % width == 0:
            start = place - place % width
            span = slice(start, start + width)
            yield row[span], span, place - start


def _factors(weight: np.ndarray, tensor: TracedTensor, index: Index, span: slice) -> np.ndarray:
    """Return the numbers of a weight for all values of a span; none where the weight has another size."""
    width = span.stop - span.start
    if weight.size == np.prod(tensor.values.shape[1:]):
        return weight[span]
    if weight.size == width:
        return weight
    of_heads = tensor.values.ndim > 2 and weight.size == tensor.values.shape[1]
    return np.full(width, weight[index[1]]) if of_heads else np.empty(0)


def _told(
    tensor: TracedTensor, index: Index, place: Span, factors: Sequence[np.ndarray], epsilon: float
) -> list[str]:
    """Work a value out with one ε; nothing where that does not end at it and at the other values of the span."""
    x, span, at = place
    centred, long = "mean" in tensor.formula.replace("mean(x²)", ""), "Σ x²" in tensor.formula
    mean, own = float(x.mean()), float(x[at])
    inner = float(x.var()) if centred else float((x * x).sum() if long else (x * x).mean())
    root = float(np.sqrt(inner + epsilon))
    if not root:
        return []
    all_w, all_b = [*factors, np.ones(1)][0], [*factors[1:], np.zeros(1)][0]
    got = (x - mean * centred) / root * all_w + all_b
    values = tensor.values[index[0]].reshape(-1)[span]
    size = np.maximum(np.abs(values), 1e-3 * max(float(np.abs(all_b).max()), float(np.abs(values).max())))
    if not (np.abs(got - values) <= AGREES * size).all():
        return []
    what = "√(var(x) + ε)" if centred else "√(Σ x² + ε)" if long else "√(mean(x²) + ε)"
    also = f", mean(x) = {number(mean)}" if centred else ""
    top = f"({number(own)} {plus(-mean)})" if centred else number(own)
    scaled = f" × {number(factors[0][at])}" if factors else ""
    added = f" {plus(factors[1][at])}" if len(factors) > 1 else ""
    return [
        f"{what} = {number(root)}{also} over {x.size:,} values",
        f"{top} / {number(root)}{scaled}{added} = {number(got[at])}",
    ]
