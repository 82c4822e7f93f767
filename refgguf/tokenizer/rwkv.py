r"""RWKV's World vocabulary: take the longest token again and again, over bytes.

Token texts are escaped in the file: `\n`, `\t`, `\r`, `\xE4`, and `\` before any other character for itself.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_rwkv, llama_unescape_rwkv_token).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import bytes_of
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.word_cache import WordCache

if TYPE_CHECKING:
    from refgguf.kernels.trie import ByteTrie

# characters from which a compiled search pays for loading the compiler, which takes half a second
LONG = 1 << 16
_escape = re.compile(rb"\\(?:x(.{0,2})|(.))", re.DOTALL)
_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class RWKVTokenizer(Tokenizer):
    """Greedy longest match over bytes."""

    family = "RWKV"

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        return self._compiled(text) if len(text) >= LONG else self._by_words(text)

    def _compiled(self, text: str) -> list[int]:
        ids = self._trie.match(bytes_of(text)).tolist()
        return ids if min(ids) >= 0 else [id if id >= 0 else self._unknown(-2 - id) for id in ids]

    @cached_property
    def _trie(self) -> ByteTrie:
        from refgguf.kernels.trie import ByteTrie

        return ByteTrie([letters.encode("latin-1") for letters in self._letters], [*self._letters.values()])

    def _by_words(self, text: str) -> list[int]:
        if self._reaches_over_spaces:
            return self._cache.ids(self._pieces(_letters_of(text)))
        if "  " in text:
            return self._cache.ids(self._pieces(text))
        first, *others = text.split(" ")
        return self._spell_text(first) + self._behind_space.ids(others)

    @cached_property
    def _reaches_over_spaces(self) -> bool:
        """Whether a token holds a space behind its first character other than a space."""
        return any(re.search("[^ ] ", letters) for letters in self._letters)

    @cached_property
    def _behind_space(self) -> WordCache:
        """What a word becomes behind a single space."""
        return WordCache(lambda word: self._spell_text(" " + word))

    def _spell_text(self, text: str) -> list[int]:
        return self._spell(_letters_of(text))

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
        return WordCache(self._spell if self._reaches_over_spaces else self._spell_text)

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


def _letters_of(text: str) -> str:
    """Return a text's bytes, one letter a byte."""
    return bytes_of(text).decode("latin-1")


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
