"""Remember what words became: a text has far fewer words than it has places for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

MOST_WORDS = 1 << 17
LONGEST = 64  # characters; longer words hardly come twice


class WordCache(dict):
    """Word → ids, filled as words are asked for; it begins anew when it is full.

    Args:
        encode: turns one word into ids.
    """

    def __init__(self, encode: Callable[[str], list[int]]):
        super().__init__()
        self._encode = encode

    def __missing__(self, word: str) -> list[int]:
        ids = self._encode(word)
        if len(word) <= LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def ids(self, words: Iterable[str]) -> list[int]:
        """Return the ids of all words, one after the other."""
        return list(chain.from_iterable(map(self.__getitem__, words)))
