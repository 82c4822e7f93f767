r"""Cut text into the words within which byte-pair encoding merges: the pre-tokenizers.

A splitter is a list of stages. Each stage cuts every piece of the stage before into its matches and what lies
between them; a stage sees its piece alone, so look-ahead ends where the piece ends. Stages that speak of Unicode
classes (`\p{L}`) run on collapsed text, the others on the text itself with all white space made ASCII.

The rules are data: pretokenizers.json. Source: llama.cpp src/unicode.cpp (unicode_regex_split).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

from refgguf.tokenizer import unicode as uni
from refgguf.tokenizer.word_cache import WordCache

_LATIN = "A-Za-z"
_CLASSES = {
    "N": "0-9" + uni.NUMBER,
    "L": _LATIN + uni.LETTER + uni.HAN_LETTER,
    "Lx": uni.LETTER + uni.HAN_LETTER,
    "Lh": _LATIN + uni.LETTER,
    "Han": uni.HAN_LETTER + uni.HAN_OTHER,
    "M": uni.MARK,
    "P": r"!-#%-*,-/:-;?-@\[-\]_\{\}" + uni.PUNCTUATION,
    "S": r"\$\+<->\^`\|~" + uni.SYMBOL,
}
_class_name = re.compile(r"\\p\{(\w+)\}")
_bracket_or_class = re.compile(r"\\p\{\w+\}|\\.|[\[\]]", re.DOTALL)

Cuts = list[int]  # where pieces end, ascending; the last one is the text's length
Stage = Callable[[str, str, Cuts], Cuts]  # (collapsed, text with narrow spaces, cuts) -> finer cuts


WORD_LIKE = 16  # characters: pieces that are no longer on average come again and again


@cache
def rules() -> dict[str, Any]:
    """Return pretokenizers.json."""
    return json.loads(Path(__file__).with_name("pretokenizers.json").read_text(encoding="utf-8"))


@cache
def splitter(name: str) -> Splitter:
    """Return the splitter of this name in pretokenizers.json."""
    return Splitter(rules()["splitters"][name])


class Splitter:
    """Cuts text into words.

    Args:
        stages: regular expressions, or `@` and the name of a function below.
    """

    def __init__(self, stages: list[str]):
        self._uses_classes = any(_class_name.search(stage) or stage in _ON_CLASSES for stage in stages)
        self._stages: list[Stage] = [
            _NAMED[stage] if stage in _NAMED else _by_pattern(stage) for stage in stages
        ]
        self._single = _compile(stages[0]) if len(stages) == 1 else None
        self._finished = [
            WordCache(lambda piece, done=done: self._cut(piece, done)) for done in range(len(stages))
        ]

    def words(self, text: str) -> list[str]:
        """Return the words; together they are the text.

        A stage sees each piece alone, so that what the later ones make of a short piece is looked up, once known.
        """
        if not text:
            return []
        if self._single is not None and (words := self._covering(text)) is not None:
            return words
        done, cuts = 0, [len(text)]
        for cuts in self._run(text, 0):
            done += 1
            if len(text) <= WORD_LIKE * len(cuts):
                break
        pieces = [text[start:end] for start, end in pairwise([0, *cuts])]
        if done == len(self._stages):
            return pieces
        return list(chain.from_iterable(map(self._finished[done].__getitem__, pieces)))

    def _cut(self, piece: str, done: int) -> list[str]:
        """Return the words of a piece that so many stages have left."""
        *_, cuts = self._run(piece, done)
        return [piece[start:end] for start, end in pairwise([0, *cuts])]

    def cuts(self, text: str) -> Cuts:
        """Return where each word ends, in characters; the last one is the text's length."""
        *_, cuts = self._run(text, 0)
        return cuts

    def _run(self, text: str, done: int) -> Iterator[Cuts]:
        """Run the stages from number `done` on; yields the cuts after each."""
        collapsed = uni.collapse(text) if self._uses_classes else text
        narrow = uni.narrow_spaces(text)
        cuts = [len(text)]
        for stage in self._stages[done:]:
            cuts = stage(collapsed, narrow, cuts)
            yield cuts

    def _covering(self, text: str) -> list[str] | None:
        """Split by one pattern that matches everywhere, the usual case; None when it leaves gaps."""
        subject = uni.collapse(text) if self._uses_classes else uni.narrow_spaces(text)
        words = self._single.findall(subject)
        if subject is text:
            return words if sum(map(len, words)) == len(text) else None
        ends = list(accumulate(map(len, words)))
        if not ends or ends[-1] != len(text):
            return None
        return [text[start:end] for start, end in pairwise([0, *ends])]


def _compile(stage: str) -> re.Pattern[str]:
    """Compile a regular expression with its classes written out for collapsed text."""
    parts, end, inside = [], 0, False
    for match in _bracket_or_class.finditer(stage):
        found = match.group()
        parts.append(stage[end : match.start()])
        if name := _class_name.fullmatch(found):
            characters = _CLASSES[name[1]]
            found = characters if inside else f"[{characters}]"
        elif found == "[" and not inside:
            inside = True
        elif found == "]":
            inside = False
        elif found == "[":
            found = r"\["  # Python warns of a bare one inside a set
        parts.append(found)
        end = match.end()
    # ASCII: as std::regex in the C locale, \s and \d know ASCII only
    return re.compile("".join(parts) + stage[end:], re.ASCII)


def _by_pattern(stage: str) -> Stage:
    """Make a stage of a regular expression."""
    scan = _compile(stage).finditer
    on_classes = _class_name.search(stage) is not None

    def run(collapsed: str, narrow: str, cuts: Cuts) -> Cuts:
        subject = collapsed if on_classes else narrow
        result: Cuts = []
        add = result.append
        start = 0
        for end in cuts:
            last = start
            for match in scan(subject, start, end):
                first, last_now = match.span()
                if first > last:
                    add(first)
                if last_now > first:
                    add(last_now)
                last = last_now
            if last < end:
                add(end)
            start = end
        return result

    return run


_digits = re.compile("[" + _CLASSES["N"] + "]+")
_ascii_digits = re.compile("[0-9]+")
_spaces = " \t\n\v\f\r"


def _digit_groups(collapsed: str, narrow: str, cuts: Cuts) -> Cuts:
    """Cut runs of digits into threes counted from the right.

    What precedes a run stays with its first group. Source: unicode.cpp unicode_regex_split_custom_afmoe.
    """
    result: Cuts = []
    start = 0
    for end in cuts:
        for run in _digits.finditer(collapsed, start, end):
            first, last = run.span()
            result.extend(range(last - (last - first - 1) // 3 * 3, last + 1, 3))
        if not result or result[-1] < end:
            result.append(end)
        start = end
    return result


def _thousands(collapsed: str, narrow: str, cuts: Cuts) -> Cuts:
    r"""Cut before every three digits counted from the right, as `(?=(\d{3})+(?!\d))` does."""
    result: Cuts = []
    start = 0
    for end in cuts:
        for run in _ascii_digits.finditer(narrow, start, end):
            first, last = run.span()
            first_cut = last - (last - first) // 3 * 3
            result.extend(cut for cut in range(first_cut, last, 3) if cut > start)
        result.append(end)
        start = end
    return result


def _trailing_space(collapsed: str, narrow: str, cuts: Cuts) -> Cuts:
    r"""Cut off white space at the end, as `\s+$` does, in linear time."""
    result: Cuts = []
    start = 0
    for end in cuts:
        cut = start + len(narrow[start:end].rstrip(_spaces))
        if start < cut < end:
            result.append(cut)
        result.append(end)
        start = end
    return result


_NAMED: dict[str, Stage] = {
    "@digit-groups": _digit_groups,
    "@thousands": _thousands,
    "@trailing-space": _trailing_space,
}
_ON_CLASSES = {"@digit-groups"}
