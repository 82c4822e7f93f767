"""Texts as the window's fonts can show them: what no font has is written as its code point, as in the scene."""

from __future__ import annotations

from functools import cache

from PySide6.QtGui import QTextLayout
from PySide6.QtWidgets import QLabel

from refgguf.viz.scene.writing import isolated

BREAK = "\u200b"  # where a line may end
EVERYWHERE = 0x250  # below this code point every font has all letters


@cache
def _is_drawn(character: str) -> bool:
    """Tell whether any font of the system has a character."""
    layout = QTextLayout(character)
    layout.beginLayout()
    layout.createLine()
    layout.endLayout()
    return all(index for run in layout.glyphRuns() for index in run.glyphIndexes())


def legible(text: str) -> str:
    """Return a text in which every character can be read, and punctuation keeps its place beside Hebrew and Arabic."""
    if text.isascii():
        return text
    shown = (c if ord(c) < EVERYWHERE or _is_drawn(c) else f"‹{ord(c):X}›" for c in text)
    return isolated("".join(shown))


class Words(QLabel):
    """A label whose text is always legible."""

    def setText(self, text: str) -> None:
        """Show a text; Qt's name for it."""
        super().setText(legible(text).replace("›‹", f"›{BREAK}‹"))
