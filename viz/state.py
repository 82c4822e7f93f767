"""What is shown: a trace, what is known of its model, and how to look at it. No OpenGL, no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from refgguf.taps import Tap
from refgguf.trace import Trace

THEMES = ("light", "dark")


@dataclass(frozen=True)
class Facts:
    """What the title says of a model.

    Attributes:
        name: the model's own name, or its file's.
        details: short facts, in the order in which they are shown ("llama", "Q4_0", …).
        prompt: the text that ran, or "" if it is not known.
        outcome: what came of it: the most likely next token and its probability, or "".
    """

    name: str
    details: tuple[str, ...] = ()
    prompt: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class Shown:
    """What is shown; never changes, a new one replaces it.

    Attributes:
        trace: the values.
        facts: the title.
        taps: every tap of the model, so that edges are followed through those that were not traced; those of the
            trace if empty.
        layers: numbers of the layers to show; all if None.
        token: the position whose predictions are shown and, if `marked`, whose row is outlined.
        marked: whether the user chose that token.
        text_of: readable text of a token id, or None where there is no tokenizer.
        theme: one of THEMES.
    """

    trace: Trace
    facts: Facts
    taps: Mapping[str, Tap] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    token: int = -1
    marked: bool = False
    text_of: Callable[[int], str] | None = None
    theme: str = "light"

    @property
    def graph(self) -> Mapping[str, Tap]:
        """Every known tap with its inputs."""
        return self.taps or self.trace.taps

    @property
    def token_index(self) -> int:
        """The position whose predictions are shown, counted from the first token."""
        return self.token % len(self.trace.tokens)
