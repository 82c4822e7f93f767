"""What lies flat over the picture, in pixels: title, prompt, colour legend.

x runs right, y runs up from the lower edge, as in the world, so that the same pieces and the same shaders serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.scene.framing import Rect
from refgguf.viz.scene.parts import Box, Label
from refgguf.viz.scene.planes import Cut
from refgguf.viz.scene.scales import Scale
from refgguf.viz.state import Facts

NAMES = {
    "residual": "residual stream",
    "qkv": "queries, keys",
    "values": "values",
    "inner": "inside the mixer",
    "attention": "attention",
    "ffn": "feed-forward",
    "router": "router",
    "state": "state",
    "logits": "logits",
    "bits residual": "embedding, norms",
    "bits attention": "attention",
    "bits ffn": "feed-forward",
    "bits router": "router",
    "bits state": "recurrent",
    "bits logits": "output",
    "weights residual": "embedding",
    "weights attention": "attention",
    "weights ffn": "feed-forward",
    "weights router": "router",
    "weights state": "recurrent",
    "weights logits": "output",
    "error": "relative error",
    "vectors residual": "norms, vectors",
    "vectors attention": "attention vectors",
    "vectors ffn": "ffn vectors",
    "vectors state": "state vectors",
}
STEPS = 25  # cells of a legend bar
MARGIN = 44.0
TITLE_WIDTH = 620.0
MOST_COVERED = 0.45  # of the picture
LETTER = 0.56  # mean width of a letter in ems


@dataclass(eq=False)
class Overlay:
    """Pieces in pixels, and the part of the picture that they cover."""

    labels: list[Label] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    covers: list[Rect] = field(default_factory=list)
    cards: list[Rect] = field(default_factory=list)


class _Swatch(Box):
    """A bar of the legend; its role is the name of its scale."""

    @property
    def scale(self) -> str:
        return self.role


class _Pen:
    """Writes and paints in the coordinates of a 1920 x 1080 picture, scaled to the real size."""

    def __init__(self, size: tuple[int, int]):
        self.width, self.height = size
        self.scale = max(min(size[0] / 1920, size[1] / 1080), 0.45)
        self.overlay = Overlay()

    def text(self, text: str, x: float, y: float, height: float, **style) -> None:
        self.overlay.labels.append(Label(text, (x, y, 0.0), height * self.scale, **style))

    def bar(
        self, values: np.ndarray, name: str, kind: str, x: float, y: float, width: float, height: float
    ) -> None:
        plane = Cut("", ("", ""), np.asarray(values, np.float32)[None], ())
        size = (width * self.scale, height * self.scale, 1.0)
        self.overlay.boxes.append(_Swatch(plane, kind, name, None, None, (x, y, 0.0), size))


def make_overlay(
    facts: Facts, scales: Mapping[str, Scale], notes: Sequence[str], size: tuple[int, int]
) -> Overlay:
    """Compose title and legend at the lower right; none where they would leave no room for the scene.

    Args:
        facts: what the title says.
        scales: the scales that are shown, by name.
        notes: sentences for the foot of the legend.
        size: width and height of the picture.
    """
    overlay = _compose(facts, scales, notes, size)
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in overlay.covers)
    return overlay if covered <= MOST_COVERED * size[0] * size[1] else Overlay()


def _compose(
    facts: Facts, scales: Mapping[str, Scale], notes: Sequence[str], size: tuple[int, int]
) -> Overlay:
    pen = _Pen(size)
    s = pen.scale
    shown = [k for k in NAMES if k in scales]
    pitch = 214 * s
    width = pitch * len(shown) - 46 * s
    per_row = max(1, int((size[0] - 2 * MARGIN * s + 46 * s) // pitch))
    width = min(width, pitch * per_row - 46 * s)
    left = size[0] - MARGIN * s - width
    y = 30 * s
    longest = max((len(note) for note in notes), default=0) * 13 * LETTER * s
    beside = max(min(left, size[0] - MARGIN * s - longest), MARGIN * s)  # notes may be wider than the legend
    for note in reversed(notes):
        pen.text(note, beside, y, 13, align="left")
        y += 20 * s
    y += 12 * s
    rows = [shown[i : i + per_row] for i in range(0, len(shown), per_row)]
    for row in reversed(rows):
        for i, kind in enumerate(row):
            _legend(pen, kind, scales[kind], left + i * pitch, y + 22 * s)
        y += 92 * s
    pen.overlay.covers.append((min(left, beside) - 30 * s, size[1] - y, size[0], size[1]))
    y += 22 * s
    left = max(size[0] - (MARGIN + TITLE_WIDTH) * s, MARGIN * s)
    top = _title(pen, facts, left, y)
    pen.overlay.covers.append((left - 30 * s, size[1] - top - 8 * s, size[0], size[1] - y))
    return pen.overlay


def _title(pen: _Pen, facts: Facts, left: float, y: float) -> float:
    s = pen.scale
    room = int((pen.width - left - MARGIN * s) / (18 * s * LETTER))
    if facts.outcome:
        pen.text(f"→ {facts.outcome}", left, y, 18, align="left", tone="logits", bold=True)
        y += 29 * s
    if facts.prompt:
        pen.text(f"“{_cropped(facts.prompt, room)}”", left, y, 18, align="left", tone="ink")
        y += 34 * s
    for line in reversed(_lines(facts.details, room)):
        pen.text(line, left, y, 18, align="left")
        y += 28 * s
    y += 8 * s
    pen.text(_cropped(facts.name, int(room / 2.1)), left, y, 38, align="left", tone="ink", bold=True)
    return y + 40 * s


def _lines(words: Sequence[str], room: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        joined = f"{lines[-1]}  ·  {word}" if lines else word
        if lines and len(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def _cropped(text: str, room: int) -> str:
    """Return a text of at most so many letters, its middle left out."""
    text = " ".join(text.split())
    if len(text) <= room:
        return text
    tail = max((room - 3) // 2, 1)
    return f"{text[: room - 3 - tail].rstrip()} … {text[-tail:].lstrip()}"


def _legend(pen: _Pen, name: str, scale: Scale, x: float, y: float) -> None:
    """Draw one scale: the gradient, what lies beyond it, its numbers."""
    s = pen.scale
    width, height, cap = 150.0, 13.0, 9.0
    pen.text(NAMES[name], x, y + 24 * s, 15.5, align="left", tone="ink")
    values = scale.unbend(np.linspace(*scale.ends, STEPS if scale.signed else STEPS - 1))
    values[[0, -1]] = scale.low, scale.high
    pen.bar(values, name, scale.kind, x, y, width, height)
    below, above = scale.minimum < scale.low, scale.maximum > scale.high
    if below:
        pen.bar(np.array([np.finfo(np.float32).min / 4]), name, scale.kind, x - (cap + 3) * s, y, cap, height)
    if above:
        pen.bar(
            np.array([np.finfo(np.float32).max / 4]), name, scale.kind, x + (width + 3) * s, y, cap, height
        )
    low = f"−{number(scale.high)}" if scale.signed else "0"
    high = f"+{number(scale.high)}" if scale.signed else number(scale.high)
    pen.text(low, x, y - 17 * s, 13, align="left")
    pen.text(high, x + width * s, y - 17 * s, 13, align="right")
    if scale.signed:
        pen.text("0", x + width / 2 * s, y - 17 * s, 13)
    if scale.knee:  # what stands half way to the end, since it is no half of it
        half = scale.unbend(np.array(scale.ends[1] / 2))
        for side in (-1, 1) if scale.signed else (1,):
            at = x + width * (0.5 + side * 0.25 if scale.signed else 0.5) * s
            pen.text(number(side * float(half), plus=True), at, y - 17 * s, 13)
    words = beyond(scale)
    if words:
        pen.text(words, x, y - 35 * s, 12, align="left")


def beyond(scale: Scale) -> str:
    """Say what does not fit a scale: how many values, how far, how many that are no numbers."""
    words = []
    if scale.n_beyond:
        far = scale.minimum if -scale.minimum > scale.maximum else scale.maximum
        words.append(f"{scale.n_beyond:,} beyond, up to {number(far)}")
    if scale.n_nan:
        words.append(f"{scale.n_nan:,} NaN")
    if scale.n_infinite:
        words.append(f"{scale.n_infinite:,} infinite")
    return " · ".join(words)


def number(value: float, *, plus: bool = False) -> str:
    """Write a number in few digits, with a real minus sign, and a plus sign if wanted."""
    text = f"{value:+.2g}" if plus else f"{value:.3g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")
