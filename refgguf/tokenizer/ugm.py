"""SentencePiece vocabularies of the unigram kind ("UGM"), as in T5: the likeliest way to spell the text.

The text is normalized by the file's character map, then a Viterbi search finds the tokens whose scores have the
highest sum. Sums are rounded, and two ways may come out equal or not depending on what was added before; so a
piece's spelling is remembered only if its choices were clear, and is otherwise searched again with the sum so far.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_ugm_session), which follows SentencePiece.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

import numpy as np

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import ESCAPED_SPACE, Tokenizer
from refgguf.tokenizer.charsmap import CharsMap
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import PREFIX, bytes_of, read_flag, shown, text_of
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.vocabulary import NORMAL, UNUSED, USER_DEFINED
from refgguf.tokenizer.word_cache import LONGEST, WordCache

_UNKNOWN_PENALTY = np.float32(10)
# Two sums closer than this may come out in either order after rounded additions: doubles below 2**30 are exact to
# 2**-23, and no text that fits in memory scores lower. Only the places on the best path matter: whichever of two
# equal ways leads to another place, the sum there is the same but for rounding.
_CLEAR = 1e-6
_REPLACEMENT = "\ufffd".encode()
_NO_UNKNOWN = -1
_WORST = -1.7976931348623157e308  # the lowest double: worse than any sum
_DEPENDS = b"\0depends"  # marks a character whose replacement depends on what follows
_SIZES = bytes([1] * 12 + [2, 2, 3, 4])  # bytes of a character, by the first one's high half


class Way(NamedTuple):
    """A token at a place of a text."""

    start: int
    end: int
    id: int
    score: float


class Spelling(NamedTuple):
    """How a piece is spelled."""

    ids: list[int]  # the unknown token once for each character
    scores: list[float]
    ways: Iterable[Way] | None = None  # all that may be best, where the sum before is needed to choose


_ids_of, _scores_of = attrgetter("ids"), attrgetter("scores")


class UGMTokenizer(Tokenizer):
    """Unigram language model."""

    family = "UGM"
    default_ids: ClassVar = {"eos": 1, "unknown": 2, "padding": 0}
    default_flags: ClassVar = {"add_eos": True}

    def __init__(self, metadata: Mapping[str, Any]):
        super().__init__(metadata)
        self._merge_spaces = read_flag(metadata, "remove_extra_whitespaces", False)

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        ids, unknown = self._spelled(self._pieces_of(text)), self._unknown
        if unknown in ids:
            # neighbours that are unknown count as one
            ids = [id for k, id in enumerate(ids) if id != unknown or not k or ids[k - 1] != unknown]
        if _NO_UNKNOWN in ids:
            raise TokenizerError(
                "the text has a character that is no token, and the file names no unknown token"
            )
        return ids

    def _spelled(self, pieces: list[str]) -> list[int]:
        """Spell pieces one after the other, with the sum so far where a choice depends on it."""
        spellings = list(map(self._cache.__getitem__, pieces))
        total, first, unknown = 0.0, 0, self._unknown
        for at in [k for k, spelling in enumerate(spellings) if spelling.ways]:
            total = _sum(total, spellings[first:at])
            spellings[at], first = _choose(spellings[at].ways, len(_units(pieces[at])), total, unknown), at
        return list(chain.from_iterable(map(_ids_of, spellings)))

    @property
    def _unknown(self) -> int:
        id = self.vocabulary.named_role("unknown")
        return _NO_UNKNOWN if id is None else id

    # normalization

    @cached_property
    def _charsmap(self) -> CharsMap:
        value = self.metadata.get(PREFIX + "precompiled_charsmap")
        if value is None:
            return CharsMap(b"")
        kind = getattr(value, "element_type", "uint8")
        array = np.asarray(value)
        if kind not in ("int8", "uint8") or array.dtype.kind not in "iu":
            raise TokenizerError(
                f"{PREFIX}precompiled_charsmap is {shown(value)}; expected an array of bytes"
            )
        if not array.size:
            raise TokenizerError(f"{PREFIX}precompiled_charsmap is empty; expected at least 4 bytes")
        return CharsMap((array & 0xFF).astype(np.uint8).tobytes())

    @cached_property
    def _user_prefixes(self) -> frozenset[bytes]:
        """Everything that a user-defined token begins with."""
        user_defined = (self.vocabulary.attributes & USER_DEFINED).nonzero()[0].tolist()
        texts = [bytes_of(self.vocabulary.text(id)) for id in user_defined]
        return frozenset(raw[:n] for raw in texts for n in range(1, len(raw) + 1))

    @cached_property
    def _normal(self) -> Callable[[str], str]:
        """Turns a text into what the character map makes of it, spaces as they are."""
        if self._may_cross_space:
            return self._normalized
        cache = WordCache(self._normalized)
        pieces = pieces_before(" ", ())
        return lambda text: "".join(map(cache.__getitem__, pieces(text)))

    @cached_property
    def _may_cross_space(self) -> bool:
        """Whether a map entry or a user-defined token may hold a space behind its first byte."""
        return self._charsmap.may_cross_space() or any(b" " in raw[1:] for raw in self._user_prefixes)

    def _normalized(self, text: str) -> str:
        raw, alone = bytes_of(text), self._alone
        parts, at = [], 0
        while at < len(raw):
            char = raw[at : at + (_SIZES[raw[at] >> 4])]
            part = alone.get(char)
            if part is None:
                part = alone[char] = self._normal_alone(char)
            n_read = len(char)
            if part is _DEPENDS:
                part, n_read = self._normal_prefix(raw, at)
            parts.append(part)
            at += n_read
        return text_of(b"".join(parts))

    @cached_property
    def _alone(self) -> dict[bytes, bytes]:
        return {}

    def _normal_alone(self, char: bytes) -> bytes:
        """Return what a character becomes whatever follows it, or _DEPENDS."""
        if char[:1] in self._user_prefixes or _character_size(char, 0) != len(char):
            return _DEPENDS
        part, n_read = self._normal_prefix(char, 0)
        return part if n_read == len(char) and self._charsmap.stops_after(char) else _DEPENDS

    def _normal_prefix(self, raw: bytes, at: int) -> tuple[bytes, int]:
        """Return (what stands for the next bytes, how many those are)."""
        n = 0
        while raw[at : at + n + 1] in self._user_prefixes and at + n < len(raw):
            n += 1
        if n:
            # as llama.cpp: the beginning of a user-defined token is enough to be left alone
            return raw[at : at + n], n
        if found := self._charsmap.longest(raw, at):
            return found[1], found[0]
        size = _character_size(raw, at)
        return (raw[at : at + size], size) if size else (_REPLACEMENT, 1)

    def _pieces_of(self, text: str) -> list[str]:
        """Return the normalized text in pieces that no token reaches across."""
        if self._words_stand_alone and ESCAPED_SPACE not in text:
            return self._pieces_of_words.ids(text.split(" "))
        return self._pieces(self._spaced(self._normal(text)))

    @cached_property
    def _words_stand_alone(self) -> bool:
        """Whether spaces only separate: none is kept, and neither a map entry nor a token reaches over one."""
        crossing = re.compile(f"[^{ESCAPED_SPACE}]{ESCAPED_SPACE}").search
        return (
            self._merge_spaces
            and not self._may_cross_space
            and self._normalized(" ") == " "
            and ESCAPED_SPACE.encode() not in self._charsmap.replacements
            and not any(map(crossing, self._scores))
        )

    @cached_property
    def _pieces_of_words(self) -> WordCache:
        return WordCache(lambda word: self._pieces(self._spaced(self._normalized(word))))

    def _spaced(self, normal: str) -> str:
        """Return the text with spaces merged, marked and put in front, as the file wants it."""
        if self._merge_spaces:
            return "".join(ESCAPED_SPACE + word for word in normal.split(" ") if word)
        words = normal.lstrip(" ")
        prefix = ESCAPED_SPACE if self.add_space_prefix and words else ""
        return ESCAPED_SPACE * (len(normal) - len(words)) + prefix + words.replace(" ", ESCAPED_SPACE)

    # search

    @cached_property
    def _scores(self) -> dict[str, tuple[int, float]]:
        """Text → (id, score) of every token that text can become."""
        vocabulary = self.vocabulary
        texts, attributes = vocabulary.texts, vocabulary.attributes
        scores = np.where(attributes & USER_DEFINED, np.float32(0), vocabulary.scores).tolist()
        wanted = (attributes & (NORMAL | USER_DEFINED | UNUSED)).nonzero()[0].tolist()
        return {texts[id]: (id, scores[id]) for id in wanted}

    @cached_property
    def _unknown_score(self) -> float:
        normal = self.vocabulary.scores[(self.vocabulary.attributes & NORMAL).astype(bool)]
        lowest = normal.min() if normal.size else np.finfo(np.float32).max
        return float(np.float32(lowest) - _UNKNOWN_PENALTY)

    @cached_property
    def _longest(self) -> LongestMatch:
        return LongestMatch(self._scores)

    @cached_property
    def _pieces(self) -> Callable[[str], list[str]]:
        return pieces_before(ESCAPED_SPACE, self._scores)

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(self._spell)

    def _spell(self, piece: str) -> Spelling:
        """Find the best way to spell a piece."""
        units = _units(piece)
        n, unknown = len(units), self._unknown
        if len(piece) > LONGEST:  # which is not remembered: once through, when the sum before it is known
            return Spelling([], [], self._ways(units))
        ways = list(self._ways(units))
        before, behind = [0.0] + [_WORST] * n, [_WORST] * n + [0.0]
        for start, end, _, score in ways:
            before[end] = max(before[end], before[start] + score)
        for start, end, _, score in reversed(ways):
            behind[start] = max(behind[start], score + behind[end])
        least = before[n] - 2 * _CLEAR
        best = [way for way in ways if before[way.start] + way.score + behind[way.end] >= least]
        spelling = _choose(best, n, 0.0, unknown)
        return spelling if len(best) == len(spelling.ids) else spelling._replace(ways=best)

    def _ways(self, units: str) -> Iterator[Way]:
        """Yield every token at every place of a text; the unknown one where no token has one character."""
        n, find, lengths = len(units), self._scores.get, self._longest.lengths
        unknown = (self._unknown, self._unknown_score)
        for start in range(n):
            single = False
            for length in reversed(lengths(units, start)):
                end = start + length
                found = find(units[start:end]) if end <= n else None
                if found is not None:
                    single |= length == 1
                    yield Way(start, end, *found)
            if not single:
                yield Way(start, start + 1, *unknown)


def _choose(ways: Iterable[Way], n: int, total: float, unknown: int) -> Spelling:
    """Follow the ways from place 0 to place n with the best sum, given the sum before; of equals the first."""
    best, chosen = {0: total}, {}
    for way in ways:
        start, end, _, score = way
        value = best.get(start, _WORST) + score
        if value > best.get(end, _WORST):
            best[end], chosen[end] = value, way
    path, end = [], n
    while end > 0:
        path.append(chosen.get(end) or Way(0, end, unknown, 0.0))
        end = path[-1].start
    path.reverse()
    return Spelling([way.id for way in path], [way.score for way in path])


def _sum(total: float, spellings: list[Spelling]) -> float:
    """Add scores one after the other, each sum rounded."""
    scores = chain.from_iterable(map(_scores_of, spellings))
    return deque(accumulate(scores, initial=total), 1).pop()


def _units(piece: str) -> str:
    """Return a piece with one character for each unit of the search.

    Bytes that are not UTF-8 but that llama.cpp's reader takes for a character are one unit, unknown to every
    vocabulary; only there does a text hold lone surrogates.
    """
    if piece.isascii() or not re.search("[\udc80-\udcff]", piece):
        return piece
    raw, units, at = bytes_of(piece), [], 0
    while at < len(raw):
        size = _character_size(raw, at) or 1
        char = raw[at : at + size].decode("utf-8", "replace")
        units.append(char if len(char) == 1 else "\udc80")
        at += size
    return "".join(units)


def _character_size(raw: bytes, at: int) -> int:
    """Return how many bytes a character has as llama.cpp reads UTF-8; 0 if there is none."""
    lead = raw[at]
    size = (
        1
        if lead < 0x80
        else 0
        if lead < 0xC0
        else 2
        if lead < 0xE0
        else 3
        if lead < 0xF0
        else 4
        if lead < 0xF8
        else 0
    )
    rest = raw[at + 1 : at + size]
    return size if len(rest) == max(size - 1, 0) and all(byte & 0xC0 == 0x80 for byte in rest) else 0


KINDS = {"t5": UGMTokenizer}
