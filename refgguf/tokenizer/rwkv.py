r"""RWKV's World vocabulary: take the longest token again and again, over bytes.

Token texts are escaped in the file: `\n`, `\t`, `\r`, `\xE4`, and `\` before any other character for itself.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_rwkv, llama_unescape_rwkv_token).
"""

from __future__ import annotations

import re
from functools import cached_property

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import bytes_of

_escape = re.compile(rb"\\(?:x(.{0,2})|(.))", re.DOTALL)
_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class RWKVTokenizer(Tokenizer):
    """Greedy longest match over bytes."""

    family = "RWKV"

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        raw, find = bytes_of(text), self._longest.at
        ids, at = [], 0
        while at < len(raw):
            found = find(raw, at)
            if found is None:
                ids.append(self._unknown(raw[at]))
                at += 1
            else:
                ids.append(found[0])
                at += found[1]
        return ids

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
    def _longest(self) -> LongestMatch:
        raw = {unescape(text): id for id, text in enumerate(self.vocabulary.texts)}
        raw.pop(b"", None)
        return LongestMatch(raw)

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
