"""Expressions as the formulas of taps write them, with numbers in place of names, brought to their value in steps.

    A · softplus(f + b)   →   −0.12 × softplus(0.3 + 0.1)   →   −0.12 × softplus(0.4)   →   −0.12 × 0.913   →   −0.11

Grammar: sums of products (+ − · /) of numbers, names, brackets and functions of one or two arguments, also squared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.errors import TraceError
from refgguf.viz.scene.overlay import number

TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>[^\W\d²]\w*)|(?P<sign>[()+−·/,²]))"
)
PLAIN: dict[str, Callable[..., float]] = {
    "sigmoid": lambda x: float(1 / (1 + np.exp(-x))),
    "σ": lambda x: float(1 / (1 + np.exp(-x))),
    "softplus": lambda x: float(np.logaddexp(0.0, x)),
    "sqrt_softplus": lambda x: float(np.sqrt(np.logaddexp(0.0, x))),
    "tanh": lambda x: float(np.tanh(x)),
    "exp": lambda x: float(np.exp(x)),
    "relu": lambda x: max(x, 0.0),
    "min": min,
    "cut": lambda x, limit: float(np.clip(x, -limit, limit)),
}


def function(name: str) -> Callable[..., float] | None:
    """Return what a function's name stands for, or None."""
    if name in PLAIN:
        return PLAIN[name]
    from refgguf.kernels.ops.activation import ACTIVATIONS  # brings numba along

    found = ACTIVATIONS.get(name)
    return None if found is None else lambda x: float(found(np.array([x], np.float32))[0])


@dataclass(frozen=True)
class Node:
    """A part of an expression.

    Attributes:
        kind: "number", "sum", "product", "square" or "call".
        value: of a number.
        name: of a function; of a number how the formula writes it, or "".
        parts: what it is made of.
        signs: "+" or "−" before each term of a sum, "·" or "/" before each factor of a product.
    """

    kind: str
    value: float = 0.0
    name: str = ""
    parts: tuple[Node, ...] = ()
    signs: str = ""

    @property
    def text(self) -> str:
        """The expression, with its numbers in three digits."""
        inner = [self._inside(part) for part in self.parts]
        if self.kind == "number":
            return self.name.replace("-", "−") or number(self.value)
        if self.kind == "call":
            return f"{self.name}({', '.join(part.text for part in self.parts)})"
        if self.kind == "square":
            return f"{inner[0]}²"
        between = {"+": " + ", "−": " − ", "·": " × ", "/": " / "}
        text = (
            inner[0] if self.signs[0] != "−" else f"−({inner[0]})" if inner[0][0] == "−" else f"−{inner[0]}"
        )
        for sign, part in zip(self.signs[1:], inner[1:], strict=True):
            minus = part.startswith("−") and self.kind == "sum"
            text += between["−" if minus and sign == "+" else "+" if minus else sign] + part[minus:]
        return text

    def _inside(self, part: Node) -> str:
        looser = part.kind == "sum" and self.kind in ("product", "square", "sum")
        return f"({part.text})" if looser else part.text

    @property
    def known(self) -> bool:
        """Whether all parts are numbers."""
        return all(part.kind == "number" for part in self.parts)

    def step(self) -> Node:
        """Return the expression after one more step: what stands innermost is its value."""
        if self.kind == "number":
            return self
        if self.known:
            return Node("number", self._worth([part.value for part in self.parts]))
        return Node(self.kind, self.value, self.name, tuple(part.step() for part in self.parts), self.signs)

    def _worth(self, x: Sequence[float]) -> float:
        if self.kind == "sum":
            return sum(-v if sign == "−" else v for sign, v in zip(self.signs, x, strict=True))
        if self.kind == "product":
            over = [(1 / v if v else np.inf) if s == "/" else v for s, v in zip(self.signs, x, strict=True)]
            return float(np.prod(over))
        if self.kind == "square":
            return x[0] * x[0]
        return PLAIN[self.name](*x) if self.name in PLAIN else function(self.name)(*x)


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str, numbers: Mapping[str, float]):
        self.numbers, self.at = numbers, 0
        self.tokens = [(m.lastgroup, m[m.lastgroup]) for m in TOKEN.finditer(text)]
        if "".join(t for _, t in self.tokens) != re.sub(r"\s", "", text):
            raise TraceError(f"no expression: {text}")

    def _next(self, wanted: str = "") -> str | None:
        """Return the next token and pass it, if it is one of those wanted."""
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if text and (text in wanted if wanted else kind in ("number", "name")):
            self.at += 1
            return text
        return None

    def sum(self) -> Node:
        signs, parts = self._next("−") or "+", [self.product()]
        while sign := self._next("+−"):
            signs, parts = signs + sign, [*parts, self.product()]
        return Node("sum", parts=tuple(parts), signs=signs) if signs != "+" else parts[0]

    def product(self) -> Node:
        signs, parts = "·", [self.factor()]
        while sign := self._next("·/"):
            signs, parts = signs + sign, [*parts, self.factor()]
        return Node("product", parts=tuple(parts), signs=signs) if len(parts) > 1 else parts[0]

    def factor(self) -> Node:
        found = self._simple()
        return Node("square", parts=(found,)) if self._next("²") else found

    def _simple(self) -> Node:
        if self._next("("):
            inner = self.sum()
            self._close()
            return inner
        word = self._next()
        if word is None:
            raise TraceError("an operand is missing")
        if self._next("("):
            parts = [self.sum()]
            while self._next(","):
                parts.append(self.sum())
            self._close()
            return Node("call", name=word, parts=tuple(parts))
        if word in self.numbers:
            return Node("number", self.numbers[word])
        try:
            return Node("number", float(word), word)
        except ValueError:
            raise TraceError(f"{word} stands for no number") from None

    def _close(self) -> None:
        if not self._next(")"):
            raise TraceError("a bracket is not closed")


def expression(text: str, numbers: Mapping[str, float]) -> Node:
    """Read an expression.

    Args:
        text: the expression.
        numbers: the numbers that names stand for.

    Raises:
        TraceError: it is none, or a name stands for nothing.
    """
    reader = _Reader(text, numbers)
    found = reader.sum()
    if reader.at < len(reader.tokens):
        raise TraceError(f"no expression: {text}")
    return found


def steps(node: Node) -> list[Node]:
    """Return an expression and what becomes of it step by step, its value last."""
    found = [node]
    while found[-1].kind != "number":
        found.append(found[-1].step())
    return found
