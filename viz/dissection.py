"""Take what a block adds to the stream apart into what each chosen expert, and each network beside them, adds.

    out = g · (Σ over chosen experts: weight · expert(x) + shared(x))        g: a norm's or a layer's own factor

Everything between an expert's result and the stream is linear once a norm's divisor is held at the value that it
really had, and is followed backwards: sums (with factors), norms, matrices. What each step claims is checked against
the trace's own numbers; where a step is none of these, what it gives is a share as a whole. So the shares always sum
to the addend, up to its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.taps import Tap
from refgguf.tensor import Tensor
from refgguf.trace import Trace

SLACK = 1e-5  # of the largest addend: what float32 rounding of a sum of a few addends stays far below
BY_EXPERT = ("token", "slot", "d_model")
INSIDE = ("d_ff", "expert", "slot")  # last axes of what is not as wide as the stream: neurons and choices

# (n, d_in) vectors that reach a tap → (n, d_out) what becomes of them further on
Onward = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Share:
    """One share of an addend of the stream.

    Attributes:
        tap: name of the tap that it is what became of.
        slot: in which slot of the token the expert is that it comes from; None where it comes from no expert.
        vector: (d_model,) float64.
        onward: what becomes of vectors like the tap's own on their way into the stream.
    """

    tap: str
    slot: int | None
    vector: np.ndarray
    onward: Onward

    def carried(self, further: Onward) -> Share:
        """Return what becomes of it further on."""
        return Share(self.tap, self.slot, further(self.vector[None])[0], lambda x: further(self.onward(x)))


def share_taps(taps: Mapping[str, Tap]) -> list[str]:
    """Return the taps whose values are needed to take addends apart: what lies between blocks and stream."""
    found: set[str] = set()
    waiting = [i for tap in taps.values() if tap.kind == "residual" for i in tap.inputs]
    while waiting:
        name = waiting.pop()
        if name in found or name not in taps or not _on_the_way(taps[name]):
            continue
        found.add(name)
        if taps[name].axes == BY_EXPERT:
            found.update(i for i in (_chosen(taps, name),) if i)
        else:
            waiting.extend(taps[name].inputs)
    return [name for name in taps if name in found]


def _on_the_way(tap: Tap) -> bool:
    """Tell whether a tap may lie on the way from experts, heads or neurons into the stream."""
    wide = len(tap.axes) == 2 and tap.axes[0] == "token" and tap.axes[-1] not in INSIDE
    return tap.axes == BY_EXPERT or (wide and tap.kind not in ("residual", "embedding"))


def shares_of(
    trace: Trace, taps: Mapping[str, Tap], name: str, token: int, weights: Mapping[str, Tensor]
) -> list[Share]:
    """Take an addend of the stream apart.

    Args:
        trace: must hold the addend; the more of `share_taps` it holds, the further the addend is taken apart.
        taps: every tap of the model.
        name: name of the addend, such as "blk.3.ffn_out".
        token: position.
        weights: the file's tensors by name.

    Returns:
        Shares that sum to the addend, up to its own rounding; one alone where it cannot be taken apart.
    """
    found = list(_followed(_At(trace, taps, token, weights), name, lambda x: x))
    total, value = sum(s.vector for s in found), _value(trace, name, token)
    size = sum(np.abs(s.vector) for s in found).max()
    if np.abs(total - value).max() <= SLACK * size:
        return found
    return [Share(name, None, value, lambda x: x)]


@dataclass(frozen=True)
class _At:
    trace: Trace
    taps: Mapping[str, Tap]
    token: int
    weights: Mapping[str, Tensor]

    def value(self, name: str) -> np.ndarray:
        return _value(self.trace, name, self.token)


def _value(trace: Trace, name: str, token: int) -> np.ndarray:
    return trace.tensor(name).values[token].astype(np.float64)


def _followed(at: _At, name: str, onward: Onward) -> Iterator[Share]:
    """Yield the shares of a tap, each with its way onward from there."""
    tap = at.taps[name]
    have = bool(tap.inputs) and {name, *tap.inputs} <= set(at.trace.names)
    if have and at.taps[tap.inputs[0]].axes == BY_EXPERT and len(tap.inputs) == 1 and not tap.weights:
        each = at.value(tap.inputs[0])  # (slot, d_model)
        if _close(each.sum(axis=0), at.value(name), each):
            for slot, vector in enumerate(each):
                yield Share(tap.inputs[0], slot, onward(vector[None])[0], onward)
            return
    steps = _steps(at, tap) if have else None
    if steps is None:
        yield Share(name, None, onward(at.value(name)[None])[0], onward)
        return
    for source, step in steps:
        yield from _followed(at, source, lambda x, step=step: onward(step(x)))


def _steps(at: _At, tap: Tap) -> list[tuple[str, Onward]] | None:
    """Return for each input what becomes of it in a tap's sum; None where the tap is no such sum."""
    if any(at.taps[i].axes[0] != "token" or len(at.taps[i].axes) != 2 for i in (tap.name, *tap.inputs)):
        return None
    inputs, value = [at.value(i) for i in tap.inputs], at.value(tap.name)
    if any(at.taps[i].axes[-1] in INSIDE for i in tap.inputs):
        return None  # neurons: what they add is another question
    read = [at.weights[w].dequantize().astype(np.float64) for w in tap.weights if w in at.weights]
    if len(read) < len(tap.weights) or len(read) > 1:
        return None
    if not read and all(x.shape == value.shape for x in inputs):
        return _scaled(tap.inputs, inputs, value, np.ones_like(value))
    if len(inputs) == 1 and read and read[0].shape == value.shape == inputs[0].shape:
        return _scaled(tap.inputs, inputs, value, read[0])
    if len(inputs) == 1 and read and read[0].shape == (value.size, inputs[0].size):
        matrix = read[0]
        terms = matrix * inputs[0]
        if np.abs(terms.sum(axis=1) - value).max() <= SLACK * max(np.abs(terms).sum(axis=1).max(), 1e-30):
            return [(tap.inputs[0], lambda x: x @ matrix.T)]
    return None


def _scaled(
    names: Sequence[str], inputs: Sequence[np.ndarray], value: np.ndarray, weight: np.ndarray
) -> list[tuple[str, Onward]] | None:
    """Return steps that multiply each input by its factor and all by a weight, if that gives the value."""
    terms = np.stack([x * weight for x in inputs])
    factors = np.ones(len(inputs))
    if not _close(terms.sum(axis=0), value, terms):
        factors = np.linalg.lstsq(terms.T, value, rcond=None)[0]
        if not _close(factors @ terms, value, terms * factors[:, None]):
            return None
    return [(n, lambda x, by=f * weight: x * by) for n, f in zip(names, factors, strict=True)]


def _close(total: np.ndarray, value: np.ndarray, terms: np.ndarray) -> bool:
    return bool(np.abs(total - value).max() <= SLACK * max(np.abs(terms).max(initial=0.0), 1e-30))


def neurons_of(
    trace: Trace, taps: Mapping[str, Tap], share: Share, token: int, weights: Mapping[str, Tensor]
) -> np.ndarray | None:
    """Take an expert's share apart into what each of its neurons adds.

    Returns:
        (d_ff, d_model) float64, which sum to the share but for the matrix's bias; None
        where the trace or the file lacks something, or they do not turn out to be the share.
    """
    chosen = _chosen(taps, share.tap)
    down = _result(taps, share.tap)
    if share.slot is None or down is None or chosen not in trace.names:
        return None
    act = next((i for i in taps[down].inputs if taps[i].axes[-1] == "d_ff"), None)
    matrix = next(
        (weights[w] for w in taps[down].weights if w in weights and len(weights[w].shape) == 3), None
    )
    if act is None or act not in trace.names or matrix is None:
        return None
    expert, d_out = int(trace.tensor(chosen).values[token, share.slot]), matrix.shape[1]
    if expert >= matrix.shape[0]:
        return None
    neurons = _value(trace, act, token)[share.slot]
    rows = matrix.dequantize(slice(expert * d_out, (expert + 1) * d_out))  # (d_model, d_ff)
    rows = rows.astype(np.float64)
    parts = rows.T * neurons[:, None]
    value = _value(trace, share.tap, token)[share.slot]
    biases = [weights[w] for w in taps[down].weights if w in weights and len(weights[w].shape) == 2]
    total = parts.sum(axis=0) + sum(b.dequantize(expert).astype(np.float64) for b in biases)
    factor = float(total @ value) / max(float(total @ total), 1e-300)  # the router's weight
    if np.abs(total * factor - value).max() > SLACK * max(
        np.abs(parts).sum(axis=0).max() * abs(factor), 1e-30
    ):
        return None
    return share.onward(parts * factor)


def expert_of(trace: Trace, taps: Mapping[str, Tap], share: Share, token: int) -> int | None:
    """Return the number of the expert that a share comes from; None where it comes from none, or nobody knows."""
    chosen = None if share.slot is None else _chosen(taps, share.tap)
    return int(trace.tensor(chosen).values[token, share.slot]) if chosen in trace.names else None


def _result(taps: Mapping[str, Tap], name: str) -> str | None:
    """Return the tap of the experts' own results, before they are weighted."""
    if taps[name].weights:
        return name
    return next((i for i in taps[name].inputs if taps[i].axes == BY_EXPERT), None)


def _chosen(taps: Mapping[str, Tap], name: str) -> str | None:
    """Return the nearest tap before the results under a name that says which experts they are from."""
    waiting, seen = [name], set()
    while waiting:
        for source in taps[waiting.pop(0)].inputs:
            if source in seen or source not in taps or taps[source].layer != taps[name].layer:
                continue
            seen.add(source)
            if taps[source].axes == ("token", "slot") and "weights" not in source:
                return source
            waiting.append(source)
    return None
