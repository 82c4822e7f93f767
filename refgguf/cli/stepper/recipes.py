"""Worked examples of tables, matrices, norms and the residual stream.

A recipe recomputes a value of the trace from the tap's inputs and weights, and returns the lines that
show it; or None when the operation is not of its sort, or the result does not agree.
"""

from __future__ import annotations

import numpy as np

from refgguf.cli.stepper.example import Place, close, sum_of
from refgguf.cli.stepper.glyphs import number, quoted


def table_row(place: Place) -> list[str] | None:
    """Embedding: the token's row of the table."""
    if place.inputs or place.tensor.inputs or len(place.weights) != 1:
        return None
    ((name, table),) = place.weights.items()
    row = int(place.walk.text.ids[place.walk.token])
    which = f"token {row} is {quoted(place.walk.label())}"
    if name.startswith("position"):
        row = int(place.walk.trace.positions[place.walk.token])
        which = f"the token stands at position {row}"
    if not 0 <= row < table.shape[0]:
        return None  # a table of something else, such as segments
    values = table.dequantize(rows=row).reshape(-1)
    if values.shape != place.here.values.shape or not np.allclose(values, place.here.values, rtol=1e-5):
        return None
    shown = " ".join(number(v) for v in values[:6])
    return [
        f"{which}: row {row} of {name} ({table.shape[0]} rows of {table.d_in}, {table.type})",
        f"{shown} …",
    ]


def matrix(place: Place) -> list[str] | None:
    """Linear layer: a value is the sum of the inputs times one row of the matrix."""
    matrices = [
        (name, w) for name, w in place.weights.items() if name.endswith(".weight") and len(w.shape) == 2
    ]
    if len(matrices) != 1 or not place.inputs:
        return None
    name, weight = matrices[0]
    x = next(iter(place.inputs.values())).values.reshape(-1).astype(np.float64)
    if weight.shape != (place.here.values.size, x.size):
        return None
    at = place.largest
    row = weight.dequantize(rows=at).reshape(-1).astype(np.float64)
    products = x * row
    bias = place.weights.get(name.removesuffix("weight") + "bias")
    added = float(bias.dequantize().reshape(-1)[at]) if bias is not None else 0.0
    value = float(place.here.values.reshape(-1)[at])
    if not close(products.sum() + added, value, np.abs(products).sum() + abs(added)):
        return None
    what = place.here.place(at)
    if place.here.axes == ("vocab",):
        what += f" {quoted(place.walk.model.token_text(at))}"
    lines = [f"{what} = x · row {at} of {name} = {number(value)}: the largest of {x.size} products"]
    lines += sum_of(products, lambda i: f"x[{i}] {number(x[i])} × w {number(row[i])}")
    return lines + ([f"bias {number(added)}"] if bias is not None else [])


def norm(place: Place) -> list[str] | None:
    """RMSNorm or LayerNorm: divided by the size of the vector, times the weight."""
    same = place.input_like(place.here.values.shape)
    weight = next(
        (w for name, w in place.weights.items() if name.endswith(".weight") and len(w.shape) == 1), None
    )
    if len(same) != 1 or (weight is None and place.tensor.kind != "norm"):
        return None
    at = np.unravel_index(place.largest, place.here.values.shape)
    x = same[0][at[:-1]].astype(np.float64)  # the norm runs over the last axis
    w = weight.dequantize().astype(np.float64) if weight is not None else np.ones(x.size)
    if w.size != x.size:
        return None
    i, value = int(at[-1]), float(place.here.values[at])
    what = place.here.place(place.largest)
    rms = float(np.sqrt((x * x).mean()))
    if rms and close(x[i] / rms * w[i], value, abs(value)):
        return [
            f"√(mean(x²)) = {number(rms).lstrip('+')} over {x.size} values",
            f"{what}: {number(x[i])} / {number(rms).lstrip('+')} × weight {number(w[i])} = {number(value)}",
        ]
    bias = next((b for name, b in place.weights.items() if name.endswith(".bias")), None)
    b = float(bias.dequantize().reshape(-1)[i]) if bias is not None else 0.0
    mean, deviation = float(x.mean()), float(x.std())
    if deviation and close((x[i] - mean) / deviation * w[i] + b, value, abs(value) + abs(b)):
        return [
            f"mean(x) = {number(mean)}, √var(x) = {number(deviation).lstrip('+')} over {x.size} values",
            f"{what}: ({number(x[i])} − {number(mean)}) / {number(deviation).lstrip('+')}"
            f" × weight {number(w[i])} + bias {number(b)} = {number(value)}",
        ]
    return None


def addition(place: Place) -> list[str] | None:
    """Residual stream: what was there plus what the block adds."""
    same = place.input_like(place.here.values.shape)
    if len(same) != 2 or place.weights:
        return None
    old, new = (part.astype(np.float64).reshape(-1) for part in same)
    value = place.here.values.reshape(-1)
    if not np.allclose(old + new, value, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(value).max()))):
        return None
    at = int(np.abs(new).argmax())
    share = float(np.linalg.norm(new) / max(float(np.linalg.norm(old)), 1e-30))
    terms = f"{number(old[at])} + {number(new[at])} = {number(value[at])}"
    return [
        f"where most is added, {place.here.place(at)}: {terms}",
        f"the addition is {share:.0%} as long as what it is added to",
    ]


def unchanged(place: Place) -> list[str] | None:
    """What one layer left is what the next one finds."""
    same = place.input_like(place.here.values.shape)
    if len(place.inputs) != 1 or not same or place.weights or not np.array_equal(same[0], place.here.values):
        return None
    return ["the same numbers: nothing is computed here"]


def scaled(place: Place) -> list[str] | None:
    """Every value times the same number."""
    same = place.input_like(place.here.values.shape)
    if len(place.inputs) != 1 or not same or place.weights:
        return None
    x, y = same[0].reshape(-1).astype(np.float64), place.here.values.reshape(-1).astype(np.float64)
    at = place.largest
    factor = y[at] / x[at] if x[at] else 0.0
    if not factor or not np.allclose(x * factor, y, rtol=1e-4, atol=1e-6 * abs(y[at])):
        return None
    return [f"every value times {factor:.5g}: {number(x[at])} × {factor:.5g} = {number(y[at])}"]


def part(place: Place) -> list[str] | None:
    """Some columns of a wider result."""
    if len(place.inputs) != 1 or place.weights:
        return None
    ((name, whole),) = place.inputs.items()
    wide, mine = whole.values.reshape(-1), place.here.values.reshape(-1)
    for start in range(0, wide.size - mine.size + 1):
        if wide[start] == mine[0] and np.array_equal(wide[start : start + mine.size], mine):
            return [f"columns {start} … {start + mine.size - 1} of the {wide.size} of {name}, nothing else"]
    return None
