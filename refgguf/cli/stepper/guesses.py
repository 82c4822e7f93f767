"""What the model would say next if it stopped here: the logit lens on the residual stream.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens": final norm and output matrix, applied to the
residual stream of an earlier layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from refgguf.cli.stepper.walk import Walk
    from refgguf.model import Model

# multiplications that take no noticeable time: within these, the guess after every layer is shown
CHEAP = 400_000_000
ADDITIONS = ("resid_mid", "resid_post")
STREAM = ("embed", "resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True)
class Guess:
    """One candidate for the next token."""

    token: int
    text: str
    probability: float


@dataclass(frozen=True)
class Reading:
    """The next token as read off the residual stream at one place.

    Attributes:
        source: the tap that was read.
        layer: its layer; None for the embedding and for the model's own output.
        best: the best candidates, the best first.
        actual: the token that follows in the text, or None after the last one.
        actual_rank: its place among all candidates, 1 for the best.
        actual_probability: its probability.
    """

    source: str
    layer: int | None
    best: tuple[Guess, ...]
    actual: str | None = None
    actual_rank: int = 0
    actual_probability: float = 0.0


@dataclass(frozen=True)
class Move:
    """A candidate whose probability an operation changed."""

    text: str
    before: float
    after: float


class Guesses:
    """Reads the residual stream, and remembers what it read.

    Args:
        model: whose final norm and output matrix are used.
        count: how many candidates to give.
    """

    def __init__(self, model: Model, count: int = 5):
        self.model = model
        self.count = count
        self._logits: dict[tuple[str, int], np.ndarray] = {}

    def _guesses(self, walk: Walk) -> bool:
        """Whether what we look at leads to a next token."""
        return self.model.network.scores_vocabulary and not walk.reads

    def source(self, walk: Walk) -> str | None:
        """Return the latest state of the residual stream up to this operation; None before the first.

        None, too, for a model that scores no next tokens.
        """
        if not self._guesses(walk):
            return None
        for number in range(walk.operation, walk.text.operations[0] - 1, -1):
            tensor = walk.tensors[number]
            if tensor.name == "logits" or tensor.name.rpartition(".")[2] in STREAM:
                return tensor.name
        return None

    def here(self, walk: Walk) -> Reading | None:
        """Return the best guesses where we are."""
        source = self.source(walk)
        return None if source is None else self._reading(walk, source)

    def by_layer(self, walk: Walk) -> list[Reading]:
        """Return the guesses after the embedding and after each layer up to here; few if they cost much."""
        if not self._guesses(walk):
            return []
        passed = walk.tensors[walk.text.operations[0] : walk.operation + 1]
        ends = [tensor.name for tensor in passed if _is_stage(tensor.name)]
        cost = self.model.config.n_vocab * self.model.config.d_model
        fresh = [name for name in ends if (name, walk.token) not in self._logits]
        if fresh and cost * len(fresh) <= CHEAP:
            read = self._lens([walk.trace[name][walk.token] for name in fresh])
            self._logits.update({(name, walk.token): row for name, row in zip(fresh, read, strict=True)})
        return [self._reading(walk, name) for name in ends if (name, walk.token) in self._logits]

    def moved(self, walk: Walk) -> list[Move]:
        """Return whose probability an addition to the residual stream changed most; nothing elsewhere."""
        tensor = walk.current
        if tensor.name.rpartition(".")[2] not in ADDITIONS or not self._guesses(walk):
            return []
        before = next((name for name in tensor.inputs if name.rpartition(".")[2] in STREAM), None)
        if before is None or walk.tensor(before) is None:
            return []
        old, new = (probabilities(self._read(walk, name)) for name in (before, tensor.name))
        change = new - old
        order = np.argsort(-np.abs(change), kind="stable")[: self.count]
        return [Move(self.model.token_text(int(t)), float(old[t]), float(new[t])) for t in order]

    def _reading(self, walk: Walk, source: str) -> Reading:
        probs = probabilities(self._read(walk, source))
        order = np.argsort(-probs, kind="stable")[: self.count]
        best = tuple(Guess(int(t), self.model.token_text(int(t)), float(probs[t])) for t in order)
        layer = walk.tensors[walk.index[source]].layer
        if walk.token + 1 >= walk.n_tokens:
            return Reading(source, layer, best)
        actual = int(walk.trace.tokens[walk.token + 1])
        rank = 1 + int((probs > probs[actual]).sum())
        return Reading(source, layer, best, walk.label(walk.token + 1), rank, float(probs[actual]))

    def _lens(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores that each row of the stream gives; rows of one shape, one or several streams, at once."""
        scores: dict[int, np.ndarray] = {}
        for shape in {row.shape for row in rows}:
            alike = [number for number, row in enumerate(rows) if row.shape == shape]
            scores.update(zip(alike, self.model.lens(np.stack([rows[n] for n in alike])), strict=True))
        return [scores[number] for number in range(len(rows))]

    def _read(self, walk: Walk, source: str) -> np.ndarray:
        if source == "logits":
            return walk.trace["logits"][walk.token]
        key = (source, walk.token)
        if key not in self._logits:
            self._logits[key] = self.model.lens(walk.trace[source][walk.token][None])[0]
        return self._logits[key]


def _is_stage(name: str) -> bool:
    return name == "embed" or name.endswith(".resid_post")


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of scores, in float64."""
    shifted = logits.astype(np.float64) - np.nanmax(logits)
    weights = np.exp(shifted)
    return weights / weights.sum()
