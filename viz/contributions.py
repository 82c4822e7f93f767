"""What each block, head and neuron contributes: to the residual stream, and to the score of one vocabulary entry.

The stream that leaves the last layer is a sum, so it can be taken apart into its addends: the embedding and what each
block added (Elhage et al. 2021). A block's addend is a sum over its heads or neurons, since its output matrix is
linear. The final norm is not linear: its divisor depends on the whole stream. It is held at the value that it really
has, which makes the score a linear reading of the stream: the addends' contributions and the constant (the biases)
sum to the very score that the model gave, before any cap of the scores. Nothing here is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refgguf.recorder import Recorder
from refgguf.taps import Tap
from refgguf.tensor import Tensor
from refgguf.trace import Trace
from refgguf.viz.dissection import SLACK, share_taps, shares_of
from refgguf.viz.stream_steps import (
    Case,
    Ways,
    added,
    as_it_is,
    at_the_end,
    carries_on,
    case_of,
    ways_back,
)

if TYPE_CHECKING:
    from refgguf.model import Model

STREAM_KINDS = ("residual", "embedding")

Reads = Callable[[np.ndarray, int], tuple[np.ndarray, float]]


def reader_of(model: Model) -> Reads:
    """Return what tells, for the stream of a token and a vocabulary entry, the direction that its score reads.

    The function returned takes the stream that leaves the last layer, (d_model,), and the entry's number, and gives
    `blocks.ends.Head.reads`: direction · stream + constant is the entry's score, before any cap.
    """
    from refgguf.blocks.scope import Scope, Weights  # brings the kernels along, which take a second to import

    weights, nothing = Weights(model.file.tensors), np.zeros(1, np.int64)
    scope = Scope(weights, Recorder(model.taps), nothing, nothing)
    return lambda stream, entry: model.network.head.reads(stream, scope, entry)


@dataclass(frozen=True)
class Contribution:
    """What one addend of the final stream contributes at one token.

    Attributes:
        tap: name of the addend.
        length: its Euclidean length.
        score: what it adds to the score that is looked at; 0 where none is.
    """

    tap: str
    length: float
    score: float


@dataclass(frozen=True)
class Addend:
    """What one addend of the final stream is there.

    Attributes:
        tap: its name.
        vector: (d_model,) float64: what became of its value on the way, which streams and factors lie on.
        ways: the ways from it to the end of the stream.
        by_stream: (stream, d_model) float64: what of it goes by each stream, where it is written to several.
    """

    tap: str
    vector: np.ndarray
    ways: Ways
    by_stream: np.ndarray | None = None

    def onward(self, parts: np.ndarray) -> np.ndarray:
        """Return what becomes of parts of its value, (n, d_model) or (n, stream, d_model): (n, d_model) float64."""
        return at_the_end(self.ways, parts)


def end_of_stream(taps: Mapping[str, Tap]) -> str | None:
    """Return the tap that scores are read from: what the final norm reads, or what it gives where it reads several."""
    if "final_norm" not in taps:
        return None
    inputs = taps["final_norm"].inputs
    return inputs[0] if len(inputs) == 1 else "final_norm"


def stream_taps(taps: Mapping[str, Tap]) -> list[str]:
    """Return the names of the taps whose values are needed to take the final stream apart, down to experts."""
    own = {name for name, tap in taps.items() if tap.kind in STREAM_KINDS} | set(share_taps(taps))
    waiting, seen = [end_of_stream(taps)], set()
    while waiting:
        name = waiting.pop()
        if name in taps and name not in seen and carries_on(taps, name):
            waiting += taps[name].inputs
        seen.add(name)
    return [name for name in taps if name in own | seen]


def addends(
    trace: Trace, taps: Mapping[str, Tap], token: int, weights: Mapping[str, Tensor] | None = None
) -> dict[str, Addend]:
    """Take the stream that the output reads apart at one token.

    Several streams are followed one by one, and together they are the one that the output reads.

    Args:
        trace: must hold `stream_taps`.
        taps: every tap of the model.
        token: position.
        weights: the file's tensors by name; steps that multiply by some cannot be taken apart without them.

    Returns:
        By tap name in order of execution; their vectors sum to the stream, up to its own rounding. A tap that is
        no step that `stream_steps` knows is an addend as a whole. Empty where the trace lacks the stream.
    """
    end = end_of_stream(taps)
    if end is None or end not in trace.names:
        return {}
    found: dict[str, Addend] = {}
    lanes: dict[str, np.ndarray] = {}
    ways: dict[str, Ways] = {end: {as_it_is: np.ones((1, 1))}}
    for name in reversed(taps):
        if name not in ways:
            continue
        own = ways.pop(name)
        case = case_of(trace, taps, name, token, weights or {}) if carries_on(taps, name) else None
        back = ways_back(case, own) if case is not None else None
        if back is not None:
            for source, more in back.items():
                ways[source] = added(ways.get(source, {}), more)
            lanes |= _written(case, own, [i for i in back if not carries_on(taps, i)])
        elif name in trace.names:
            value = trace.tensor(name).values[token].astype(np.float64)
            found[name] = Addend(name, at_the_end(own, value), own, lanes.get(name))
    return dict(reversed(found.items()))


def _written(case: Case, ways: Ways, results: list[str]) -> dict[str, np.ndarray]:
    """Return for results that a step writes to several streams what of each goes by which, (stream, d_model)."""
    n = len(case.value)
    if n == 1 or not results:
        return {}
    each = [ways_back(case, {on: w * np.eye(n)[i][:, None] for on, w in ways.items()}) for i in range(n)]
    return {
        name: np.stack([at_the_end(back[name], case.vectors[name].squeeze()) for back in each])
        for name in results
    }


def not_taken_apart(parts: Mapping[str, Addend], taps: Mapping[str, Tap]) -> list[str]:
    """Return those addends that are the stream itself, as a step left it of which nobody knows what it did."""
    found = [name for name in parts if carries_on(taps, name)]
    return [n for n in found if taps[n].kind == "norm" or {taps[i].kind for i in taps[n].inputs} != {"norm"}]


def contributions(
    parts: Mapping[str, Addend], reads: Reads | None = None, entry: int = 0
) -> tuple[list[Contribution], float]:
    """Measure addends.

    Args:
        parts: from `addends`.
        reads: from `reader_of`, to measure what they add to a score; None to leave scores at 0.
        entry: number of the vocabulary entry whose score is looked at.

    Returns:
        One contribution for each addend, in order of execution; what is added to the score whatever the stream is.
    """
    total = total_of(parts)
    direction, constant = reads(total, entry) if reads and parts else (None, 0.0)
    found = []
    for name, part in ((name, addend.vector) for name, addend in parts.items()):
        score = 0.0 if direction is None else float(part @ direction)
        found.append(Contribution(name, float(np.linalg.norm(part)), score))
    return found, constant


def total_of(parts: Mapping[str, Addend]) -> np.ndarray:
    """Return the stream that addends sum to, (d_model,) float64."""
    return sum(addend.vector for addend in parts.values())


def split(
    trace: Trace, taps: Mapping[str, Tap], name: str, token: int, weights: Mapping[str, Tensor]
) -> np.ndarray | None:
    """Take an addend apart into what each head or each neuron adds to it.

    Args:
        trace: must hold the addend and its input.
        taps: every tap of the model.
        name: name of the addend, such as "blk.3.attn_out".
        token: position.
        weights: the file's tensors by name.

    Returns:
        (head or neuron, d_model) float64, whose sum is the addend but for a bias; None where the addend is not one
        matrix applied to heads or neurons (and perhaps a norm of the result), or does not turn out to be their sum.
    """
    shares = shares_of(trace, taps, name, token, weights)
    if len(shares) > 1:
        return None
    tap = taps[shares[0].tap]
    matrices = [weights[w] for w in tap.weights if w in weights and len(weights[w].shape) == 2]
    vectors = [weights[w] for w in tap.weights if w in weights and len(weights[w].shape) == 1]
    if len(matrices) != 1 or len(tap.inputs) != 1 or tap.inputs[0] not in trace.names:
        return None
    x = trace.tensor(tap.inputs[0]).values[token].astype(np.float64)
    matrix = matrices[0].dequantize().astype(np.float64)
    if matrix.shape[1] != x.size:
        return None
    groups = x if x.ndim == 2 else x[:, None]  # a head's channels, or one neuron
    parts = np.einsum("dhc,hc->hd", matrix.reshape(-1, *groups.shape), groups)
    value = trace.tensor(tap.name).values[token].astype(np.float64)
    biases = [v.dequantize().astype(np.float64) for v in vectors if v.shape == value.shape]
    rest = np.abs(parts.sum(axis=0) + sum(biases) - value).max()
    sums_up = rest <= SLACK * max(np.abs(parts).sum(axis=0).max(), 1e-30)
    return shares[0].onward(parts) if sums_up else None
