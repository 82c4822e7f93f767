"""What the inspector says: a tensor in words and figures, and how one of its values came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refgguf.taps import Tap
from refgguf.trace import Trace, TracedTensor
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.picking import Hit
from refgguf.viz.state import ShownFile

N_BINS = 48
N_EXTREMES = 3


@dataclass(frozen=True)
class Statistics:
    """Figures of a tensor's finite values.

    Attributes:
        minimum: the least.
        maximum: the greatest.
        mean: their mean.
        deviation: their standard deviation.
        zeros: share that is exactly zero.
        n_nan: how many values are NaN.
        n_infinite: how many are infinite.
        lowest: places of the least values, the least first.
        highest: places of the greatest values, the greatest first.
        counts: (N_BINS,) values in equal steps from minimum to maximum.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    zeros: float
    n_nan: int
    n_infinite: int
    lowest: tuple[tuple[int, ...], ...]
    highest: tuple[tuple[int, ...], ...]
    counts: np.ndarray


def statistics(values: np.ndarray) -> Statistics | None:
    """Measure a tensor; None if it holds no finite number."""
    numbers = np.asarray(values, np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return None
    flat = numbers[finite]
    low, high = float(flat.min()), float(flat.max())
    counts, _ = np.histogram(flat, bins=N_BINS, range=(low, high) if high > low else (low - 0.5, low + 0.5))
    return Statistics(
        low,
        high,
        float(flat.mean()),
        float(flat.std()),
        float((flat == 0).mean()),
        int(np.isnan(numbers).sum()),
        int(np.isinf(numbers).sum()),
        _places(np.where(finite, numbers, np.inf)),
        _places(np.where(finite, -numbers, np.inf)),
        counts,
    )


def _places(values: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Return the places of the least values, the least first."""
    flat = values.reshape(-1)
    n = min(N_EXTREMES, flat.size)
    least = np.argpartition(flat, n - 1)[:n]
    least = least[np.lexsort((least, flat[least]))]
    return tuple(tuple(int(i) for i in np.unravel_index(at, values.shape)) for at in least)


def names_of(tap: Tap) -> tuple[tuple[str, str], ...]:
    """Return a tap's names with the vocabulary that each is from."""
    names = [("refgguf", tap.name), ("llama.cpp", tap.llama_cpp), ("TransformerLens", tap.transformer_lens)]
    return tuple((vocabulary, name) for vocabulary, name in names if name)


def shape_words(tensor: TracedTensor) -> str:
    """Return a tensor's shape with its dimension words: "12 token × 8 head × 8 d_head"."""
    return " × ".join(f"{n:,} {axis}" for n, axis in zip(tensor.values.shape, tensor.axes, strict=True))


def place_words(tensor: TracedTensor, index: tuple[int, ...], token_texts: list[str]) -> str:
    """Name a place in a tensor by its dimension words, and tokens by their texts too."""
    words = []
    for axis, at in zip(tensor.axes, index, strict=True):
        text = f" {token_texts[at]!r}" if axis in ("token", "query", "key") and at < len(token_texts) else ""
        words.append(f"{axis} {at}{text}")
    return ", ".join(words)


def hit_words(scene: Scene, hit: Hit) -> str:
    """Say in one line what lies under the cursor: tensor, place, value."""
    box = scene.pieces.boxes[hit.box]
    if isinstance(scene.shown, ShownFile):
        tensor = scene.shown.file[box.plane.tap]
        value = "cannot be decoded" if hit.value is None else f"{hit.value:.6g}"
        place = ", ".join(str(i) for i in hit.index or ())
        return f"{tensor.name}   {' × '.join(f'{n:,}' for n in tensor.shape)}   {tensor.type}   [{place}]   =   {value}"
    tensor = scene.shown.trace.tensor(box.plane.tap)
    if hit.index is None:
        return f"{tensor.name}, {box.title}: not computed, the token went to other experts"
    return f"{tensor.name}   {place_words(tensor, hit.index, scene.shown.trace.token_texts)}   =   {hit.value:.6g}"


def attended(
    tensor: TracedTensor, index: tuple[int, ...], token_texts: list[str], most: int = 6
) -> list[Term]:
    """Return which keys a query takes most from, by the row of the pattern that a place is in.

    Args:
        tensor: an attention pattern (head, query, key); nothing is returned for anything else.
        index: a place in it.
        token_texts: the tokens' texts.
        most: how many keys to name.
    """
    if tensor.axes != ("head", "query", "key"):
        return []
    row = tensor.values[index[0], index[1]]
    best = np.argsort(-row, kind="stable")[:most]
    return [
        Term(token_texts[k] if k < len(token_texts) else f"key {k}", float(row[k]))
        for k in best
        if row[k] > 0
    ]


@dataclass(frozen=True)
class Term:
    """One term of a sum: what it is, and its value."""

    name: str
    value: float


@dataclass(frozen=True)
class Sum:
    """A value as the sum that it is.

    Attributes:
        terms: the terms, the largest magnitude first.
        rest: what the terms beyond those add up to.
        n_terms: how many there are in all.
        total: the sum of all of them.
    """

    terms: tuple[Term, ...]
    rest: float
    n_terms: int
    total: float


def sum_of(
    trace: Trace, name: str, index: tuple[int, ...], weights: Mapping | None = None, most: int = 6
) -> Sum | None:
    """Take a value apart into the terms that it was summed from.

    Matrix products, attention scores' and mixtures' sums, and additions to the residual stream are understood. The
    terms are only returned when they really add up to the value: what is not understood is not explained.

    Args:
        trace: the trace; must hold the inputs.
        name: name of the tensor.
        index: which of its values.
        weights: the file's tensors by name, for matrix products.
        most: how many terms to name.
    """
    tensor = trace.tensor(name)
    value = float(tensor.values[index])
    inputs = [trace.tensor(i) for i in tensor.inputs if i in trace.names]
    if len(inputs) < len(tensor.inputs) or not np.isfinite(value):
        return None
    for way in (_addition, _mixture, _product):
        named = way(tensor, inputs, index, weights or {})
        if named is None:
            continue
        names, terms = named
        if not np.isfinite(terms).all():
            continue
        total = float(terms.sum())
        # float32 rounding of a sum of n terms, in whatever order it was taken
        slack = 4e-7 * (len(terms) + 8) * float(np.abs(terms).max(initial=0.0)) + 1e-6 * abs(value)
        if abs(total - value) <= slack:
            return _sorted(names, terms, most, total)
    return None


def _sorted(names: list[str], terms: np.ndarray, most: int, total: float) -> Sum:
    order = np.argsort(-np.abs(terms), kind="stable")
    kept = tuple(Term(names[i], float(terms[i])) for i in order[:most])
    return Sum(kept, total - sum(t.value for t in kept), len(terms), total)


def _addition(tensor: TracedTensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping):
    if not inputs or tensor.weights or any(i.values.shape != tensor.values.shape for i in inputs):
        return None
    return [i.name for i in inputs], np.array([float(i.values[index]) for i in inputs])


def _mixture(tensor: TracedTensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping):
    """Values mixed by an attention pattern: the sum over keys of probability times value."""
    pattern = next((i for i in inputs if i.axes == ("head", "query", "key")), None)
    value = next((i for i in inputs if i.axes[:1] == ("token",) and len(i.axes) == 3), None)
    if pattern is None or value is None or tensor.axes[:2] != ("token", "head"):
        return None
    token, head, channel = index
    n_heads, n_values = pattern.values.shape[0], value.values.shape[1]
    if value.values.shape[0] != pattern.values.shape[2] or n_heads % n_values:
        return None
    column = value.values[:, head * n_values // n_heads, channel].astype(np.float64)
    terms = pattern.values[head, token].astype(np.float64) * column
    return [f"key {k}: probability × value" for k in range(len(terms))], terms


def _product(tensor: TracedTensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping):
    """One row of a matrix times one token's vector, plus the bias."""
    matrices = [weights[w] for w in tensor.weights if w in weights and len(weights[w].shape) == 2]
    if len(inputs) != 1 or len(matrices) != 1 or tensor.axes[:1] != ("token",):
        return None
    x = inputs[0].values[index[0]].reshape(-1).astype(np.float64)
    matrix = matrices[0]
    row = int(np.ravel_multi_index(index[1:], tensor.values.shape[1:]))
    if matrix.shape[1] != len(x) or row >= matrix.shape[0]:
        return None
    terms = matrix.dequantize(row).reshape(-1).astype(np.float64) * x
    names = [f"input {i} × weight" for i in range(len(x))]
    biases = [weights[w] for w in tensor.weights if w in weights and len(weights[w].shape) == 1]
    for bias in biases:
        if bias.shape[0] == matrix.shape[0]:
            terms = np.append(terms, float(bias.dequantize().reshape(-1)[row]))
            names.append("bias")
    return names, terms
