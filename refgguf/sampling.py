"""Choosing the next token from its scores, and what is known of it then.

The candidates are narrowed first (top-k, then top-p, then min-p, each on the probabilities at temperature 1) and the
temperature is applied to what is left: llama.cpp's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refgguf.errors import InputError, ModelError
from refgguf.trace import Trace


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 always takes the best; 1 draws from the model's own probabilities; more is flatter.
        top_k: draw from the k best only; 0 for all.
        top_p: draw from the fewest best whose probabilities sum to at least this (Holtzman et al. 2020); 1 for all.
        min_p: drop what is less probable than this times the best; 0 for none.

    Raises:
        InputError: a value is out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self):
        for name, least, most in (
            ("temperature", 0, 1e6),
            ("top_k", 0, 1 << 31),
            ("top_p", 0, 1),
            ("min_p", 0, 1),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{name} is {value}; it must lie between {least} and {most:g}")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities from which the next token is drawn.

        Args:
            logits: (vocab,) scores.

        Returns:
            (vocab,) float64, summing to 1; 1 for the best token if the temperature is 0.

        Raises:
            ModelError: the scores are NaN.
        """
        if np.isnan(logits).any():
            raise ModelError(
                "the model's scores are NaN: its weights, or a hook, hold NaN or infinite values"
            )
        if self.temperature == 0:
            probs = np.zeros(len(logits))
            probs[int(np.argmax(logits))] = 1.0
            return probs
        order = np.argsort(-logits, kind="stable")[: self.top_k or None]
        probs = softmax(logits[order])
        if self.top_p < 1:
            kept = 1 + int(np.searchsorted(np.cumsum(probs), self.top_p))
            order, probs = order[:kept], probs[:kept]
        if self.min_p > 0:
            kept = max(1, int((probs >= self.min_p * probs[0]).sum()))
            order = order[:kept]
        out = np.zeros(len(logits))
        out[order] = softmax(logits[order] / self.temperature)
        return out

    def choose(self, logits: np.ndarray, random: np.random.Generator) -> tuple[int, np.ndarray]:
        """Return the next token and the probabilities from which it was drawn."""
        probs = self.probabilities(logits)
        if self.temperature == 0:
            return int(np.argmax(logits)), probs
        return int(random.choice(len(probs), p=probs)), probs


@dataclass(frozen=True, eq=False)
class Step:
    """One generated token.

    Attributes:
        token: its id.
        text: what it adds to the text; "" while a character is not yet complete, and for an end token.
        logits: (vocab,) float32, the scores that it was chosen by.
        drawn_from: (vocab,) float64, the probabilities after temperature and narrowing.
        trace: the forward pass that led to it, if taps were asked for: the prompt's for the first token, the
            one token's before it for every later one.
    """

    token: int
    text: str
    logits: np.ndarray
    drawn_from: np.ndarray
    trace: Trace | None = None

    @cached_property
    def probs(self) -> np.ndarray:
        """The model's probabilities, (vocab,) float64: softmax of the scores."""
        return softmax(self.logits)


def softmax(x: np.ndarray) -> np.ndarray:
    """Return probabilities of the last axis, in float64."""
    x = np.asarray(x, np.float64)
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
