"""Find the longest token at a place of a text."""

from __future__ import annotations

from collections.abc import Mapping


class LongestMatch:
    """Tokens by what they begin with, so that only lengths that exist are tried.

    Args:
        ids: text → id.
    """

    def __init__(self, ids: Mapping[str, object]):
        self._ids = ids
        lengths: dict[str, set[int]] = {}
        for text in ids:
            lengths.setdefault(text[:2], set()).add(len(text))
        self._lengths = {start: tuple(sorted(found, reverse=True)) for start, found in lengths.items()}

    def lengths(self, text: str, at: int) -> tuple[int, ...]:
        """Return the lengths that tokens which begin like the text at `at` can have, longest first."""
        start = text[at : at + 2]
        found = self._lengths.get(start, ())
        # a token of one character is filed under itself
        return (*found, 1) if len(start) == 2 and start[0] in self._ids else found

    def at(self, text: str, at: int) -> tuple[int, int] | None:
        """Return the longest token's (id, length) at a place, None if there is none."""
        for length in self.lengths(text, at):
            id = self._ids.get(text[at : at + length])
            if id is not None:
                return id, length
        return None

    def ids(self, text: str) -> list[int] | None:
        """Take the longest token again and again; None where there is no token."""
        result, at = [], 0
        while at < len(text):
            found = self.at(text, at)
            if found is None:
                return None
            result.append(found[0])
            at += found[1]
        return result
