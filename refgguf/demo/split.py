"""What is kept for testing, decided by a hash of the facts themselves, and the marks around answers.

A scene is drawn as a tuple of facts (who, what, where …). One tuple in ten belongs to the test part, whatever
the wording, and the training text is never told any of those; so no test prompt can stand in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random

OPEN, CLOSE = "\x01", "\x02"  # around an answer inside a text; removed before anyone sees it
TEST_SHARE = 10


def is_test(kind: str, *facts: object) -> bool:
    """Whether this combination of facts is kept for testing."""
    text = "|".join((kind, *map(str, facts)))
    return zlib.crc32(text.encode()) % TEST_SHARE == 0


def draw(rng: Random, test: bool, kind: str, make: Callable[[Random], tuple]) -> tuple:
    """Draw facts with `make` until they fall into the wanted part."""
    while True:
        facts = make(rng)
        if is_test(kind, *facts) == test:
            return facts


def draw_row(rng: Random, test: bool, kind: str, make: Callable[[Random], tuple]) -> tuple:
    """Draw a row of two or more facts told in turn; a training row has no test row inside it either."""
    while True:
        facts = make(rng)
        n = len(facts)
        runs = [facts[i:j] for i in range(n - 1) for j in range(i + 2, n + 1)]
        if (is_test(kind, *facts) and test) or not (test or any(is_test(kind, *run) for run in runs)):
            return facts


def mark(answer: str) -> str:
    """Put marks around an answer, whose leading space is part of it: `" green"`."""
    return f"{OPEN}{answer}{CLOSE}"


def plain(text: str) -> str:
    """The text without marks."""
    return text.replace(OPEN, "").replace(CLOSE, "")


def last_answer(text: str) -> tuple[str, str]:
    """The text before the last marked answer, and that answer."""
    before, _, after = text.rpartition(OPEN)
    return plain(before), after.partition(CLOSE)[0]
