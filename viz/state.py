"""What is shown: a trace, what is known of its model, and how to look at it. No OpenGL, no Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from refgguf.taps import Tap
from refgguf.trace import Trace

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.tensor import Tensor

THEMES = ("light", "dark")
FLOWS = ("stream", "logit")
GRIDS = ("heads",)
# what the colours of a file's weights may say: all but the values without decoding anything
COLOURINGS = ("values", "bits", "type", "parameters")
USUAL_ASPECT = 16 / 9  # width of a picture over its height
MOST_DECODED = 20_000_000  # weights that are decoded without being asked for


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
class ArcChoice:
    """Which attention is drawn as arcs between tokens.

    Attributes:
        layer: number of the layer; None for every layer.
        head: number of the head; None for the mean over heads.
        by_value: what is taken is weighed by the length of the value that is mixed in.
    """

    layer: int | None = None
    head: int | None = None
    by_value: bool = False


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
        lens: scores of the vocabulary that a residual stream (token, d_model) would give if it were the last layer's
            (the logit lens), or None where the model is not at hand.
        theme: one of THEMES.
        arcs: which attention is drawn as arcs between tokens; None for none.
        flow: what the edges into the residual stream are weighed by: what they add to its length ("stream") or to the
            score of the most likely next token ("logit"); None for not at all.
        reads: from `contributions.reader_of`, or None where the model is not at hand.
        weights: the file's tensors by name.
        grid: whether every head's attention pattern is shown, layers by heads, instead of the whole pass.
        aspect: width over height of the picture that it is laid out for.
    """

    trace: Trace
    facts: Facts
    taps: Mapping[str, Tap] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    token: int = -1
    marked: bool = False
    text_of: Callable[[int], str] | None = None
    lens: Callable[[np.ndarray], np.ndarray] | None = None
    theme: str = "light"
    arcs: ArcChoice | None = None
    flow: str | None = None
    reads: Callable[[np.ndarray, int], tuple[np.ndarray, float]] | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    grid: bool = False
    aspect: float = USUAL_ASPECT

    @property
    def graph(self) -> Mapping[str, Tap]:
        """Every known tap with its inputs."""
        return self.taps or self.trace.taps

    @property
    def source_texts(self) -> list[str]:
        """Texts of the tokens that an encoder has read; none where there is one text."""
        ids = self.trace.model.get("source") or ()
        return [self.text_of(int(i)) if self.text_of else f"#{i}" for i in ids]

    @property
    def token_index(self) -> int:
        """The position whose predictions are shown, counted from the first token."""
        return self.token % len(self.trace.tokens)


@dataclass(frozen=True)
class ShownFile:
    """A file whose tensors are shown, nothing run; never changes.

    Attributes:
        file: the open file.
        facts: the title.
        taps: every tap of the model, for edges; empty if it cannot be run.
        layers: numbers of the layers to show; all if None.
        colour: one of COLOURINGS: decoded "values", "bits" per weight, tensor "type", or "parameters" in each box.
        theme: one of THEMES.
        n_heads: query heads by layer.
        n_kv_heads: key/value heads by layer.
        reference: a file whose weights these are measured against: colours are errors then; None for none.
        aspect: width over height of the picture that it is laid out for.
    """

    file: GGUFFile
    facts: Facts
    taps: Mapping[str, Tap] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    colour: str = "bits"
    theme: str = "light"
    n_heads: tuple[int, ...] = ()
    n_kv_heads: tuple[int, ...] = ()
    reference: GGUFFile | None = None
    aspect: float = USUAL_ASPECT

    @property
    def reads_much(self) -> bool:
        """Whether showing it takes long, since many weights are decoded."""
        decodes = self.colour == "values" or self.reference is not None
        return decodes and self.file.n_values > MOST_DECODED

    @property
    def next_colour(self) -> str:
        """The colouring that follows on the present one; values only where decoding them takes no time."""
        offered = [c for c in COLOURINGS if c != "values" or self.file.n_values <= MOST_DECODED]
        at = offered.index(self.colour) if self.colour in offered else -1
        return offered[(at + 1) % len(offered)]

    def heads(self, part: str, layer: int | None) -> int:
        """Return how many heads a matrix such as "attn_q" holds, 1 if it holds none."""
        counts = {"attn_q": self.n_heads, "attn_k": self.n_kv_heads, "attn_v": self.n_kv_heads}.get(part, ())
        return counts[layer] if layer is not None and layer < len(counts) else 1


def same_kind(one: Shown | ShownFile, other: Shown | ShownFile) -> bool:
    """Tell whether both are runs, or grids of heads, or files: seen from one place, they look alike."""
    return type(one) is type(other) and getattr(one, "grid", False) == getattr(other, "grid", False)
