"""Cut special tokens out of a text before anything else looks at it.

llama.cpp takes the special tokens one after the other, longest first, and looks for each in all that is left.
With thousands of them that is slow, so here the text is scanned once for every place where one begins. Where two
overlap, only the stretch they cover is done in llama.cpp's order.

Source: llama.cpp src/llama-vocab.cpp (tokenizer_st_partition).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from refgguf.tokenizer.vocabulary import CONTROL, LSTRIP, RSTRIP, UNKNOWN, USER_DEFINED, Vocabulary

Fragment = str | int  # text that is still to be tokenized, or a special token's id

_SPACES = " \t\n\v\f\r"  # isspace in the C locale


class SpecialTokens:
    """The special tokens of a vocabulary, ready to be found in texts.

    Args:
        vocabulary: where the tokens come from.
        parse_special: whether control and unknown tokens count, or user-defined ones only.
    """

    def __init__(self, vocabulary: Vocabulary, parse_special: bool):
        attributes = vocabulary.attributes
        wanted = ((attributes & (CONTROL | USER_DEFINED | UNKNOWN)) != 0).nonzero()[0].tolist()
        if not parse_special:
            wanted = [id for id in wanted if not attributes[id] & (CONTROL | UNKNOWN)]
        texts = vocabulary.texts
        # llama.cpp compares lengths in bytes
        wanted.sort(key=lambda id: -len(texts[id].encode("utf-8", "surrogateescape")))
        self._ids = {texts[id]: id for id in reversed(wanted)}
        self._order = {texts[id]: k for k, id in reversed(list(enumerate(wanted)))}
        self._strip = {texts[id]: int(attributes[id]) for id in wanted if attributes[id] & (LSTRIP | RSTRIP)}
        lengths: dict[str, set[int]] = {}  # by the first two characters
        for text in self._ids:
            lengths.setdefault(text[:2], set()).add(len(text))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._start = _start_pattern(self._ids)

    def cut(self, text: str) -> list[Fragment]:
        """Return the text's fragments in order; no fragment is empty."""
        if not text:
            return []
        if self._start is None:
            return [text]
        if self._strip:
            # swallowed white space may be part of another special token: the slow way is the safe one
            return list(self._in_order(text, self._order))
        result: list[Fragment] = []
        done = 0
        for first, last in self._stretches(text):
            _append(result, text[done:first])
            stretch = text[first:last]
            id = self._ids.get(stretch)
            for fragment in [id] if id is not None else self._in_order(stretch, self._within(stretch)):
                _append(result, fragment)
            done = last
        _append(result, text[done:])
        return result

    def _stretches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where special tokens lie, those that overlap together."""
        first = last = -1
        for match in self._start.finditer(text):
            at = match.start()
            length = self._longest(text, at)
            if not length:
                continue
            if at >= last:
                if last > first:
                    yield first, last
                first = at
            last = max(last, at + length)
        if last > first:
            yield first, last

    def _longest(self, text: str, at: int) -> int:
        """Return the length of the longest special token that begins here, 0 if there is none."""
        for length in self._lengths.get(text[at : at + 2], ()):
            if text[at : at + length] in self._ids:
                return length
        return 1 if text[at] in self._ids else 0

    def _within(self, stretch: str) -> Iterable[str]:
        """Return the special tokens that occur in a stretch, longest first."""
        found = set()
        for at in range(len(stretch)):
            lengths = {*self._lengths.get(stretch[at : at + 2], ()), 1}
            found.update(part for n in lengths if (part := stretch[at : at + n]) in self._ids)
        return sorted(found, key=self._order.__getitem__)

    def _in_order(self, text: str, specials: Iterable[str]) -> Iterator[Fragment]:
        """Take special tokens one after the other, as llama.cpp does."""
        fragments: list[Fragment] = [text]
        for special in specials:
            if special not in text:
                continue
            finer: list[Fragment] = []
            for fragment in fragments:
                if isinstance(fragment, str):
                    finer.extend(self._split(fragment, special))
                else:
                    finer.append(fragment)
            fragments = finer
        return iter(fragments)

    def _split(self, text: str, special: str) -> Iterator[Fragment]:
        strip = self._strip.get(special, 0)
        while True:
            before, found, after = text.partition(special)
            if not found:
                break
            if strip & LSTRIP:
                before = before.rstrip(_SPACES)
            if strip & RSTRIP:
                after = after.lstrip(_SPACES)
            if before:
                yield before
            yield self._ids[special]
            text = after
        if text:
            yield text


def _append(fragments: list[Fragment], more: Fragment) -> None:
    """Add a fragment; text beside text is one fragment, and empty text is none."""
    if isinstance(more, str) and fragments and isinstance(fragments[-1], str):
        fragments[-1] += more
    elif more != "":
        fragments.append(more)


def _start_pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds every place where one of these texts may begin; None without texts."""
    seconds: dict[str, set[str]] = {}
    for text in texts:
        seconds.setdefault(text[0], set()).add(text[1:2])
    if not seconds:
        return None
    parts = []
    for first, follow in seconds.items():
        ahead = "" if "" in follow else f"(?=[{''.join(re.escape(char) for char in sorted(follow))}])"
        parts.append(re.escape(first) + ahead)
    return re.compile("|".join(parts))
