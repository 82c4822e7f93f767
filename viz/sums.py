"""How one value came about: the terms it was summed from, or the values it was computed from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.recurrences import read_terms
from refgguf.viz.stream_steps import case_from, factors_of, is_vector

Named = tuple[list[str], np.ndarray]
TEXTS = ("token", "source")  # dimensions along which a text runs


@dataclass(frozen=True)
class Term:
    """One term of a sum, or one thing a value was computed from: what it is, and its value."""

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
        groups: the same sum by head, the largest first; empty where heads do not come into it.
    """

    terms: tuple[Term, ...]
    rest: float
    n_terms: int
    total: float
    groups: tuple[Term, ...] = ()


def sum_of(
    trace: Trace,
    name: str,
    index: tuple[int, ...],
    weights: Mapping | None = None,
    most: int = 6,
    source_texts: Sequence[str] = (),
) -> Sum | None:
    """Take a value apart into the terms that it was summed from.

    Matrix products, experts' too, attention scores, mixtures, sums over experts, additions to the residual stream and
    steps of several streams are understood. The terms are only returned when they really add up to the value: what is
    not understood is not explained.

    Args:
        trace: the trace; must hold the inputs.
        name: name of the tensor.
        index: which of its values.
        weights: the file's tensors by name, for matrix products.
        most: how many terms to name.
        source_texts: texts of the tokens that an encoder has read; none where there is one text.
    """
    tensor = trace.tensor(name)
    value = float(tensor.values[index])
    inputs = [trace.tensor(i) for i in tensor.inputs if i in trace.names]
    if len(inputs) < len(tensor.inputs) or not np.isfinite(value):
        return None
    for way in WAYS:
        with np.errstate(all="ignore"):  # what is not finite is refused below
            named = way(tensor, inputs, index, weights or {})
            total = float(named[1].sum()) if named else np.nan
        if named is None:
            continue
        names, terms = named
        if way is _mixture:
            names = _of_texts(names, source_texts if _reads_source(inputs) else trace.token_texts)
        if not np.isfinite(total):  # nor is one of the terms then
            continue
        # float32 rounding of a sum of n terms, in whatever order it was taken
        slack = 4e-7 * (len(terms) + 8) * float(np.abs(terms).max(initial=0.0)) + 1e-6 * abs(value)
        if abs(total - value) <= slack:
            groups = _by_head(inputs, terms) if way is _product else ()
            return _sorted(names, terms, most, total, groups)
    return None


def ingredients_of(
    trace: Trace, name: str, index: tuple[int, ...], weights: Mapping | None = None
) -> list[Term]:
    """Return what an operation that works value by value computes from: what stands at the same place in its inputs.

    Args:
        trace: the trace.
        name: name of the tensor.
        index: which of its values.
        weights: the file's tensors by name.
    """
    tensor = trace.tensor(name)
    found = []
    for source in tensor.inputs:
        if source in trace.names and trace[source].shape == tensor.values.shape:
            found.append(Term(source, float(trace[source][index])))
    for source in tensor.weights:
        weight = (weights or {}).get(source)
        if weight is not None and not tensor.inputs and len(weight.shape) == 2 and tensor.axes[0] in TEXTS:
            ids = trace.tokens if tensor.axes[0] == "token" else trace.model.get("source") or ()
            row = int(ids[index[0]]) if index[0] < len(ids) else weight.shape[0]  # looked up, not computed
            if row < weight.shape[0] and weight.shape[1:] == tensor.values.shape[1:]:
                value = weight.dequantize(row).reshape(-1)[index[-1]]
                found.append(Term(f"{source}[{row}, {index[-1]}]", float(value)))
        if weight is not None and weight.shape == tensor.values.shape[-1:]:
            found.append(Term(f"{source}[{index[-1]}]", float(weight.dequantize().reshape(-1)[index[-1]])))
    return found


def is_pattern(tensor: TracedTensor) -> bool:
    """Tell whether a tensor says what each query takes from each key: (head, query, key), within a text or across."""
    axes = tensor.axes
    return (
        len(axes) == 3
        and axes[0] == "head"
        and axes[1] in ("query", "source")
        and axes[2] in ("key", "source")
    )


def _reads_source(inputs: Sequence[TracedTensor]) -> bool:
    """Tell whether what is attended to is the text that an encoder has read."""
    return any(is_pattern(i) and i.axes[2] == "source" for i in inputs)


def _of_texts(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Put the text of each key behind its number, where names begin with "key 3:"."""
    if len(names) != len(texts):
        return list(names)
    return [name.replace(":", f" {text!r}:", 1) for name, text in zip(names, texts, strict=True)]


def attended(
    tensor: TracedTensor,
    index: tuple[int, ...],
    token_texts: Sequence[str],
    source_texts: Sequence[str] = (),
    most: int = 6,
) -> list[Term]:
    """Return which keys a query takes most from, by the row of the pattern that a place is in.

    Args:
        tensor: an attention pattern (head, query, key); nothing is returned for anything else.
        index: a place in it.
        token_texts: the tokens' texts.
        source_texts: texts of those that an encoder has read.
        most: how many keys to name.
    """
    if not is_pattern(tensor) or "scores" in tensor.name:
        return []
    token_texts = source_texts if tensor.axes[2] == "source" else token_texts
    row = tensor.values[index[0], index[1]]
    best = np.argsort(-row, kind="stable")[:most]
    return [
        Term(token_texts[k] if k < len(token_texts) else f"key {k}", float(row[k]))
        for k in best
        if row[k] > 0
    ]


def _sorted(names: list[str], terms: np.ndarray, most: int, total: float, groups: Sequence[Term]) -> Sum:
    order = np.argsort(-np.abs(terms), kind="stable")
    kept = tuple(Term(names[i], float(terms[i])) for i in order[:most])
    return Sum(kept, total - sum(t.value for t in kept), len(terms), total, tuple(groups))


def _by_head(inputs: list[TracedTensor], terms: np.ndarray) -> list[Term]:
    """Sum the terms of each head, where the input lays heads side by side."""
    if inputs[0].axes[0] not in TEXTS or inputs[0].axes[1] != "head" or inputs[0].values.ndim != 3:
        return []
    n_heads, width = inputs[0].values.shape[1:]
    sums = terms[: n_heads * width].reshape(n_heads, width).sum(axis=1)
    return [Term(f"head {h}", float(sums[h])) for h in np.argsort(-np.abs(sums), kind="stable")]


def _addition(tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping) -> Named | None:
    if len(inputs) < 2 or tensor.weights or any(i.values.shape != tensor.values.shape for i in inputs):
        return None
    return [i.name for i in inputs], np.array([float(i.values[index]) for i in inputs])


def _mixture(tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping) -> Named | None:
    """Values mixed by an attention pattern: the sum over keys of probability times value."""
    pattern = next((i for i in inputs if is_pattern(i)), None)
    value = next((i for i in inputs if i.axes[0] in TEXTS and len(i.axes) in (2, 3)), None)
    if pattern is None or value is None or tensor.axes[0] not in TEXTS or tensor.axes[1] != "head":
        return None
    token, head, channel = index
    values = value.values if value.values.ndim > 2 else value.values[:, None]  # those that all heads share
    n_heads, n_values = pattern.values.shape[0], values.shape[1]
    if values.shape[0] != pattern.values.shape[2] or n_heads % n_values or channel >= values.shape[2]:
        return None
    column = values[:, head * n_values // n_heads, channel].astype(np.float64)
    shares = pattern.values[head, token].astype(np.float64)
    names = [f"key {k}: {_n(p)} of {_n(v)}" for k, (p, v) in enumerate(zip(shares, column, strict=True))]
    return names, shares * column


def _mixture_of_blocks(
    tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping
) -> Named | None:
    """Values mixed by a pattern over tokens and one over blocks of tokens; all heads share the values."""
    patterns = [i for i in inputs if i.axes[:2] == ("head", "query") and i.axes[2] in ("key", "block")]
    values = {i.axes[0]: i for i in inputs if len(i.axes) == 2 and i.axes[0] in ("token", "block")}
    if len(patterns) + len(values) < len(inputs) or len(patterns) != 2 or len(values) != 2:
        return None
    token, head, channel = index
    names, terms = [], []
    for pattern in patterns:
        of = values["block" if pattern.axes[2] == "block" else "token"].values[:, channel]
        for k, (p, v) in enumerate(zip(pattern.values[head, token].astype(np.float64), of, strict=True)):
            names.append(f"{pattern.axes[2]} {k}: {_n(p)} of {_n(float(v))}")
            terms.append(p * float(v))
    return names, np.array(terms)


def _stream_step(
    tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping
) -> Named | None:
    """One channel of a stream: so much of each stream, and of what else flows into it."""
    if tensor.kind != "residual" or not is_vector(tensor) or not any(is_vector(i) for i in inputs):
        return None
    case = case_from(tensor, inputs, index[0], weights)
    if case is None or len(case.stacked) == 1:  # one thing alone is no sum
        return None
    factors = factors_of(case)
    stream, channel = index[1] if len(index) > 2 else 0, index[-1]
    names, terms = [], []
    for name, each in factors or ():
        for number, by in enumerate(np.broadcast_to(each, (*each.shape[:2], case.value.shape[1]))[stream]):
            if by[channel]:
                of = f"stream {number} of " if len(each[0]) > 1 else ""
                names.append(f"{_n(float(by[channel]))} of {of}{name}")
                terms.append(by[channel] * case.vectors[name][number, channel])
    return (names, np.array(terms)) if names else None


def _scores(tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping) -> Named | None:
    """A query times a key, times the scale that makes it the score, if any usual one does."""
    if not is_pattern(tensor) or len(inputs) != 2:
        return None
    q, k = (i.values for i in inputs)
    if q.ndim != 3 or k.ndim != 3 or q.shape[2] != k.shape[2] or q.shape[1] % k.shape[1]:
        return None
    head, query, key = index
    a = q[query, head].astype(np.float64)
    b = k[key, head * k.shape[1] // q.shape[1]].astype(np.float64)
    raw, value = float(a @ b), float(tensor.values[index])
    usual = [1.0, len(a) ** -0.5, 1.0 / len(a)]
    said = re.match(r"q · kᵀ · ([\d.e−-]+)", tensor.formula)
    if said and raw and abs(value / raw - float(said[1].replace("−", "-"))) <= 1e-3 * abs(value / raw):
        usual.append(value / raw)  # the formula gives four digits of it
    scale = min(usual, key=lambda s: abs(raw * s - value))
    names = [f"channel {i}: {_n(x)} × {_n(y)}" for i, (x, y) in enumerate(zip(a, b, strict=True))]
    return [f"{n} × {scale:.4g}" if scale != 1 else n for n in names], a * b * scale


def _over_slots(tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping) -> Named | None:
    """What the chosen experts add up to."""
    if len(inputs) != 1 or inputs[0].axes != ("token", "slot", *tensor.axes[1:]) or tensor.weights:
        return None
    terms = inputs[0].values[index[0], :, *index[1:]].astype(np.float64)
    return [f"expert in slot {i}" for i in range(len(terms))], terms


def _product(tensor, inputs: list[TracedTensor], index: tuple[int, ...], weights: Mapping) -> Named | None:
    """One row of a matrix times one token's vector, plus the bias."""
    known = [weights[w] for w in tensor.weights if w in weights]
    if len(inputs) != 1 or tensor.axes[0] not in TEXTS:
        return None
    x = inputs[0].values[index[0]].reshape(-1).astype(np.float64)
    one = tensor.values[0].size == 1  # a matrix of one row is stored as a vector
    matrices = [w for w in known if len(w.shape) == 2 or (one and w.shape == x.shape)]
    row = int(np.ravel_multi_index(index[1:], tensor.values.shape[1:]))
    if len(matrices) != 1 or matrices[0].shape[-1] != len(x) or row >= matrices[0].n_rows:
        return None
    matrix = matrices[0]
    w = matrix.dequantize(row).reshape(-1).astype(np.float64)
    names, terms = _factors(inputs[0], x, w), w * x
    for bias in (b for b in known if b is not matrix and len(b.shape) == 1):
        if bias.shape[0] == matrix.n_rows:
            terms = np.append(terms, float(bias.dequantize().reshape(-1)[row]))
            names.append("bias")
    return names, terms


def _experts_product(tensor, inputs, index: tuple[int, ...], weights: Mapping) -> Named | None:
    """One row of the chosen expert's matrix times one token's vector."""
    known = [weights[w] for w in tensor.weights if w in weights]
    matrices = [w for w in known if len(w.shape) == 3]
    chosen = next((i for i in inputs if i.axes == ("token", "slot")), None)
    others = [i for i in inputs if i is not chosen]
    if len(matrices) != 1 or chosen is None or len(others) != 1 or tensor.axes[:2] != ("token", "slot"):
        return None
    token, slot, row = index
    x = others[0].values[token] if others[0].values.ndim == 2 else others[0].values[token, slot]
    x, matrix = x.astype(np.float64), matrices[0]
    expert = int(chosen.values[token, slot])
    if matrix.shape[1] != tensor.values.shape[2] or matrix.shape[2] != len(x) or expert >= matrix.shape[0]:
        return None
    w = matrix.dequantize(expert * matrix.shape[1] + row).reshape(-1).astype(np.float64)
    names, terms = _factors(others[0], x, w), w * x
    for bias in (b for b in known if b.shape == matrix.shape[:2]):
        terms = np.append(terms, float(bias.dequantize(expert).reshape(-1)[row]))
        names.append("bias")
    return names, terms


def _convolution(tensor, inputs, index: tuple[int, ...], weights: Mapping) -> Named | None:
    """One channel of the last tokens, each times its own weight, plus the bias."""
    known = [weights[w] for w in tensor.weights if w in weights]
    kernels = [w for w in known if len(w.shape) > 1 and w.n_rows == tensor.values.shape[-1]]
    alike = [i for i in inputs if i.values.shape == tensor.values.shape]
    if len(kernels) != 1 or not alike or len(index) != 2 or "last tokens" not in tensor.formula:
        return None
    token, channel = index
    w = kernels[0].dequantize(channel).reshape(-1).astype(np.float64)
    places = [(t, w[t - token - 1]) for t in range(max(0, token - len(w) + 1), token + 1)]
    x = alike[0].values[:, channel].astype(np.float64)
    names, terms = [f"token {t}: {_n(x[t])} × {_n(v)}" for t, v in places], [x[t] * v for t, v in places]
    for bias in (b for b in known if len(b.shape) == 1 and b.shape[0] == kernels[0].n_rows):
        terms.append(float(bias.dequantize().reshape(-1)[channel]))
        names.append("bias")
    return names, np.array(terms)


def _read(tensor, inputs, index: tuple[int, ...], weights: Mapping) -> Named | None:
    """What a token reads from a recurrent state."""
    return read_terms(tensor, inputs, index, [weights[w] for w in tensor.weights if w in weights])


def _factors(tensor: TracedTensor, x: np.ndarray, w: np.ndarray) -> list[str]:
    """Name terms by where their input stands, and by both factors."""
    inner = tensor.values.shape[1:] if tensor.axes[1:2] == ("head",) else (len(x),)
    axes = tensor.axes[1:] if len(inner) > 1 else tensor.axes[-1:]
    names = []
    for i, (a, b) in enumerate(zip(x, w, strict=True)):
        place = ", ".join(f"{axis} {at}" for axis, at in zip(axes, np.unravel_index(i, inner), strict=True))
        names.append(f"{place}: {_n(a)} × {_n(b)}")
    return names


def _n(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


WAYS = (
    _addition,
    _mixture,
    _mixture_of_blocks,
    _scores,
    _over_slots,
    _product,
    _experts_product,
    _convolution,
    _read,
    _stream_step,
)
