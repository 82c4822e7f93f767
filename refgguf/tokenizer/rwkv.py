r"""RWKV's World vocabulary: take the longest token again and again, over bytes.

Token texts are escaped in the file: `\n`, `\t`, `\r`, `\xE4`, and `\` before any other character for itself.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_rwkv, llama_unescape_rwkv_token).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import bytes_of
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.word_cache import WordCache

_escape = re.compile(rb"\\(?:x(.{0,2})|(.))", re.DOTALL)
_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class RWKVTokenizer(Tokenizer):
    """Greedy longest match over bytes."""

    family = "RWKV"

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        return self._cache.ids(self._pieces(bytes_of(text).decode("latin-1")))

    def _spell(self, piece: str) -> list[int]:
        find = self._longest.at
        ids, at = [], 0
        while at < len(piece):
            found = find(piece, at)
            if found is None:
                ids.append(self._unknown(ord(piece[at])))
                at += 1
            else:
                ids.append(found[0])
                at += found[1]
        return ids

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(self._spell)

    @cached_property
    def _pieces(self) -> Callable[[str], list[str]]:
        return pieces_before(" ", self._letters)

    def _before(self) -> list[int]:
        return []

    def _after(self) -> list[int]:
        return []

    def _unknown(self, byte: int) -> int:
        id = self.vocabulary.named_role("unknown")
        if id is None:
            raise TokenizerError(
                f"the vocabulary has no token for the byte {byte:#04x}, nor an unknown token"
            )
        return id

    @cached_property
    def _letters(self) -> dict[str, int]:
        """Every token's bytes, one letter a byte → its id."""
        letters = {unescape(text).decode("latin-1"): id for id, text in enumerate(self.vocabulary.texts)}
        letters.pop("", None)
        return letters

    @cached_property
    def _longest(self) -> LongestMatch:
        return LongestMatch(self._letters)

    def _shown(self, id: int, special: bool) -> bytes:
        if not special and self.is_special(id):
            return b""
        return unescape(self.vocabulary.text(self._checked_id(id)))


def unescape(text: str) -> bytes:
    """Return the bytes that a token's text stands for."""
    raw = bytes_of(text)
    return _escape.sub(_meaning, raw) if b"\\" in raw else raw


def _meaning(match: re.Match[bytes]) -> bytes:
    digits, letter = match.groups()
    if digits is None:
        return _NAMED.get(letter, letter)
    if len(digits) < 2:
        return b""
    value = 0
    for digit in digits:
        # as llama.cpp: letters from "a" on, everything else counts from "0"
        value = (value << 4) + (digit - ord("a") + 10 if digit >= ord("a") else digit - ord("0")) & 0xFF
    return bytes([value])


KINDS = {"rwkv": RWKVTokenizer}
