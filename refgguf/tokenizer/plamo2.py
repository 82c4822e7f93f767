"""PLaMo-2's vocabulary: the cheapest way to spell the text, searched from its end.

Scores are whole numbers (rounded after a multiplication by 10,000), so sums are exact and pieces can be spelled
one by one. Of equally cheap ways the one that begins with the longer token wins.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_plamo2); its suffix table finds, for each place, the tokens
that begin there, longest first, which a table of lengths does as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import numpy as np

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer, byte_value
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import bytes_of
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.unicode import decode_lenient
from refgguf.tokenizer.vocabulary import BYTE
from refgguf.tokenizer.word_cache import WordCache

_WORST, _UNKNOWN = -20_000_000, -10_000_000  # scores of what is no token, and of a character spelled in bytes
_BYTE_ORDER_MARK = "\ufeff"
_byte_token = re.compile("<0x[0-9a-fA-F]{2}>")


class Plamo2Tokenizer(Tokenizer):
    """PLaMo-2."""

    family = "PLaMo-2"
    default_ids: ClassVar = {"bos": 1, "eos": 2, "unknown": 0, "padding": 3}

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        text = decode_lenient(bytes_of(text)).removeprefix(_BYTE_ORDER_MARK)
        return self._cache.ids(self._pieces(text))

    def _before(self) -> list[int]:
        return []

    def _after(self) -> list[int]:
        return []

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(self._spell)

    @cached_property
    def _pieces(self) -> Callable[[str], list[str]]:
        return pieces_before(" ", self._scores)

    @cached_property
    def _scores(self) -> dict[str, int]:
        """The score of every text that is a token and no byte."""
        vocabulary = self.vocabulary
        is_byte = (vocabulary.attributes & BYTE).astype(bool).tolist()
        with np.errstate(invalid="ignore"):
            scaled = vocabulary.scores.astype(np.float64) * 1e4
        rounded = [_round(value) for value in scaled.tolist()]
        return {
            text: rounded[id]
            for id, text in enumerate(vocabulary.texts)
            if not is_byte[id] and rounded[id] > _WORST
        }

    @cached_property
    def _longest(self) -> LongestMatch:
        return LongestMatch(self._scores)

    @cached_property
    def _byte_ids(self) -> list[int]:
        """The token of each byte."""
        vocabulary, ids = self.vocabulary, [0] * 256
        for id in (vocabulary.attributes & BYTE).nonzero()[0].tolist():
            if _byte_token.fullmatch(text := vocabulary.text(id)):
                ids[byte_value(text)] = id
        if 0 in ids:
            raise TokenizerError(
                f"the vocabulary has no byte token <0x{ids.index(0):02X}>; PLaMo-2 needs all 256 of them"
            )
        return ids

    def _spell(self, text: str) -> list[int]:
        n, scores, ids = len(text), self._scores, self.vocabulary.ids
        cost = [0] * (n + 1)
        length_at, id_at = [1] * n, [-1] * n
        for at in range(n - 1, -1, -1):
            best = None
            for length in self._longest.lengths(text, at):
                score = scores.get(text[at : at + length]) if at + length <= n else None
                if score is None:
                    continue
                value = cost[at + length] - score
                if best is None or value < best:
                    best, length_at[at], id_at[at] = value, length, ids[text[at : at + length]]
            value = cost[at + 1] - _UNKNOWN
            if best is None or value < best:
                best, length_at[at], id_at[at] = value, 1, -1
            cost[at] = best
        result, at = [], 0
        while at < n:
            if id_at[at] >= 0:
                result.append(id_at[at])
            else:
                result += [self._byte_ids[byte] for byte in text[at].encode("utf-8", "surrogatepass")]
            at += length_at[at]
        return result

    def _piece(self, id: int, text: str, attributes: int) -> bytes:
        return bytes([byte_value(text)]) if attributes & BYTE else bytes_of(text)


def _round(value: float) -> int:
    """Round half away from zero, as C's round; what is not finite is worse than anything."""
    if not math.isfinite(value):
        return _WORST
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


KINDS = {"plamo2": Plamo2Tokenizer}
