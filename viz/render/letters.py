"""Lines of text as signed distance fields in one texture, so that they are sharp at every size.

Drawn with Open Sans, which vispy brings along; characters that it lacks (Chinese, Arabic, emoji …) come from the
system's fonts where one has them, and are written as their code point where none has.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

EM = 52  # pixels of a letter's em in the texture
SPREAD = 7  # pixels over which distances are kept
ASCENT, DESCENT = 1.10, 0.36  # of a line above and below its baseline, in ems
HEIGHT = round((ASCENT + DESCENT) * EM) + 2 * SPREAD  # of a line with its margin
WIDTH = 4096
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
    for character in text:
        path, shown = _path_for(character, bold), character
        if path is None:
            path, shown = _bundled(bold), f"‹{ord(character):X}›"
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + shown)
        else:
            runs.append((path, shown))
    return runs


@cache
def draw_line(text: str, bold: bool) -> tuple[np.ndarray, float]:
    """Draw a line of text.

    Args:
        text: what it says.
        bold: whether in bold letters.

    Returns:
        (height, width) uint8 signed distances, 128 on the outline, with SPREAD pixels of margin on every side; and
        how far the line reaches, in ems.
    """
    runs = [(_font(path), words) for path, words in _runs(text, bold)]
    length = sum(font.getlength(words) for font, words in runs)
    width = min(int(np.ceil(length / 2)) + 2 * SPREAD + 1, WIDTH)
    image = Image.new("L", (2 * width, 2 * HEIGHT))
    pen = ImageDraw.Draw(image)
    x = 2.0 * SPREAD
    for font, words in runs:
        pen.text((x, 2 * (SPREAD + ASCENT * EM)), words, font=font, fill=255, anchor="ls")
        x += font.getlength(words)
    return signed_distance(np.asarray(image)), length / (2 * EM)


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
    place = np.arange(seeds.shape[1], dtype=np.float32)
    before = np.maximum.accumulate(np.where(seeds, place, -np.float32(1e4)), axis=1)
    after = np.minimum.accumulate(np.where(seeds, place, np.float32(1e4))[:, ::-1], axis=1)[:, ::-1]
    across = np.minimum(np.minimum(place - before, after - place), reach) ** 2
    padded = np.pad(across, [(reach, reach), (0, 0)], constant_values=reach**2)
    best = across.copy()
    for step in range(1, reach + 1):
        for window in (
            padded[reach - step : -reach - step],
            padded[reach + step : len(padded) - reach + step],
        ):
            np.minimum(best, window + np.float32(step * step), out=best)
    return np.sqrt(best)


class Letters:
    """A texture of lines of text.

    Attributes:
        values: (rows, WIDTH) uint8.
    """

    def __init__(self, lines: list[tuple[str, bool]]):
        self.places: dict[tuple[str, bool], tuple[float, float, float, float]] = {}
        self.lengths: dict[tuple[str, bool], float] = {}
        drawn = {line: draw_line(*line) for line in dict.fromkeys(lines)}
        x = y = 0
        height = HEIGHT
        for line, (picture, length) in drawn.items():
            if x + picture.shape[1] > WIDTH:
                x, y = 0, y + height
            self.places[line] = (x, y, picture.shape[1], height)
            self.lengths[line] = length
            x += picture.shape[1]
        self.values = np.zeros((y + height, WIDTH), np.uint8)
        for line, (left, top, width, tall) in self.places.items():
            self.values[top : top + tall, left : left + width] = drawn[line][0]
