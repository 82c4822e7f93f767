"""What lies flat over the picture, in pixels: title, prompt, colour legend.

x runs right, y runs up from the lower edge, as in the world, so that the same pieces and the same shaders serve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from refgguf.viz.scene.framing import Rect
from refgguf.viz.scene.parts import Box, Label
from refgguf.viz.scene.planes import ABSENT, Cut
from refgguf.viz.scene.scale_names import NAMES
from refgguf.viz.scene.scales import Scale
from refgguf.viz.scene.writing import cropped
from refgguf.viz.state import Facts

BENT = "Scales marked * are bent: even near zero, each further step of colour a factor."
STEPS = 25  # cells of a legend bar
MARGIN = 44.0
TITLE_WIDTH = 620.0
TITLE_BESIDE = 430.0  # at the left of a band, at least
WIDE_NOTES = 0.52  # of a band, for the sake of few lines
MOST_COVERED = 0.45  # of the picture
LETTER = 0.56  # width of a letter in ems, rather too much
NOTE_LETTER = 0.49  # the same of sentences
TITLES = 46.0  # from the upper end of a row of legends to its titles
NOTE_LINE, MOST_BESIDE = 19.0, 4  # from line to line beside the last legends, and how many fit
SMALLEST = 0.62  # no picture's words are smaller than this, as a share of those of a 1920 x 1080 picture
BAR, CAP = 150.0, 9.0  # width of a legend bar, and of what lies beyond it
CLOSEST = 0.8  # of a usual pitch, for the sake of one row of legends
PITCH, NARROW = (
    214.0,
    148.0,
)  # from one legend bar to the next; where there is little room, bars become shorter


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


class Pen:
    """Writes and paints in the coordinates of a 1920 x 1080 picture, scaled to the real size.

    Attributes:
        small: the picture is too small for words in proportion to it: they are larger, and fewer.
        pitch: from one legend bar to the next, in pixels.
        starred: whether bent scales are marked, which a note then explains.
    """

    def __init__(self, size: tuple[int, int]):
        self.width, self.height = size
        scale = min(size[0] / 1920, size[1] / 1080)
        self.small = scale < SMALLEST
        self.scale = max(scale, SMALLEST)
        self.pitch = (NARROW if self.small else PITCH) * self.scale
        self.gap = (PITCH - BAR) * self.scale * (0.6 if self.small else 1.0)
        self.margin = MARGIN * self.scale
        self.starred = False
        self.overlay = Overlay()

    def text(self, text: str, x: float, y: float, height: float, **style) -> None:
        """Write a line; x and y in pixels, height in those of a 1920 x 1080 picture, style as of `Label`."""
        self.overlay.labels.append(Label(text, (x, y, 0.0), height * self.scale, **style))

    def bar(
        self, values: np.ndarray, name: str, kind: str, x: float, y: float, width: float, height: float
    ) -> None:
        """Paint cells; x, y, width and height in pixels."""
        plane = Cut("", ("", ""), np.asarray(values, np.float32)[None], ())
        self.overlay.boxes.append(_Swatch(plane, kind, name, None, None, (x, y, 0.0), (width, height, 1.0)))


def make_overlay(
    facts: Facts,
    scales: Mapping[str, Scale],
    notes: Sequence[str],
    size: tuple[int, int],
    place: str | None = None,
    at_left: bool = False,
) -> Overlay:
    """Compose title and legend: in a lower corner, or as a band along the lower edge where one looks closely.

    Args:
        facts: what the title says.
        scales: the scales that are shown, by name.
        notes: sentences for the foot of the legend.
        size: width and height of the picture.
        place: what is looked at closely; None for everything.
        at_left: in the left corner rather than in the right one.

    Returns:
        Nothing where they would leave no room for the scene.
    """
    notes = notes[:1] if Pen(size).small else notes
    paired = ["  ·  ".join(notes[i : i + 2]) for i in range(0, len(notes), 2)]
    for kept in (notes, paired, paired[-1:]):  # sooner without some notes than without title and legend
        pen = Pen(size)
        pen.starred = any(BENT in note for note in kept)
        if place is None:
            _corner(pen, facts, scales, kept, at_left)
        else:
            _band(pen, facts, scales, kept, place)
        if (found := unless_in_the_way(pen.overlay, size)).covers:
            return found
    return Overlay()


def unless_in_the_way(overlay: Overlay, size: tuple[int, int]) -> Overlay:
    """Return what lies over a picture of that size, or nothing where it would leave no room for the scene."""
    covered = sum(
        max(min(right, size[0]) - max(left, 0), 0) * max(min(bottom, size[1]) - max(top, 0), 0)
        for left, top, right, bottom in overlay.covers
    )
    return overlay if covered <= MOST_COVERED * size[0] * size[1] else Overlay()


def _corner(pen: Pen, facts: Facts, scales: Mapping[str, Scale], notes: Sequence[str], at_left: bool) -> None:
    s = pen.scale
    shown = listed(scales)
    longest = max((len(note) for note in notes), default=0) * 13 * s
    room = pen.width - 2 * pen.margin
    at_side = _beside_last(pen, room, len(shown), longest * NOTE_LETTER) if len(notes) <= MOST_BESIDE else 0
    per_row = at_side or _per_row(pen, room, len(shown))
    wide = pen.pitch * min(len(shown), per_row) - pen.gap
    if len(shown) < 3:
        wide = max(wide, min(TITLE_WIDTH * s, pen.width - 2 * pen.margin))  # begins below the title
    longest *= 0.0 if at_side else LETTER
    first = pen.margin + (CAP + 3) * s  # what lies beyond a scale stands before its bar

    def begin(width: float) -> float:
        return first if at_left else max(pen.width - pen.margin - width, pen.margin)

    def cover(width: float, top: float, bottom: float) -> None:
        sides = (0.0, begin(width) + width + 30 * s) if at_left else (begin(width) - 30 * s, pen.width)
        pen.overlay.covers.append((sides[0], pen.height - top, sides[1], pen.height - bottom))

    left, beside = begin(wide), begin(max(wide, longest))  # notes may be wider than the legend
    y = (16 if pen.small and notes else 36 if at_side else 30) * s
    for note in reversed(() if at_side else notes):
        pen.text(note, beside, y, 13, align="left")
        y += 20 * s
    y += (16 if pen.small else 24) * s if notes and not at_side else 0.0
    y = _legends(pen, scales, left, y, per_row, notes if at_side else ())
    foot = (16 if pen.small else 30) * s + 20 * s * len(notes)
    cover(max(wide, longest), foot, 0.0)
    cover(wide, y, 0.0)
    y += (10 if pen.small else 22) * s
    room = min(TITLE_WIDTH * s, pen.width - 2 * pen.margin)
    cover(room, _title(pen, facts, begin(room), room, y) + 8 * s, y)


def _band(pen: Pen, facts: Facts, scales: Mapping[str, Scale], notes: Sequence[str], place: str) -> None:
    """Write the title at the left of a band as wide as the picture, and the legend beside it."""
    s = pen.scale
    shown = listed(scales)
    room = pen.width - 2 * pen.margin
    long = min((sum(map(len, notes)) + 5 * len(notes)) * 13 * LETTER * s, WIDE_NOTES * room)
    title = min(max(TITLE_BESIDE * s, room - max(long, pen.pitch * len(shown)) - 40 * s), room)
    per_row = _per_row(pen, room - title - 40 * s, len(shown))
    if per_row < min(len(shown), 3):  # too narrow for both side by side
        title, per_row = 0.0, _per_row(pen, room, len(shown))
    longest = max(map(len, notes), default=0) * 13 * NOTE_LETTER * s
    fit = title and len(notes) <= MOST_BESIDE
    at_side = _beside_last(pen, room - title - 40 * s, len(shown), longest) if fit else 0
    per_row = at_side or per_row
    left = pen.width - pen.margin - pen.pitch * min(len(shown), per_row) + pen.gap
    left = max(min(left, pen.width - pen.margin - long), pen.margin + title + 40 * s * (title > 0))
    y = (30 if at_side else 22) * s
    words = [] if at_side else _lines(notes, int((pen.width - pen.margin - left) / (13 * LETTER * s)))
    for note in reversed(words):
        pen.text(note, left, y, 13, align="left")
        y += 20 * s
    y += 20 * s if words else 0.0
    top = _legends(pen, scales, left, y, per_row, notes if at_side else ())
    if title:
        fits = int(title / (s * LETTER))
        name = cropped(facts.name, fits // 28)
        pen.text(name, pen.margin, top - 42 * s, 28, align="left", tone="ink", bold=True)
        words = cropped(place, int(title / (18 * s * LETTER)))
        pen.text(words, pen.margin, top - 72 * s, 18, align="left", tone="ink")
        if facts.outcome:
            pen.text(
                f"→ {facts.outcome}", pen.margin, top - 100 * s, 18, align="left", tone="logits", bold=True
            )
    pen.overlay.covers.append((-60.0, pen.height - top - 12 * s, pen.width, pen.height))


def _per_row(pen: Pen, room: float, wanted: int) -> int:
    """Return how many legends fit side by side; for the sake of one row they move closer, but not much."""
    least = CLOSEST * pen.pitch
    if wanted * pen.pitch - pen.gap > room >= wanted * least - pen.gap:
        pen.pitch = (room + pen.gap) / wanted
    return max(1, int((room + pen.gap + 0.5) // pen.pitch))


def _beside_last(pen: Pen, room: float, wanted: int, width: float) -> int:
    """Return how many legends to a row leave so much room beside the last row; 0 where none do.

    For the sake of that they move closer, but not much.
    """
    usual, room = pen.pitch, room + pen.gap
    for per_row in range(
        int(room / usual), 0 if pen.small or not width else min(int(room / (CLOSEST * usual)) + 1, wanted)
    ):
        pitch, left_over = min(usual, room / per_row), -wanted % per_row
        if left_over * pitch - pen.gap >= width:
            pen.pitch = pitch
            return per_row
    return 0


def _notes_beside(pen: Pen, notes: Sequence[str], x: float, first: float) -> None:
    """Write notes beside the last row of legends, the first as high as their titles where there is room below."""
    first = max(first, (22 + NOTE_LINE * (len(notes) - 1)) * pen.scale)
    for number, note in enumerate(notes):
        pen.text(note, x, first - NOTE_LINE * number * pen.scale, 13, align="left")


def _legends(
    pen: Pen, scales: Mapping[str, Scale], left: float, y: float, per_row: int, beside: Sequence[str]
) -> float:
    """Draw all scales, so many to a row, and notes beside the last row; returns where they end."""
    shown = listed(scales)
    odd = any(beyond(scales[k]) for k in shown) and not pen.small
    row = (92 if odd else 62 if pen.small else 72) * pen.scale
    _notes_beside(pen, beside, left + len(shown) % per_row * pen.pitch, y + row - TITLES * pen.scale)
    for start in reversed(range(0, len(shown), per_row)):
        for i, kind in enumerate(shown[start : start + per_row]):
            x, low = left + i * pen.pitch, y + (22 if odd else 2) * pen.scale
            if kind.startswith("type "):
                share_legend(pen, kind, scales, x, low)
            else:
                legend(pen, kind, scales[kind], x, low)
        y += row
    return y


def listed(scales: Mapping[str, Scale]) -> list[str]:
    """Return the names of scales in the order of the legend; tensor types by how many weights they have."""
    types = [name for name in scales if name.startswith("type ")]
    return [name for name in NAMES if name in scales] + sorted(types, key=lambda t: (-scales[t].n_values, t))


def _title(pen: Pen, facts: Facts, left: float, width: float, y: float) -> float:
    s = pen.scale
    room = int(width / (18 * s * LETTER))
    if facts.outcome:
        pen.text(f"→ {facts.outcome}", left, y, 18, align="left", tone="logits", bold=True)
        y += 29 * s
    if facts.prompt:
        pen.text(f"“{cropped(facts.prompt, room)}”", left, y, 18, align="left", tone="ink")
        y += 34 * s
    lines = _lines(facts.details, room)
    for line in reversed(lines[:1] if pen.small else lines):
        pen.text(line, left, y, 18, align="left")
        y += 28 * s
    y += (2 if pen.small else 8) * s
    height = 30 if pen.small else 38
    fits = int(room * 18 / height * 0.95)
    pen.text(cropped(facts.name, fits), left, y, height, align="left", tone="ink", bold=True)
    return y + height * 1.05 * s


def _lines(words: Sequence[str], room: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        joined = f"{lines[-1]}  ·  {word}" if lines else word
        if lines and len(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def legend(pen: Pen, name: str, scale: Scale, x: float, y: float) -> None:
    """Draw one scale: the gradient, what lies beyond it, its numbers."""
    s = pen.scale
    width, height, cap, apart = pen.pitch - pen.gap, 13.0 * s, CAP * s, 3 * s
    title = NAMES[name] + (" *" if pen.starred and scale.knee else "")
    fits = (pen.pitch - 10 * s) / (len(title) * LETTER * s)  # or it would run into the next one
    pen.text(title, x, y + 24 * s, min(15.5, fits), align="left", tone="ink")
    values = scale.unbend(np.linspace(*scale.ends, STEPS if scale.signed else STEPS - 1))
    values[[0, -1]] = scale.low, scale.high
    pen.bar(values, name, scale.kind, x, y, width, height)
    if scale.minimum < scale.low:
        pen.bar(np.array([scale.minimum]), name, scale.kind, x - cap - apart, y, cap, height)
    if scale.maximum > scale.high:
        pen.bar(np.array([scale.maximum]), name, scale.kind, x + width + apart, y, cap, height)
    write = scaled if name == "parameters" else number
    for text, at, align in _figures(scale, width, 13 * LETTER * s, write):
        pen.text(text, x + at, y - 17 * s, 13, align=align)
    words = "" if pen.small else beyond(scale)
    if words:
        pen.text(words, x, y - 35 * s, 12, align="left")


def share_legend(pen: Pen, name: str, scales: Mapping[str, Scale], x: float, y: float) -> None:
    """Draw the colour of a tensor type, as much of a bar as the type has of the weights."""
    s = pen.scale
    width, height = pen.pitch - pen.gap, 13.0 * s
    share = scales[name].n_values / sum(scale.n_values for scale in scales.values())
    filled = max(share * width, height)  # the least is still seen as a colour
    pen.text(name.removeprefix("type "), x, y + 24 * s, 15.5, align="left", tone="ink")
    pen.bar(np.ones(1), name, scales[name].kind, x, y, filled, height)
    if width - filled > 2:
        pen.bar(np.array([ABSENT]), name, scales[name].kind, x + filled, y, width - filled, height)
    pen.text(share_words(share), x, y - 17 * s, 13, align="left")


def share_words(share: float) -> str:
    """Write a share in per cent; less than everything never reads as 100 %."""
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{number(100 * share)} %"


def _figures(
    scale: Scale, width: float, letter: float, write: Callable[[float], str]
) -> list[tuple[str, float, str]]:
    """Return the numbers below a bar: text, place and alignment; those half way only if they stand clear of others.

    Args:
        scale: the scale.
        width: of the bar, in pixels.
        letter: mean width of a letter.
        write: writes a number.
    """
    plus = "" if scale.knee else "+"
    high = write(scale.high)
    ends = [(f"−{high}" if scale.signed else "0", 0.0, "left")]
    ends.append((f"{plus}{high}" if scale.signed else high, width, "right"))
    if scale.signed:
        ends.append(("0", width / 2, "center"))
    if not scale.knee:
        return ends
    half = float(scale.unbend(np.array(scale.ends[1] / 2)))  # no half of the end: the scale is bent
    halves = [(write(float(f"{half:.2g}")), width * (0.75 if scale.signed else 0.5), "center")]
    if scale.signed:
        halves.append((write(float(f"{-half:.2g}")), width * 0.25, "center"))
    out = len(ends[0][0]) * letter * 0.35  # ends stand a little outside, so that all have room
    ends[0], ends[1] = (ends[0][0], -out, "left"), (ends[1][0], width + out, "right")
    taken = sorted(_span(*figure, letter) for figure in ends + halves)
    clear = all(b[0] - a[1] > 0.5 * letter for a, b in pairwise(taken))
    return ends + halves if clear else ends


def _span(text: str, at: float, align: str, letter: float) -> tuple[float, float]:
    """Return where a text begins and ends."""
    back = {"left": 0.0, "center": 0.5, "right": 1.0}[align] * len(text) * letter
    return at - back, at - back + len(text) * letter


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


def number(value: float, digits: int = 3) -> str:
    """Write a number in few digits, with a real minus sign."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def scaled(number: float) -> str:
    """Write a count in three digits: 293 K, 1.24 B."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
