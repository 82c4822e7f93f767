"""Find the tokens that begin at a place of a text."""

from __future__ import annotations

from collections.abc import Mapping

_N_KEY = 4  # characters that longer tokens are filed under; few tokens share them


class LongestMatch:
    """Tokens by what they begin with, so that few lengths need to be tried.

    Args:
        ids: text → id.
    """

    def __init__(self, ids: Mapping[str, object]):
        self._ids = ids
        lengths: dict[str, set[int]] = {}
        short: set[int] = set()
        for text in ids:
            if len(text) < _N_KEY:
                short.add(len(text))
            else:
                lengths.setdefault(text[:_N_KEY], set()).add(len(text))
        self._short = tuple(sorted(short, reverse=True))
        self._lengths = {
            start: (*sorted(found, reverse=True), *self._short) for start, found in lengths.items()
        }

    def lengths(self, text: str, at: int) -> tuple[int, ...]:
        """Return the lengths that a token at this place can have, longest first; not all of them need be tokens."""
        return self._lengths.get(text[at : at + _N_KEY], self._short)

    def at(self, text: str, at: int) -> tuple[int, int] | None:
        """Return the longest token's (id, length) at a place, None if there is none."""
        for length in self.lengths(text, at):
            part = text[at : at + length]
            id = self._ids.get(part)
            if id is not None:
                # at the end of the text, a slice is shorter than it was asked to be
                return id, len(part)
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
