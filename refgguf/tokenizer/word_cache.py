"""Remember what words became: a text has far fewer words than it has places for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

MOST_CHARACTERS = 1 << 20  # of all words together: about 130,000 words
LONGEST = 256  # characters: as long as the rulers in tables of plain text; longer words hardly come twice


class WordCache(dict):
    """Word → ids, filled as words are asked for; it begins anew when it is full.

    Args:
        encode: turns one word into ids.
    """

    def __init__(self, encode: Callable[[str], list[int]]):
        super().__init__()
        self._encode = encode
        self._n_characters = 0

    def __missing__(self, word: str) -> list[int]:
        ids = self._encode(word)
        if len(word) <= LONGEST:
            self._n_characters += len(word)
            if self._n_characters > MOST_CHARACTERS:
                self.clear()
                self._n_characters = len(word)
            self[word] = ids
        return ids

    def ids(self, words: Iterable[str]) -> list[int]:
        """Return the ids of all words, one after the other."""
        return list(chain.from_iterable(map(self.__getitem__, words)))
