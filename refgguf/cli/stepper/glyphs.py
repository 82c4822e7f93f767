"""Values as characters: bars about a zero line, rows of signs, shades. Colour adds to them, none needs it."""

from __future__ import annotations

import numpy as np
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.style import Style
from rich.text import Text

# hues for positive and negative values of each kind of tensor, as in the viewer; mid-tones that both a dark
# and a light background carry
HUES = {
    "embedding": ((224, 122, 47), (58, 124, 224)),
    "residual": ((224, 122, 47), (58, 124, 224)),
    "norm": ((224, 122, 47), (58, 124, 224)),
    "qkv": ((214, 158, 30), (22, 156, 156)),
    "attention": ((143, 92, 240), (120, 126, 140)),
    "ffn": ((46, 168, 88), (214, 84, 140)),
    "router": ((190, 110, 60), (90, 120, 160)),
    "state": ((30, 160, 200), (200, 90, 90)),
    "logits": ((222, 70, 92), (90, 110, 190)),
}
UP = " ▁▂▃▄▅▆▇█"  # eighths, from the zero line upwards
DOWN = " ▔▀█"  # what Unicode has for bars that hang: one eighth, a half, all
FAINT, STRONG = 0.12, 0.5  # shares of the largest value from which a sign is drawn small and large
SHADES = " ░▒▓█"


def hue(kind: str, negative: bool = False) -> Style:
    """Return the colour of a kind of tensor."""
    return _style(HUES.get(kind, HUES["residual"])[1 if negative else 0])


def _style(rgb: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_triplet(ColorTriplet(*rgb)))


def pooled(values: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Shorten a row of values to a width: each cell keeps the value of largest magnitude in its share.

    Args:
        values: (n,) numbers.
        width: most cells.

    Returns:
        (cell,) float64, and how many values a cell stands for.
    """
    flat = np.nan_to_num(values.reshape(-1).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    each = -(-flat.size // max(width, 1))
    if each <= 1:
        return flat, 1
    padded = np.zeros(-(-flat.size // each) * each)
    padded[: flat.size] = flat
    groups = padded.reshape(-1, each)
    return groups[np.arange(len(groups)), np.abs(groups).argmax(axis=1)], each


def scale_of(values: np.ndarray) -> float:
    """Return the largest magnitude, by which values are drawn; 1 where there is none."""
    finite = values[np.isfinite(values)]
    most = float(np.abs(finite).max()) if finite.size else 0.0
    return most or 1.0


def bars(values: np.ndarray, kind: str, width: int, height: int = 1) -> tuple[list[Text], int]:
    """Draw a row of values as bars about a zero line.

    Args:
        values: (n,) numbers.
        kind: of tensor, for the hue.
        width: most characters.
        height: lines above zero, and below it where there are negative values.

    Returns:
        The lines, and how many values a bar stands for.
    """
    cells, each = pooled(values, width)
    heights = cells / scale_of(cells) * height
    lines = [Text(_line(heights, row, UP), style=hue(kind)) for row in reversed(range(height))]
    below = [Text(_line(-heights, row, DOWN), style=hue(kind, negative=True)) for row in range(height)]
    return lines + [line for line in below if line.plain.strip()], each


def _line(heights: np.ndarray, row: int, glyphs: str) -> str:
    """Return one line of bars, `row` lines away from zero: what of each height, in lines, reaches into it."""
    steps = len(glyphs) - 1
    return "".join(glyphs[int(n)] for n in np.clip(np.round((heights - row) * steps), 0, steps))


def signs(values: np.ndarray, kind: str, width: int, scale: float | None = None, widest: int = 1) -> Text:
    """Draw a row of values in one line: positive ones at the top of their cell, negative ones at the bottom.

    Args:
        values: (n,) numbers.
        kind: of tensor, for the hue.
        width: most characters.
        scale: the value that is drawn strongest; the largest of these if None.
        widest: most characters for one value, where there is room.
    """
    cells, _ = pooled(values, width)
    scale, each = scale or scale_of(cells), max(1, min(widest, width // max(1, cells.size)))
    line = Text()
    for value in cells:
        share = abs(value) / scale
        if share < FAINT:
            line.append("·" * each, Style(dim=True))
        elif value > 0:
            line.append(("▀" if share >= STRONG else "▔") * each, hue(kind))
        else:
            line.append(("▄" if share >= STRONG else "▁") * each, hue(kind, negative=True))
    return line


def shades(values: np.ndarray, kind: str, width: int) -> Text:
    """Draw shares between 0 and 1 as shades."""
    cells, _ = pooled(values, width)
    return Text("".join(SHADES[_shade(v)] for v in cells), style=hue(kind))


def _shade(share: float) -> int:
    # anything that is not nothing shows: a share of 2 % gets the lightest shade
    return 0 if share < 0.02 else min(4, 1 + int(share * 4))


def meter(share: float, width: int, kind: str) -> Text:
    """Draw a share between 0 and 1 as a bar of at most `width` characters, in eighths."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else ""), style=hue(kind))


def number(value: float) -> str:
    """Return a number with its sign in four significant digits: +1.234, -0.0005, +3.1e+06."""
    if not np.isfinite(value):
        return str(float(value))
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e5 or size < 1e-4:
        return f"{value:+.2e}"
    digits = max(0, min(6, 3 - int(np.floor(np.log10(size)))))
    return f"{value:+.{digits}f}"


def quoted(text: str) -> str:
    """Return a token's text so that blanks and line ends are seen: `" upon"`, `"⏎"`."""
    return f'"{visible(text)}"'


def visible(text: str) -> str:
    """Return text with control characters replaced by signs for them."""
    signs = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
    return "".join(signs.get(c, c if c.isprintable() else "·") for c in text)
