"""One value worked out by hand, where it is no sum: what its inputs are made into, by whichever way ends at it.

What is worked out is only shown if it ends at the value that the trace holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.arithmetic import Index, agrees, alike, place_in_row, plus
from refgguf.viz.copies import copied
from refgguf.viz.expressions import function
from refgguf.viz.formulas import formula
from refgguf.viz.norms import norm
from refgguf.viz.recurrences import state
from refgguf.viz.routing import weight
from refgguf.viz.scene.overlay import number
from refgguf.viz.time_mixing import time_mixed

GATE = re.compile(r"(?P<name>\w+)\(\w+\)(?P<times> · \w+)?")
GATED = re.compile(r"\w+ · (?P<name>\w+)\(\w+\)")


def worked_out(trace: Trace, name: str, index: Index, weights: Mapping | None = None) -> list[str]:
    """Work a value out from what it was computed from.

    Args:
        trace: the trace; must hold the inputs.
        name: name of the tensor.
        index: which of its values.
        weights: the file's tensors by name, for what norms multiply by.

    Returns:
        Lines of arithmetic; none where the operation is not understood or does not end at the value.
    """
    tensor = trace.tensor(name)
    inputs = [trace.tensor(i) for i in tensor.inputs if i in trace.names]
    if len(inputs) < len(tensor.inputs) or not inputs or not np.isfinite(tensor.values[index]):
        return []
    known = [weights[w] for w in tensor.weights if w in (weights or {})]
    with np.errstate(all="ignore"):  # what is not finite agrees with nothing
        return next((lines for way in WAYS if (lines := way(tensor, inputs, index, known))), [])


def _softmax(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    if "softmax" not in tensor.formula or len(inputs) != 1 or not alike(tensor, inputs):
        return []
    shares = tensor.values[index[:-1]]
    seen = shares > 0  # masked keys take no part
    if not seen[index[-1]]:
        return ["masked: this one is not looked at"] if tensor.axes[0] == "head" else []
    scores = inputs[0].values[index[:-1]].astype(np.float64)
    rest = [w.dequantize().reshape(-1) for w in weights]
    sinks = [float(w[index[0]]) for w in rest if w.size == tensor.values.shape[0]]
    top = max(float(scores[seen].max()), *sinks) if sinks else float(scores[seen].max())
    total = float(np.exp(scores[seen] - top).sum() + sum(np.exp(s - top) for s in sinks))
    score = float(scores[index[-1]])
    own = float(np.exp(score - top))
    if not agrees(own / total, tensor, index):
        return []
    sink = f", the sink's e^({number(sinks[0])} {plus(-top)}) among them" if sinks else ""
    return [
        f"e^(score − highest) = e^({number(score)} {plus(-top)}) = {number(own)}",
        f"of {number(total)}, the sum of {int(seen.sum()) + len(sinks)} such{sink}",
        f"{number(own)} / {number(total)} = {number(own / total)}",
    ]


def _activation(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """An activation function of one input, times the other if there are two."""
    values = alike(tensor, inputs)
    first, last = GATE.fullmatch(tensor.formula), GATED.fullmatch(tensor.formula)
    match = first or last
    if match is None or weights or not values or len(values) > 2:
        return []
    gate, *others = values if first else values[::-1]
    bend = function(match["name"])
    if bend is None or bool(others) != (first is None or bool(first["times"])):
        return []
    x, y = float(gate[index]), float(others[0][index]) if others else 1.0
    try:
        passed = bend(x)
    except TypeError:  # one with learned constants, which only its block knows
        return []
    if not agrees(passed * y, tensor, index):
        return []
    lines = [f"{match['name']}({number(x)}) = {number(passed)}"]
    return [*lines, f"{number(passed)} × {number(y)} = {number(passed * y)}"] if others else lines


def _product(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """Two inputs multiplied, or one by the same factor everywhere."""
    values = alike(tensor, inputs)
    if weights or not values or len(values) > 2 or " · " not in tensor.formula or "(" in tensor.formula:
        return []
    x = float(values[0][index])
    if len(values) == 2:
        y = float(values[1][index])
        return [f"{number(x)} × {number(y)} = {number(x * y)}"] if agrees(x * y, tensor, index) else []
    factor = float(tensor.values[index]) / x if x else 0.0
    if not factor or not np.allclose(values[0] * factor, tensor.values, rtol=1e-4):
        return []
    return [f"{number(x)} × {factor:.5g} = {number(x * factor)}, as everywhere"]


def _turned(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """RoPE: with another channel, a pair that was turned by an angle."""
    values = alike(tensor, inputs)
    if len(values) != 1 or not tensor.name.endswith("_rope") or tensor.values.ndim < 2:
        return []
    i, n = index[-1], tensor.values.shape[-1]
    rows = (slice(None), *index[1:-1])
    before, after = (v[rows].astype(np.float64) for v in (values[0], tensor.values))
    if np.array_equal(before[:, i], after[:, i]):
        return ["not turned, at any position: only the first channels are" if i else "not turned"]
    near = (i ^ 1, i + n // 2, i - n // 2)
    for j in dict.fromkeys(j for j in (*near, *range(n)) if 0 <= j < n and j != i):
        lengths = [np.hypot(v[:, i], v[:, j]) for v in (before, after)]
        if not np.allclose(*lengths, rtol=1e-4, atol=1e-6 * float(lengths[0].max())):
            continue
        a, b = sorted((i, j))
        (x, y), (u, v) = before[index[0], [a, b]], after[index[0], [a, b]]
        angle = float(np.angle(complex(u, v) / complex(x, y))) if abs(complex(x, y)) else 0.0
        c, s = float(np.cos(angle)), float(np.sin(angle))
        got = x * c - y * s if i == a else x * s + y * c
        if not agrees(got, tensor, index, abs(complex(x, y))):
            continue
        way = (
            f"{number(x)} · cos θ {plus(-y)} · sin θ" if i == a else f"{number(x)} · sin θ {plus(y)} · cos θ"
        )
        turn = number(round(float(np.degrees(angle)), 1) + 0.0)
        return [
            f"with channel {j} a pair ({number(x)}, {number(y)}), turned by θ = {turn}°",
            f"{way} = {number(got)}",
        ]
    return []


def _shifted(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """An input plus a vector that is the same for every token."""
    values = alike(tensor, inputs)
    if len(values) != 1 or len(weights) != 1 or " + " not in tensor.formula:
        return []
    added = weights[0].dequantize().reshape(-1)
    if added.size != int(np.prod(tensor.values.shape[1:])):
        return []
    x, b = float(values[0][index]), float(added[place_in_row(tensor, index)])
    return [f"{number(x)} {plus(b)} = {number(x + b)}"] if agrees(x + b, tensor, index) else []


WAYS = (_softmax, weight, _activation, _product, norm, _turned, _shifted, state, formula, time_mixed, copied)
