"""What each step of the residual stream makes of what flows into it.

A step is linear once the numbers that it takes from the streams themselves are held at the values that they really
had: how much of each stream a branch reads and writes, how streams mix, a norm's divisor, a gate. Then

    out_i = Σ over inputs, Σ over their streams: factor_ij · x_j        a stream alone counts as one of one

Which of a few forms a step has is found out by trying: a form counts only where it gives the very numbers of the
trace. So nothing here knows an architecture, and a step of a kind that nobody thought of is refused, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.taps import Tap
from refgguf.tensor import Tensor
from refgguf.trace import Trace, TracedTensor
from refgguf.viz.dissection import SLACK

# (n, d_model) vectors that reach some place → (n, d_model) what becomes of them at the end of the stream
Onward = Callable[[np.ndarray], np.ndarray]
# the ways from a tap to the end: (stream, 1 or d_model) how much of each of its streams goes which way onward
Ways = dict[Onward, np.ndarray]
Factors = list[tuple[str, np.ndarray]]  # by input: (streams out, streams in, 1 or d_model)


def as_it_is(x: np.ndarray) -> np.ndarray:
    """Return what is given."""
    return x


def is_vector(tap: Tap) -> bool:
    """Tell whether a tap is a stream, or several, or something as wide that can be added to them."""
    return tap.axes[-1] == "d_model" and tap.axes[0] == "token" and tap.axes[1:-1] in ((), ("stream",))


def carries_on(taps: Mapping[str, Tap], name: str) -> bool:
    """Tell whether a tap is the stream on its way, rather than something that is added to it."""
    tap = taps[name]
    before = [taps[i] for i in tap.inputs if i in taps and is_vector(taps[i])]
    if not is_vector(tap) or not before:
        return False
    if tap.kind == "norm":
        return any(t.kind in ("residual", "norm") for t in before)
    if tap.kind != "residual":
        return False
    if any(t.kind == "residual" for t in before):
        return True
    copied = any(t.kind == "embedding" for t in before) and not tap.weights
    scaled_norm = len(tap.inputs) == 1 and before[0].kind == "norm" and not tap.weights
    return copied or scaled_norm


@dataclass(frozen=True, eq=False)
class Case:
    """One step at one token.

    Attributes:
        value: (stream, d_model) what it gives.
        vectors: (stream, d_model) of each input that is a stream, or as wide.
        numbers: its other inputs, each as one row.
        weights: of the file's tensors that it works with.
    """

    value: np.ndarray
    vectors: Mapping[str, np.ndarray]
    numbers: Sequence[np.ndarray]
    weights: Sequence[np.ndarray]

    @property
    def stacked(self) -> np.ndarray:
        """All streams of all inputs below each other."""
        return np.concatenate(list(self.vectors.values()))

    def parted(self, factors: np.ndarray) -> Factors:
        """Part factors of all streams, (out, in, 1 or d_model), by input."""
        ends = np.cumsum([len(x) for x in self.vectors.values()])[:-1]
        return list(zip(self.vectors, np.split(factors, ends, axis=1), strict=True))

    def holds(self, factors: Factors) -> bool:
        """Tell whether factors give the value."""
        terms = [f * self.vectors[name][None] for name, f in factors]
        largest = max((float(np.abs(t).max(initial=0.0)) for t in terms), default=0.0)
        total = sum(t.sum(axis=1) for t in terms)
        return bool(np.abs(total - self.value).max() <= SLACK * max(largest, 1e-30))


def case_of(
    trace: Trace, taps: Mapping[str, Tap], name: str, token: int, weights: Mapping[str, Tensor]
) -> Case | None:
    """Return a step of the stream at one token; None where trace or file lack something, or hold no finite numbers."""
    inputs = taps[name].inputs
    if not {name, *inputs} <= set(trace.names):
        return None
    return case_from(trace.tensor(name), [trace.tensor(i) for i in inputs], token, weights)


def case_from(
    tensor: TracedTensor, inputs: Sequence[TracedTensor], token: int, weights: Mapping[str, Tensor]
) -> Case | None:
    """Return a step of the stream at one token, from what it gives and all that it takes; None as `case_of`."""
    if any(w not in weights for w in tensor.weights):
        return None

    def at(tensor: TracedTensor) -> np.ndarray:
        return tensor.values[token].astype(np.float64)

    value = np.atleast_2d(at(tensor))
    vectors = {i.name: np.atleast_2d(at(i)) for i in inputs if is_vector(i)}
    if len({x.shape[1] for x in (value, *vectors.values())}) > 1:
        return None
    numbers = [at(i).reshape(-1) for i in inputs if i.name not in vectors]
    if not all(np.isfinite(x).all() for x in (value, *vectors.values(), *numbers)):
        return None
    return Case(value, vectors, numbers, [weights[w].dequantize().astype(np.float64) for w in tensor.weights])


def factors_of(case: Case) -> Factors | None:
    """Return by what a step multiplies its inputs; None where none of the forms gives its value."""
    return next((f for form in FORMS for f in form(case) if case.holds(f)), None) if case.vectors else None


def ways_back(case: Case, ways: Ways) -> dict[str, Ways] | None:
    """Return the ways to the end from each input of a step, given those from what it gives; None if nobody knows."""
    factors = factors_of(case)
    if factors is None:
        return _turned(case, ways)
    return {name: {onward: (w[:, None] * f).sum(axis=0) for onward, w in ways.items()} for name, f in factors}


def added(ways: Ways, more: Ways) -> Ways:
    """Return the ways of both."""
    return ways | {on: w + ways[on] if on in ways else w for on, w in more.items()}


def at_the_end(ways: Ways, vectors: np.ndarray) -> np.ndarray:
    """Return what becomes of vectors at the end of the stream.

    Args:
        ways: from where they are.
        vectors: (…, stream, d_model), or (…, d_model) where there is one.

    Returns:
        (…, d_model) float64.
    """
    n = len(next(iter(ways.values())))
    streams = vectors.reshape(*vectors.shape[: vectors.ndim - (2 if n > 1 else 1)], n, vectors.shape[-1])
    return sum(onward((w * streams).sum(axis=-2)) for onward, w in ways.items())


# ---- the forms that steps have, each with the factors that it would have


def _sums(case: Case) -> Iterator[Factors]:
    """Streams added one by one, each input with a factor of its own and all with a weight; a norm's divisor too."""
    n, d = case.value.shape
    if case.numbers or len(case.weights) > 1 or any(x.shape != (n, d) for x in case.vectors.values()):
        return
    weight = np.ones((1, 1))
    if case.weights:
        if case.weights[0].size not in (1, d, n * d):
            return
        weight = case.weights[0].reshape(n if case.weights[0].size == n * d else 1, -1)
    own = np.eye(n)[:, :, None] * weight[:, None]  # each stream from itself
    yield [(name, own) for name in case.vectors]
    terms = np.stack([(x * weight).reshape(-1) for x in case.vectors.values()])
    by = np.linalg.lstsq(terms.T, case.value.reshape(-1), rcond=None)[0]
    yield [(name, own * f) for name, f in zip(case.vectors, by, strict=True)]
    if len(case.vectors) == 1:  # each stream normed by itself
        terms = next(iter(case.vectors.values())) * weight
        by = (terms * case.value).sum(axis=1) / np.maximum((terms * terms).sum(axis=1), 1e-300)
        yield [(name, own * by[:, None, None]) for name in case.vectors]


def _copies(case: Case) -> Iterator[Factors]:
    """One stream, as often as there are streams."""
    if len(case.vectors) == 1 and len(case.stacked) == 1 and not case.numbers and not case.weights:
        yield case.parted(np.ones((len(case.value), 1, 1)))


def _means(case: Case) -> Iterator[Factors]:
    """All streams of an input together, each input with a factor of its own."""
    if len(case.value) > 1 or case.numbers or case.weights:
        return
    terms = np.stack([x.sum(axis=0) for x in case.vectors.values()])
    by = np.linalg.lstsq(terms.T, case.value[0], rcond=None)[0]
    yield [(name, np.full((1, len(x), 1), f)) for (name, x), f in zip(case.vectors.items(), by, strict=True)]


def _picks(case: Case) -> Iterator[Factors]:
    """One of several streams, or what stands beside them less one of them."""
    several = [name for name, x in case.vectors.items() if len(x) > 1]
    if len(case.value) > 1 or case.numbers or case.weights or len(several) != 1:
        return
    for sign in (1.0, -1.0):
        for own in np.eye(len(case.vectors[several[0]])):
            alone = [
                (name, sign * own[None, :, None] if name in several else np.ones((1, 1, 1)))
                for name in case.vectors
            ]
            yield alone


def _reads(case: Case) -> Iterator[Factors]:
    """A mixture: so much of each stream, or of each channel of each through a gate."""
    if len(case.value) > 1 or len(case.numbers) != 1 or case.weights:
        return
    (numbers,), (n, d) = case.numbers, case.stacked.shape
    if len(numbers) == n:
        yield case.parted(numbers[None, :, None])
    elif len(numbers) == n * d:
        yield case.parted(1 / (1 + np.exp(-numbers.reshape(1, n, d))) / n)


def _writes(case: Case) -> Iterator[Factors]:
    """So much of a result to each stream; the streams stay as they are, or pass so much on to each."""
    n = len(case.value)
    streams = [name for name, x in case.vectors.items() if len(x) == n]
    results = [name for name in case.vectors if name not in streams]
    sizes = [len(x) for x in case.numbers]
    if len(streams) > 1 or len(results) != 1 or case.weights or sizes not in ([n], [n, n * n]):
        return
    rest = case.numbers[1].reshape(n, n).T if len(sizes) > 1 else np.eye(n)
    yield [
        *((name, rest[:, :, None]) for name in streams),
        (results[0], case.numbers[0][:, None, None]),
    ]


def _predicts(case: Case) -> Iterator[Factors]:
    """Each stream and so much of all of them."""
    n = len(case.value)
    if len(case.stacked) == n and [len(x) for x in case.numbers] == [n * n] and not case.weights:
        yield case.parted((np.eye(n) + case.numbers[0].reshape(n, n))[:, :, None])


def _lasts(case: Case) -> Iterator[Factors]:
    """The last of several streams, with something added to each."""
    m = len(case.value)
    longest = max((len(x) for x in case.vectors.values()), default=0)
    alike = [name for name, x in case.vectors.items() if len(x) not in (1, longest)]
    if case.numbers or case.weights or longest <= m or m == 1 or alike:
        return
    yield [
        (name, np.eye(longest)[longest - m :, :, None] if len(x) == longest else np.ones((m, 1, 1)))
        for name, x in case.vectors.items()
    ]


FORMS = (_sums, _copies, _means, _picks, _reads, _writes, _predicts, _lasts)


def _turned(case: Case, ways: Ways) -> dict[str, Ways] | None:
    """Return the ways back through a matrix for each stream, whose results are brought to a length."""
    n, d = case.value.shape
    found = [name for name, x in case.vectors.items() if len(x) == n]
    if len(found) != 1 or case.numbers or [w.shape for w in case.weights] != [(n, d, d)]:
        return None
    terms = np.einsum("nod,nd->no", case.weights[0], case.vectors[found[0]])
    by = (terms * case.value).sum(axis=1) / np.maximum((terms * terms).sum(axis=1), 1e-300)
    if np.abs(terms * by[:, None] - case.value).max() > SLACK * np.abs(case.value).max():
        return None
    back: Ways = {}
    for onward, w in ways.items():
        for i, matrix in enumerate(case.weights[0]):

            def turn(x: np.ndarray, onward=onward, by=w[i] * by[i], matrix=matrix) -> np.ndarray:
                return onward(x @ matrix.T * by)

            back[turn] = np.eye(n)[i][:, None]
    return {found[0]: back}
