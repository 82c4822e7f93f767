"""WordPiece ("WPM"), as in BERT: normalize, cut into words, take the longest token again and again.

The vocabulary marks where a word begins with `▁`; a word that cannot be spelled becomes the unknown token.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_wpm_session).
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from refgguf.tokenizer import unicode as uni
from refgguf.tokenizer.base import ESCAPED_SPACE, Tokenizer
from refgguf.tokenizer.longest import LongestMatch
from refgguf.tokenizer.metadata import bytes_of, read_flag
from refgguf.tokenizer.word_cache import WordCache

# What counts as Chinese, so that each character is a word. The fourth from last begins at U+2B920 where
# U+2B820 was meant; the reference implementation has it so, and the models were trained with it.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WPMTokenizer(Tokenizer):
    """WordPiece."""

    family = "WPM"
    default_ids: ClassVar = {"bos": 101, "unknown": 100, "separator": 102, "padding": 0, "mask": 103}
    default_flags: ClassVar = {"add_bos": True, "add_sep": True, "clean_spaces": True}

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        return self._cache.ids(uni.decode_lenient(bytes_of(text)).translate(self._normal).split(" "))

    def _before(self) -> list[int]:
        return [self._needed("bos", "every text")]

    def _after(self) -> list[int]:
        return [self._needed("separator", "every text")]

    @cached_property
    def _normal(self) -> _Normal:
        lowercase = read_flag(self.metadata, "normalizer.lowercase", True)
        return _Normal(lowercase, read_flag(self.metadata, "normalizer.strip_accents", lowercase))

    @cached_property
    def _cache(self) -> WordCache:
        longest = LongestMatch(self.vocabulary.ids)

        def encode_word(word: str) -> list[int]:
            if not word:
                return []
            ids = longest.ids(ESCAPED_SPACE + word)
            return [self._needed("unknown", "a word without tokens")] if ids is None else ids

        return WordCache(encode_word)


class _Normal(dict):
    """Code point → what it becomes, for str.translate: words end up between spaces."""

    def __init__(self, lowercase: bool, strip_accents: bool):
        super().__init__()
        self._lowercase, self._strip_accents = lowercase, strip_accents

    def __missing__(self, code_point: int) -> str:
        self[code_point] = result = self._of(chr(code_point))
        return result

    def _of(self, char: str) -> str:
        if self._strip_accents:
            char = uni.without_accent(char)
        if uni.is_white_space(char):
            return " "
        category = uni.category(char)
        if char in ("\0", uni.REPLACEMENT) or category == "C" or (self._strip_accents and category == "M"):
            return ""
        result = uni.lower(char) if self._lowercase else char
        alone = category == "P" or (category == "S" and char < "\x7f") or _is_chinese(char)
        return f" {result} " if alone else result


def _is_chinese(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _CHINESE)


KINDS = {"bert": WPMTokenizer}
