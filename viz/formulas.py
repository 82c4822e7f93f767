"""Values that a formula makes of the numbers at one place: gates, bends, bounds, decays, mixtures of two tokens.

The formula that a tap states is read as it stands, and what it names is taken from the tap's inputs and weights; a
matrix product within it counts as one number.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from refgguf.tensor import Tensor
from refgguf.trace import TracedTensor
from refgguf.viz.arithmetic import Index, agrees, place_in_row
from refgguf.viz.expressions import Node, expression, steps
from refgguf.viz.scene.overlay import number

NUMBER = re.compile(r"(?<![\w₀-₉])-?\d+(?:\.\d+)?(?:e-?\d+)?")
PRODUCT = re.compile(r"(?P<x>\w+) · (?P<w>W\w*ᵀ)")
SPLIT = re.compile(r", (k as v )?split into heads")
BOUND = re.compile(r"(?P<gate>.*) · up cut to ±(?P<limit>[\d.]+)")
CUT = re.compile(r"(?P<x>.*), cut to ±(?P<limit>[\d.]+)")
CLAMPED = re.compile(
    r"g · σ\((?P<slope>[\d.]+) g\) · \(cut\(up\) \+ 1\); g = min\(gate, (?P<limit>[\d.]+)\), cut to ±.*"
)
MOST_PARTS = 6  # tensors that share one weight
# expression, with # for its numbers and P for the product with a matrix → what its inputs and its weights are called
NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # gated units
    "silu(min(gate, #)) · cut(up, #)": (("gate", "up"), ()),
    "gelu(min(gate, #)) · cut(up, #)": (("gate", "up"), ()),
    "min(silu(gate), #) · cut(up, #)": (("gate", "up"), ()),
    "min(gate, #) · σ(# · min(gate, #)) · (cut(up, #) + #)": (("gate", "up"), ()),
    "# · tanh(gate / #) · σ(gate) · # · tanh(up / #)": (("gate", "up"), ()),
    "# · tanh(gate / #) · σ(gate) · up": (("gate", "up"), ()),
    "act / scales": (("act",), ("scales",)),
    # state-space models and delta networks
    "silu(conv)": (("conv",), ()),
    "Δ + b": (("Δ",), ("b",)),
    "y + D · x": (("y", "x"), ("D",)),
    "softplus(α + b)": (("α",), ("b",)),
    "α · A": (("α",), ("A",)),
    "A · softplus(f)": (("f",), ("A",)),
    "# · σ(A · f)": (("f",), ("A",)),
    "# · σ(−A · f)": (("f",), ("A",)),
    # RWKV
    "x + sx · λ": (("x", "sx"), ("λ",)),
    "x + sx · (P + λ)": (("x", "sx", "P"), ("λ",)),
    "tanh(P)": (("P",), ()),
    "σ(P)": (("P",), ()),
    "σ(a₀ + P)": (("P",), ("a₀",)),
    "σ(v₀ + P)": (("P",), ("v₀",)),
    "exp(−exp(w₀ + P))": (("P",), ("w₀",)),
    "exp(−# · σ(w₀ + P))": (("P",), ("w₀",)),
    "k · (# + (a − #) · α)": (("k", "a"), ("α",)),
    "v + (v0 − v) · share": (("v", "share", "v0"), ()),
    "(y + bonus) · g": (("y", "bonus", "g"), ()),
    "relu(k)²": (("k",), ()),
    # streams and scores
    "# + P": (("P",), ()),
    "σ(a · m + b) + #": (("m",), ("a", "b")),
    "# · σ(a · m + b)": (("m",), ("a", "b")),
    "# · σ(a · m + b) + #": (("m",), ("a", "b")),
    "# · σ(x / #)": (("x",), ()),
    "x · scale": (("x",), ("scale",)),
    "# · tanh(raw / #)": (("raw",), ()),
    "cut(P, #)": (("P",), ()),
}


def plain(formula: str) -> str:
    """Return a tap's formula as an expression: bounds as functions, the first layer's values as v0."""
    text = SPLIT.sub("", formula.replace("the first layer's v", "v0").replace("the Δ columns of ssm_in", "Δ"))
    if match := CLAMPED.fullmatch(text):
        gate, limit = f"min(gate, {match['limit']})", match["limit"]
        return f"{gate} · σ({match['slope']} · {gate}) · (cut(up, {limit}) + 1)"
    if match := BOUND.fullmatch(text):
        return f"{match['gate']} · cut(up, {match['limit']})"
    match = CUT.fullmatch(text)
    return f"cut({match['x']}, {match['limit']})" if match else text


def formula(
    tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights: Sequence
) -> list[str]:
    """Work a value out by its formula; nothing where that is none of NAMES, or does not end at the value."""
    text = plain(tensor.formula)
    product = PRODUCT.search(text)
    text = PRODUCT.sub("P", text)
    names = NAMES.get(NUMBER.sub("#", text))
    if names is None or len(inputs) != len(names[0]) or any(w is None for w in weights):
        return []
    matrices = [w for w in weights if product and len(w.shape) > 1 and w.shape[-2] > 1 and w.shape[-1] > 1]
    vectors = [w for w in weights if w not in matrices]
    if len(matrices) != bool(product) or len(vectors) != len(names[1]):
        return []
    for part in range(MOST_PARTS):
        given = [
            _product(x, matrices[0], tensor, index, part)
            if name == "P"
            else _of_input(x, tensor, index, part)
            for name, x in zip(names[0], inputs, strict=True)
        ] + [_of_weight(w, tensor, index, part) for w in vectors]
        for numbers in itertools.product(*given):
            known = dict(zip([*names[0], *names[1]], numbers, strict=True))
            whole = steps(expression(text, known))
            if agrees(whole[-1].value, tensor, index, _added(whole[-2])):
                lines = _lines([node.text for node in whole])
                if not product:
                    return lines
                made = f"{product[0]} = {number(known['P'])}, the sum of {matrices[0].shape[-1]:,} products"
                return [made, *lines]
    return []


def _added(last: Node) -> float:
    """Return the size of what the last step adds up; 0 where it does something else."""
    return max(abs(part.value) for part in last.parts) if last.kind == "sum" else 0.0


def _lines(texts: Sequence[str]) -> list[str]:
    """Write steps below each other, those that say the same once; the last two on one line."""
    texts = list(dict.fromkeys(texts))
    lines = [*texts[:-2], " = ".join(texts[-2:])]
    return [lines[0], *(f"= {line}" for line in lines[1:])]


def _of_input(x: TracedTensor, tensor: TracedTensor, index: Index, part: int) -> list[float]:
    """Return the number of an input at the place, or in one of its parts that are as wide as the tensor."""
    rows = x.values.reshape(len(x.values), -1)
    place, width = place_in_row(tensor, index), int(np.prod(tensor.values.shape[1:]))
    if len(rows) != len(tensor.values) or rows.shape[1] < width:
        return []
    last = rows.shape[1] - width  # the last columns of something wider
    offsets = (part * width,) if part and last else dict.fromkeys((0, last))
    return [float(rows[index[0], offset + place]) for offset in offsets if offset <= last]


def _of_weight(weight: Tensor, tensor: TracedTensor, index: Index, part: int) -> list[float]:
    """Return the numbers of a weight that may belong to the place: one a value, a channel, a head, or one for all."""
    flat = weight.dequantize().reshape(-1)
    width = int(np.prod(tensor.values.shape[1:]))
    if flat.size > width:
        return [float(v) for v in flat[part * width + place_in_row(tensor, index) :][:1]]
    fitting = {
        width: place_in_row(tensor, index),
        tensor.values.shape[-1]: index[-1],
        tensor.values.shape[1]: index[1],
    }
    places = [fitting[flat.size]] if flat.size in fitting else []
    return [float(flat[p]) for p in places] or [float(v) for v in flat[part : part + 1]]


def _product(x: TracedTensor, matrix: Tensor, tensor: TracedTensor, index: Index, part: int) -> list[float]:
    """Return one row of a matrix, or of one of several, times a token's vector or that part of it."""
    width, row = matrix.shape[-1], place_in_row(tensor, index)
    vector = x.values[index[0]].reshape(-1)[part * width :][:width].astype(np.float64)
    rows = matrix.n_rows if len(matrix.shape) == 2 else matrix.shape[-2]
    row += part * rows
    if len(vector) != width or row >= matrix.n_rows or (part and len(matrix.shape) == 2):
        return []
    return [float(vector @ matrix.dequantize(row).reshape(-1).astype(np.float64))]
