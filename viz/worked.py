"""One value worked out by hand, where it is no sum: softmax, norm, rotation, activation, columns of something wider.

What is worked out is only shown if it ends at the value that the trace holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.arithmetic import Index, agrees, alike, place_in_row, plus
from refgguf.viz.recurrences import state
from refgguf.viz.routing import weight
from refgguf.viz.scene.overlay import number

EPSILONS = (0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1e-3)  # below roots of norms
GATE = re.compile(r"(?P<name>\w+)\(\w+\)(?P<times> · \w+)?")
GATED = re.compile(r"\w+ · (?P<name>\w+)\(\w+\)")
PLAIN: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda x: float(1 / (1 + np.exp(-x))),
    "σ": lambda x: float(1 / (1 + np.exp(-x))),
    "softplus": lambda x: float(np.logaddexp(0.0, x)),
    "tanh": lambda x: float(np.tanh(x)),
    "exp": lambda x: float(np.exp(x)),
}


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
    for way in WAYS:
        lines = way(tensor, inputs, index, known)
        if lines:
            return lines
    return []


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


def _function(name: str) -> Callable[[float], float] | None:
    if name in PLAIN:
        return PLAIN[name]
    from refgguf.kernels.ops.activation import ACTIVATIONS  # brings numba along

    found = ACTIVATIONS.get(name)
    return None if found is None else lambda x: float(found(np.array([x], np.float32))[0])


def _activation(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """An activation function of one input, times the other if there are two."""
    values = alike(tensor, inputs)
    first, last = GATE.fullmatch(tensor.formula), GATED.fullmatch(tensor.formula)
    match = first or last
    if match is None or weights or not values or len(values) > 2:
        return []
    gate, *others = values if first else values[::-1]
    function = _function(match["name"])
    if function is None or bool(others) != (first is None or bool(first["times"])):
        return []
    x, y = float(gate[index]), float(others[0][index]) if others else 1.0
    try:
        passed = function(x)
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


def _norm(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """RMSNorm or LayerNorm over the last axis, times the weight, plus the bias."""
    values = alike(tensor, inputs)
    if len(values) != 1 or "√" not in tensor.formula or "ε" not in tensor.formula:
        return []
    x = values[0][index[:-1]].astype(np.float64)
    flat = [w.dequantize().reshape(-1) for w in weights]
    at = {x.size: index[-1], int(np.prod(tensor.values.shape[1:])): place_in_row(tensor, index)}
    if any(w.size not in at for w in flat) or len(flat) > 2:
        return []
    w, b = ([float(f[at[f.size]]) for f in flat] + [1.0, 0.0][len(flat) :])[:2]
    scaled, added = (f" × {number(w)}" * (len(flat) > 0), f" {plus(b)}" * (len(flat) > 1))
    mean, spread, size = float(x.mean()), float(x.var()), float((x * x).mean())
    own = float(x[index[-1]])
    centred = "mean(x)" in tensor.formula
    for epsilon in EPSILONS:
        root = float(np.sqrt((spread if centred else size) + epsilon))
        got = (own - mean * centred) / root * w + b if root else np.nan
        if agrees(got, tensor, index, abs(b)):
            what = (
                f"√(var(x) + ε) = {number(root)}, mean(x) = {number(mean)}"
                if centred
                else f"√(mean(x²) + ε) = {number(root)}"
            )
            top = f"({number(own)} {plus(-mean)})" if centred else number(own)
            return [
                f"{what} over {x.size:,} values",
                f"{top} / {number(root)}{scaled}{added} = {number(got)}",
            ]
    return []


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


def _columns(tensor: TracedTensor, inputs, index: Index, weights) -> list[str]:
    """Some neighbouring columns of something wider, as they are."""
    if len(inputs) != 1 or weights or inputs[0].values.shape[0] != tensor.values.shape[0]:
        return []
    wide, mine = (v.reshape(len(v), -1) for v in (inputs[0].values, tensor.values))
    for start in np.flatnonzero(wide[index[0]] == mine[index[0], 0]):
        if np.array_equal(wide[:, start : start + mine.shape[1]], mine):
            return [f"column {int(start) + place_in_row(tensor, index):,} of {inputs[0].name}, as it is"]
    return []


WAYS = (_softmax, weight, _activation, _product, _norm, _turned, _shifted, state, _columns)
