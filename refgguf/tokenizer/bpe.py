"""Byte-pair encoding ("BPE"): cut the text into words, then merge pairs in the order of a list.

Each word's UTF-8 bytes are written with one printable character a byte, the alphabet of GPT-2; merges and tokens
are texts in that alphabet.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_bpe_session), src/unicode.cpp (unicode_byte_to_utf8_map).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import ESCAPED_SPACE, Tokenizer, byte_value
from refgguf.tokenizer.merge import merge
from refgguf.tokenizer.metadata import PREFIX, all_texts, bytes_of, read_text, shown, string_array, text_of
from refgguf.tokenizer.split import Splitter, rules, splitter
from refgguf.tokenizer.unicode import decode_lenient
from refgguf.tokenizer.vocabulary import BYTE, NORMAL
from refgguf.tokenizer.word_cache import WordCache

_not_utf8 = re.compile("[\ud800-\udfff]")


def _byte_alphabet() -> str:
    """Return the character that stands for each byte: itself if it is printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


ALPHABET = _byte_alphabet()
_TO_BYTE = {char: byte for byte, char in enumerate(ALPHABET)}
_FROM_LATIN = dict(enumerate(ALPHABET))


class BPETokenizer(Tokenizer):
    """Byte-level BPE, as in GPT-2, Llama 3 and Qwen."""

    family = "BPE"
    default_ids = {"bos": 11, "eos": 11}

    def __init__(self, metadata: Mapping[str, Any]):
        self.pre, self._rules = _pre_rules(metadata, self.forced_pre)
        super().__init__(metadata)
        if self._rules.get("force_bos"):
            self.add_bos = True

    forced_pre: str | None = None  # what a kind of tokenizer uses whatever the file says

    def _default_ids(self) -> Mapping[str, int]:
        ids = dict(self.default_ids)
        if self._rules.get("no_bos"):
            ids.pop("bos", None)
        return ids

    def _default_flags(self) -> Mapping[str, bool]:
        return {
            "add_bos": self._rules.get("add_bos", False),
            "clean_spaces": self._rules.get("clean_spaces", True),
        }

    # encoding

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        if not text.isascii() and _not_utf8.search(text):
            text = decode_lenient(bytes_of(text))
        return self._cache.ids(self._splitter.words(text))

    @cached_property
    def _splitter(self) -> Splitter:
        return splitter(self._rules["split"])

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(self._encode_word)

    def _encode_word(self, word: str) -> list[int]:
        text = word.encode("utf-8", "surrogatepass").decode("latin-1").translate(_FROM_LATIN)
        ids = self.vocabulary.ids
        if self._rules.get("ignore_merges") and text in ids:
            return [ids[text]]
        return self._ids_of(merge(list(text), self._rank))

    def _rank(self, left: str, right: str) -> int | None:
        return self._ranks.get((left, right))

    def _ids_of(self, symbols: list[str]) -> list[int]:
        find, ids = self.vocabulary.ids.get, []
        for symbol in symbols:
            id = find(symbol)
            if id is None:
                # as llama.cpp: the bytes of the alphabet's letters, of which only ASCII ones can be tokens
                ids += [id for byte in bytes_of(symbol) if (id := find(text_of(bytes([byte])))) is not None]
            else:
                ids.append(id)
        return ids

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        """The rank of each pair; of equal pairs, the first one's."""
        values = string_array(self.metadata, "merges")
        if values is None:
            if self._rules.get("no_merges"):
                return {}
            raise TokenizerError(f"the file has no {PREFIX}merges, which byte-pair encoding needs")
        ranks: dict[tuple[str, str], int] = {}
        for rank, text in enumerate(all_texts(values)):
            at = text.find(" ", 1)
            if at > 0:
                ranks.setdefault((text[:at], text[at + 1 :]), rank)
        return ranks

    # decoding

    def _piece(self, id: int, text: str, attributes: int) -> bytes:
        if attributes & NORMAL:
            return _decode_alphabet(text)
        return bytes([byte_value(text)]) if attributes & BYTE else b""


def _decode_alphabet(text: str) -> bytes:
    """Return the bytes that a text in GPT-2's alphabet stands for; a foreign character is shown as llama.cpp does."""
    try:
        return bytes([_TO_BYTE[char] for char in text])
    except KeyError:
        pass
    raw = bytearray()
    for char in decode_lenient(bytes_of(text)):
        if char in _TO_BYTE:
            raw.append(_TO_BYTE[char])
        else:
            raw += (
                b"[UNK_BYTE_0x" + char.encode("utf-8", "surrogatepass").hex().encode() + bytes_of(text) + b"]"
            )
    return bytes(raw)


def _pre_rules(metadata: Mapping[str, Any], forced: str | None) -> tuple[str, dict[str, Any]]:
    """Return the pre-tokenizer's name and its rules."""
    name = forced or read_text(metadata, PREFIX + "pre")
    if not name:
        warnings.warn(
            f"the file has no {PREFIX}pre, which says how text is cut into words; "
            "the rules 'default' are used, and tokens may differ from those the model was trained on",
            stacklevel=4,
        )
        name = "default"
    known = rules()["pre"]
    if name not in known:
        raise TokenizerError(
            f"unknown pre-tokenizer {shown(name)} ({PREFIX}pre); {len(known)} are known, such as {', '.join(sorted(known)[:6])}"
        )
    return name, known[name]


KINDS = {"gpt2": BPETokenizer}
