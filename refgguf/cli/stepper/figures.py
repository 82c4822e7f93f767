"""The picture of a token's values: bars of a vector, rows of heads, a table of a pattern, a list of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from refgguf.cli.stepper import glyphs
from refgguf.cli.stepper.glyphs import number, quoted, visible

if TYPE_CHECKING:
    from refgguf.cli.stepper.slices import Slice
    from refgguf.cli.stepper.walk import Walk

BOLD, DIM = Style(bold=True), Style(dim=True)
MOST_ROWS = 16
MOST_WIDTH = 128
CELL = 7  # a key's column in a pattern
BEST = 8  # candidates shown of a whole vocabulary


def figure(walk: Walk, here: Slice, width: int, height: int = 1) -> list[Text]:
    """Draw the values of one token.

    Args:
        walk: where we are.
        here: the values.
        width: most characters in a line.
        height: lines for bars on each side of zero.
    """
    kind, width = walk.current.kind, min(width, MOST_WIDTH)
    if here.axes in (("head", "key"), ("head", "source")):
        return pattern(walk, here, width)
    if here.axes == ("vocab",):
        return scores(walk, here)
    if here.values.dtype.kind in "iu":
        return [Text("  ".join(map(str, here.values.reshape(-1)[:32])), style=BOLD)]
    if here.values.ndim >= 2:
        return rows(here, kind, width)
    return vector(here, kind, width, height)


def vector(here: Slice, kind: str, width: int, height: int = 1) -> list[Text]:
    """Draw a vector as bars about zero, with its first values below."""
    flat = here.values.reshape(-1)
    lines, each = glyphs.bars(flat, kind, width, height)
    first = "  ".join(number(v) for v in flat[:6])
    note = f"each bar: the strongest of {each} values; " if each > 1 else ""
    return [*lines, Text(f"{note}values: {first}{' …' if flat.size > 6 else ''}", style=DIM)]


def rows(here: Slice, kind: str, width: int) -> list[Text]:
    """Draw one line for each head (or slot), all to the same scale, with the length of each."""
    table = here.values.reshape(len(here.values), -1)
    word, scale = here.axes[0], glyphs.scale_of(table)
    label = len(f"{word} {len(table) - 1}") + 2
    room = width - label - 12
    lines = []
    for i, row in enumerate(table[:MOST_ROWS]):
        norm = float(np.linalg.norm(np.nan_to_num(row.astype(np.float64))))
        strip = glyphs.signs(row, kind, room, scale, widest=4)
        size = (f"  |x| {number(norm).lstrip('+')}", DIM)
        lines.append(Text.assemble((f"{word} {i}".ljust(label), DIM), strip, size))
    return lines + _more(len(table), word)


def pattern(walk: Walk, here: Slice, width: int) -> list[Text]:
    """Draw what each head looks at: a column for each key, or of long texts the keys looked at most."""
    shares = _is_shares(here.values)
    keys = here.values.shape[1]
    label = len(f"head {len(here.values) - 1}") + 2
    fits = max(1, (width - label) // CELL)
    if keys > fits and shares:
        return _pattern_in_words(walk, here, width, label)
    columns = np.arange(max(0, keys - fits), keys)
    title = Text.assemble((("…" if keys > fits else "").rjust(label), DIM))
    for key in columns:
        title.append(
            set_cell_size(visible(walk.label(int(key), here.axes[1])).strip() or "␣", CELL - 1) + " ", BOLD
        )
    lines = [title]
    for head, row in enumerate(here.values[:MOST_ROWS]):
        line = Text.assemble((f"head {head}".ljust(label), DIM))
        for key in columns:
            line.append_text(
                _share(float(row[key])) if shares else _score(float(row[key]), walk.current.kind)
            )
        lines.append(line)
    return lines + _more(len(here.values), "head")


def _is_shares(values: np.ndarray) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1.001)


def _share(share: float) -> Text:
    text = f"{share:4.0%}" if share >= 0.005 else "   ·"
    cell = Text.assemble((text, glyphs.hue("attention") if share >= 0.05 else DIM))
    return Text.assemble(cell, (glyphs.SHADES[glyphs._shade(share)] * 2 + " ", glyphs.hue("attention")))


def _score(score: float, kind: str) -> Text:
    if not np.isfinite(score):
        return Text("masked".ljust(CELL), style=DIM)
    return Text(f"{score:+.1f}".ljust(CELL), style=glyphs.hue(kind, negative=score < 0))


def _pattern_in_words(walk: Walk, here: Slice, width: int, label: int) -> list[Text]:
    lines = []
    strip = min(here.values.shape[1], max(16, width // 3))
    for head, row in enumerate(here.values[:MOST_ROWS]):
        line = Text.assemble((f"head {head}".ljust(label), DIM), glyphs.shades(row, "attention", strip), "  ")
        for key in np.argsort(-row, kind="stable")[:4]:
            part = f"{quoted(walk.label(int(key), here.axes[1]))}@{int(key)} {row[key]:.0%}  "
            if line.cell_len + cell_len(part) <= width:
                line.append(part, Style() if row[key] >= 0.05 else DIM)
        lines.append(line)
    return lines + _more(len(here.values), "head")


def scores(walk: Walk, here: Slice) -> list[Text]:
    """List the best entries of a vocabulary with their scores and probabilities."""
    from refgguf.cli.stepper.guesses import probabilities

    probs = probabilities(here.values)
    lines = []
    for rank, token in enumerate(np.argsort(-probs, kind="stable")[:BEST], 1):
        text = quoted(walk.model.token_text(int(token)))
        line = Text.assemble(f"{rank}  ", (set_cell_size(text, 18), BOLD), (f"token {token}".ljust(14), DIM))
        line.append(f"{number(float(here.values[token]))}".ljust(10)).append(f"{probs[token]:6.1%}  ")
        lines.append(line.append_text(glyphs.meter(float(probs[token]), 32, "logits")))
    return lines


def _more(count: int, word: str) -> list[Text]:
    left = count - MOST_ROWS
    return [Text(f"… and {left} more: {word} {MOST_ROWS} … {count - 1}", style=DIM)] if left > 0 else []
