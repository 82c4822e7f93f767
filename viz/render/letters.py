"""Letters as signed distance fields in one texture, so that they are sharp at every size.

Each letter is drawn once and remembered; a line of text is a row of them.

Drawn with Open Sans, which vispy brings along; characters that it lacks (Chinese, Arabic, emoji …) come from the
system's fonts where one has them, and are written as their code point where none has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from refgguf.viz.scene.writing import in_visual_order

EM = 52  # pixels of a letter's em in the texture
SPREAD = 7  # pixels over which distances are kept
ASCENT, DESCENT = 1.10, 0.36  # of a line above and below its baseline, in ems
HEIGHT = (ASCENT + DESCENT) * EM + 2 * SPREAD  # of a line with its margin
WIDTH = 1024
# no font has this character: what is drawn for it is a font's picture of "missing"
MISSING = "\U0010fffd"

FOLDERS = {
    "darwin": ["/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"],
    "win32": ["C:/Windows/Fonts"],
}
LINUX_FOLDERS = ["/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"]


def _bundled(bold: bool) -> Path:
    import vispy.util.fonts

    name = f"OpenSans-{'Bold' if bold else 'Regular'}.ttf"
    return Path(vispy.util.fonts.__file__).parent / "data" / name


@cache
def _font(path: Path) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(str(path), 2 * EM, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


@cache
def _system_fonts() -> tuple[Path, ...]:
    """Return the system's fonts, those that are likely to cover much first."""
    found = []
    for folder in FOLDERS.get(sys.platform, LINUX_FOLDERS):
        for root, _, files in os.walk(Path(folder).expanduser()):
            found += [Path(root) / f for f in files if f.lower().endswith((".ttf", ".otf", ".ttc"))]

    def usefulness(path: Path) -> tuple[int, str]:
        name = path.name.lower()
        plain = not any(w in name for w in ("bold", "italic", "oblique", "light", "mono", "serif"))
        wide = any(w in name for w in ("cjk", "noto", "dejavu", "unicode", "wqy", "arialuni"))
        return -2 * plain - wide, name

    return tuple(sorted(found, key=usefulness))


@cache
def _has(path: Path, character: str) -> bool:
    font = _font(path)
    if font is None:
        return False
    try:
        drawn, missing = font.getmask(character), font.getmask(MISSING)
    except OSError:  # a bitmap font has no outlines at this size
        return False
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


@cache
def _path_for(character: str, bold: bool) -> Path | None:
    """Return the font to draw a character with, or None where there is none."""
    bundled = _bundled(bold)
    if character == " " or _has(bundled, character):
        return bundled
    return next((path for path in _system_fonts() if _has(path, character)), None)


def _runs(text: str, bold: bool) -> list[tuple[Path, str]]:
    """Cut a text into stretches that one font can draw."""
    runs: list[tuple[Path, str]] = []
    for character in in_visual_order(text):
        path, shown = _path_for(character, bold), character
        if path is None:
            path, shown = _bundled(bold), f"‹{ord(character):X}›"
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + shown)
        else:
            runs.append((path, shown))
    return runs


@dataclass(frozen=True, eq=False)
class Glyph:
    """One letter.

    Attributes:
        values: (height, width) uint8 from `signed_distance`, with SPREAD pixels of margin on every side.
        left: pixels from the pen's place to the left side of `values`.
        top: pixels from the baseline up to the upper side of `values`.
    """

    values: np.ndarray
    left: int
    top: int


# by font and letter; drawn once in a process
_GLYPHS: dict[tuple[Path, str], Glyph] = {}


def _draw(wanted: Iterable[tuple[Path, str]]) -> None:
    """Draw what has not been drawn yet, all at once: the margins keep letters out of one another's distances."""
    new = [key for key in dict.fromkeys(wanted) if key not in _GLYPHS]
    cells, x = [], 0
    for path, letter in new:
        left, top, right, bottom = _font(path).getbbox(letter, anchor="ls")
        left, top = floor(left / 2) - SPREAD, floor(top / 2) - SPREAD
        width, height = ceil(right / 2) + SPREAD - left, ceil(bottom / 2) + SPREAD - top
        cells.append((x, left, top, width, height))
        x += width
    if not cells:
        return
    image = Image.new("L", (2 * x, 2 * max(height for *_, height in cells)))
    pen = ImageDraw.Draw(image)
    for (path, letter), (x, left, top, _, _) in zip(new, cells, strict=True):
        pen.text((2 * (x - left), -2 * top), letter, font=_font(path), fill=255, anchor="ls")
    values = signed_distance(np.asarray(image))
    for key, (x, left, top, width, height) in zip(new, cells, strict=True):
        _GLYPHS[key] = Glyph(values[:height, x : x + width], left, -top)


@cache
def _kerning(path: Path, pair: str) -> float:
    font = _font(path)
    return font.getlength(pair) - sum(font.getlength(letter) for letter in pair)


@cache
def _advance(path: Path, letter: str) -> float:
    return _font(path).getlength(letter)


@cache
def set_line(text: str, bold: bool) -> tuple[tuple[tuple[tuple[Path, str], float], ...], float]:
    """Set a line of text.

    Args:
        text: what it says.
        bold: whether in bold letters.

    Returns:
        each letter that leaves ink, as font and letter, with the pen's place in ems; how far the line reaches, in ems.
    """
    letters, x = [], 0.0
    for path, words in _runs(text, bold):
        before = ""
        for letter in words:
            x += _kerning(path, before + letter) if before else 0.0
            if not letter.isspace():
                letters.append(((path, letter), x / (2 * EM)))
            x += _advance(path, letter)
            before = letter
    return tuple(letters), x / (2 * EM)


def signed_distance(coverage: np.ndarray) -> np.ndarray:
    """Turn a picture at twice the size into signed distances from its outline.

    Args:
        coverage: (2 height, 2 width) uint8, 255 inside.

    Returns:
        (height, width) uint8: 128 + 127 · distance / SPREAD, inside positive, cut off at SPREAD pixels.
    """
    inside = coverage >= 128
    distance = (_distance(~inside) - _distance(inside)) / 2
    height, width = distance.shape
    distance = distance.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return np.clip(np.rint(128 + 127 * distance / SPREAD), 0, 255).astype(np.uint8)


def _distance(seeds: np.ndarray) -> np.ndarray:
    """Return each pixel's Euclidean distance to the nearest seed, cut off a little above 2 SPREAD pixels."""
    reach = 2 * SPREAD + 1
    place, far = np.arange(seeds.shape[1], dtype=np.int32), np.int32(10 * reach + seeds.shape[1])
    before = np.maximum.accumulate(np.where(seeds, place, -far), axis=1)
    after = np.minimum.accumulate(np.where(seeds, place, far)[:, ::-1], axis=1)[:, ::-1]
    across = np.minimum(np.minimum(place - before, after - place), reach).astype(np.uint16) ** 2
    padded = np.pad(across, [(reach, reach), (0, 0)], constant_values=reach**2)
    best, shifted = across.copy(), np.empty_like(across)
    for step in range(1, reach + 1):
        for window in (
            padded[reach - step : -reach - step],
            padded[reach + step : len(padded) - reach + step],
        ):
            np.add(window, np.uint16(step * step), out=shifted)
            np.minimum(best, shifted, out=best)
    return np.sqrt(best, dtype=np.float32)


class Letters:
    """A texture of the letters that lines of text are made of.

    Attributes:
        values: (rows, WIDTH) uint8.
    """

    def __init__(self, lines: Iterable[tuple[str, bool]]):
        self._lines = {line: set_line(*line) for line in dict.fromkeys(lines)}
        used = list(dict.fromkeys(key for letters, _ in self._lines.values() for key, _ in letters))
        _draw(used)
        # on shelves, the tallest first
        places, x, y, shelf = {}, 0, 0, 0
        for key in sorted(used, key=lambda key: -len(_GLYPHS[key].values)):
            height, width = _GLYPHS[key].values.shape
            if x + width > WIDTH:
                x, y, shelf = 0, y + shelf, 0
            places[key] = x, y
            x, shelf = x + width, max(shelf, height)
        self.values = np.zeros((max(y + shelf, 1), WIDTH), np.uint8)
        for key, (left, top) in places.items():
            height, width = _GLYPHS[key].values.shape
            self.values[top : top + height, left : left + width] = _GLYPHS[key].values
        self._tables = {line: self._table(line, places) for line in self._lines}

    def _table(self, line: tuple[str, bool], places: dict) -> np.ndarray:
        rows = []
        for key, at in self._lines[line][0]:
            glyph = _GLYPHS[key]
            height, width = glyph.values.shape
            rows.append((at + glyph.left / EM, (glyph.top - height) / EM, *places[key], width, height))
        return np.array(rows, np.float32).reshape(-1, 6)

    def length(self, line: tuple[str, bool]) -> float:
        """Return how far a line reaches, in ems."""
        return self._lines[line][1]

    def table(self, line: tuple[str, bool]) -> np.ndarray:
        """Return a line's letters, (letter, 6) float32.

        Columns: left and lower side in ems from the line's beginning on the baseline; left, top, width and height
        in the texture.
        """
        return self._tables[line]
