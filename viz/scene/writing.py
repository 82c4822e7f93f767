"""How texts are written: which way letters run (Hebrew, Arabic), how wide they are (Chinese), what is left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import groupby

LEFTWARD = ("R", "AL", "AN")  # bidirectional classes of Unicode
ISOLATE, END = "\u2068", "\u2069"  # what stands between them has an order of its own


def with_leftward(text: str, change: Callable[[str], str]) -> str:
    """Change each stretch of a text that runs from right to left, with the blanks and marks between its letters."""
    classes = [unicodedata.bidirectional(c) for c in text]
    if not any(c in LEFTWARD for c in classes):
        return text
    runs = [[way, "".join(text[i] for i in members)] for way, members in _grouped(classes)]
    joined: list[list] = []
    for i, (way, words) in enumerate(runs):
        between = way == "neutral" and joined and joined[-1][0] == "left" and i + 1 < len(runs)
        way = "left" if between and runs[i + 1][0] == "left" else way
        if joined and joined[-1][0] == way == "left":
            joined[-1][1] += words
        else:
            joined.append([way, words])
    return "".join(change(words) if way == "left" else words for way, words in joined)


def _grouped(classes: list[str]):
    def way(i: int) -> str:
        if classes[i] in LEFTWARD or classes[i] == "NSM":  # marks belong to the letters that they stand on
            return "left"
        return "neutral" if classes[i] == "WS" else "right"

    return groupby(range(len(classes)), key=way)


def in_visual_order(text: str) -> str:
    """Return a text in the order in which its letters stand from left to right; Arabic letters stay unjoined."""
    return with_leftward(text, lambda words: words[::-1])


def isolated(text: str) -> str:
    """Mark what runs from right to left, so that punctuation and numbers beside it keep their place."""
    return with_leftward(text, lambda words: f"{ISOLATE}{words}{END}")


def cropped(text: str, room: int) -> str:
    """Return a text as wide as so many letters at most, its middle left out; Chinese and the like are wide."""
    text = " ".join(text.split())
    if _width(text) <= room:
        return text
    tail = max((room - 3) // 2, 1)
    head, end = _begin(text, room - 3 - tail), _begin(text[::-1], tail)[::-1]
    return f"{head.rstrip()} … {end.lstrip()}"


def _width(text: str) -> int:
    """Return how many letters of ordinary width a text is as wide as."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _begin(text: str, room: int) -> str:
    """Return as much of a text's beginning as is not wider than so many letters."""
    n, wide = 0, 0
    while n < len(text) and (wide := wide + _width(text[n])) <= room:
        n += 1
    return text[:n]
