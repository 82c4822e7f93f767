"""From a vector for each token to one for the whole text (Reimers & Gurevych 2019), or to the score of each label.

none    nothing: each token keeps its vector
mean    their mean
cls     the first one, of the token that BERT calls [CLS]
last    the last one
rank    a classification head on one of these: W₂ · act(W₁ x + b₁) + b₂
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.errors import InputError
from refgguf.kernels.ops.activation import activation, softcap
from refgguf.kernels.ops.attention import softmax
from refgguf.kernels.ops.matmul import linear
from refgguf.taps import Tap, Word, declare

KINDS = ("none", "mean", "cls", "last", "rank")
FORMULAS = {"mean": "Σ over tokens / their number", "cls": "of the first token", "last": "of the last token"}
POOLED = "result_embd_pooled"  # llama.cpp's name of the result
WORDS = {
    "pooled": Word("text d_model", "norm", "one vector for the whole text"),
    "pooled_dense_2": Word("text d_model", "norm", "that vector after a matrix"),
    "pooled_dense_3": Word("text d_model", "norm", "that vector after another matrix"),
    "class_dense": Word("text d_model", "norm", "hidden layer of the classification head before its bend"),
    "class_act": Word("text d_model", "norm", "hidden layer of the classification head"),
    "class_norm": Word("text d_model", "norm", "hidden layer of the classification head, normed"),
    "class_logits": Word("text label", "router", "score of each label"),
    "class_probs": Word("text label", "router", "probability of each label"),
}


@dataclass(frozen=True)
class Classifier:
    """A classification head.

    Attributes:
        d_hidden: rows of the matrix `cls`; 0 for none.
        act: what bends the hidden layer: "tanh" or an activation function.
        norm: norm of the hidden layer, or None.
        n_labels: rows of the matrix `cls.output`; 0 for none, where the hidden layer is the score.
        softmax: scores become probabilities.
        reads: what it reads: "mean", "cls" or "last".
    """

    d_hidden: int
    act: str = "tanh"
    norm: Norm | None = None
    n_labels: int = 0
    softmax: bool = False
    reads: str = "cls"


@dataclass(frozen=True)
class _Step:
    """One operation: local name of its tap, the tensors it works with, what it computes."""

    name: str
    formula: str
    weights: tuple[str, ...]
    run: Callable[[np.ndarray, Scope], np.ndarray]


@dataclass(frozen=True)
class Pooling:
    """What becomes of the vectors of a text's tokens.

    Attributes:
        d_model: channels.
        kind: one of KINDS.
        classifier: the classification head, or None if the file has none.
        dense: names and rows of the matrices that follow, unless it is a classification.
    """

    d_model: int
    kind: str = "none"
    classifier: Classifier | None = None
    dense: tuple[tuple[str, int], ...] = ()

    @property
    def out(self) -> str | None:
        """Name of the tap of its result; None if it does nothing."""
        steps = self._steps()
        return steps[-1].name if steps else None

    def of_kind(self, kind: str) -> Pooling:
        """Return the same with another kind.

        Raises:
            InputError: there is no such kind, or the file has no classification head for it.
        """
        if kind not in KINDS:
            raise InputError(f"pooling is {kind!r}; it must be one of {', '.join(KINDS)}")
        if kind == "rank" and self.classifier is None:
            raise InputError(
                "the file has no classification head (cls.weight or cls.output.weight) to rank with"
            )
        return replace(self, kind=kind)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with; the file need not have them, and what it has must fit."""
        needs, d_in = [], self.d_model
        for name, d_out in self.dense:
            needs += linear_needs(name, d_out, d_in)
            d_in = d_out
        if self.classifier:
            head, d_in = self.classifier, self.d_model
            if head.d_hidden:
                needs += linear_needs("cls", head.d_hidden, d_in)
                needs += head.norm.needs("cls.norm", head.d_hidden) if head.norm else []
                d_in = head.d_hidden
            needs += linear_needs("cls.output", head.n_labels, d_in) if head.n_labels else []
        return needs

    def taps(self, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        steps = self._steps()
        for step in steps:
            word = WORDS[step.name]
            if self.kind == "none":
                word = replace(
                    word, axes="token d_model", meaning=word.meaning.replace("that", "each token's")
                )
            named = POOLED if step is steps[-1] or (step.name == "pooled" and self.kind != "rank") else None
            word = replace(word, llama_cpp=named)
            weights, formula = step.weights, step.formula
            yield declare(step.name, inputs=[source], weights=weights, formula=formula, word=word)
            source = step.name

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Pool.

        Args:
            x: (token, d_model) float32.
            s: weights and taps.

        Returns:
            (text, d_model) or (text, label) float32, with one text; (token, d_model) for "none".
        """
        for step in self._steps():
            x = s.tap(step.name, np.ascontiguousarray(step.run(x, s), np.float32))
        return x

    def _steps(self) -> list[_Step]:
        steps = []
        reads = self.classifier.reads if self.kind == "rank" else self.kind
        if reads != "none":
            steps.append(_Step("pooled", FORMULAS[reads], (), lambda x, s: _pooled(x, reads, s.numerics)))
        if self.kind == "rank":
            return steps + self._classification(self.classifier)
        for name, _ in self.dense:
            weights = linear_weights(name)
            steps.append(_Step(f"pooled_{name}", "x · Wᵀ", weights, lambda x, s, n=name: s.linear(x, n)))
        return steps

    @staticmethod
    def _classification(head: Classifier) -> list[_Step]:
        steps = []
        if head.d_hidden:
            steps.append(
                _Step("class_dense", "x · Wᵀ", linear_weights("cls"), lambda x, s: s.linear(x, "cls"))
            )
            steps.append(_Step("class_act", f"{head.act}(x)", (), lambda x, s: _bend(head.act, x, s)))
        if head.norm:
            weights = head.norm.weights("cls.norm")
            steps.append(
                _Step("class_norm", head.norm.formula, weights, lambda x, s: head.norm(x, s, "cls.norm"))
            )
        if head.n_labels:
            weights = linear_weights("cls.output")
            steps.append(_Step("class_logits", "x · Wᵀ", weights, lambda x, s: s.linear(x, "cls.output")))
        if head.softmax:
            steps.append(
                _Step("class_probs", "softmax over labels", (), lambda x, s: softmax(x, order=s.order()))
            )
        return steps


def _pooled(x: np.ndarray, kind: str, numerics: str) -> np.ndarray:
    """Return (1, d_model)."""
    if kind == "mean" and numerics == "llama.cpp":  # a product of channels, as rows, with shares of 1 / n
        shares = np.full((1, len(x)), np.float32(1) / np.float32(len(x)), np.float32)
        return linear(shares, np.ascontiguousarray(x.T).view(np.uint8), "F32", numerics)
    if kind == "mean":
        return x.mean(axis=0, dtype=np.float64, keepdims=True)
    return x[:1] if kind == "cls" else x[-1:]


def _bend(act: str, x: np.ndarray, s: Scope) -> np.ndarray:
    return softcap(x, 1.0) if act == "tanh" else activation(act, s.numerics)(x)
