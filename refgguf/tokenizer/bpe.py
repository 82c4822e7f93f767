"""Byte-pair encoding ("BPE"): cut the text into words, then merge pairs in the order of a list.

What `tokenizer.ggml.pre` means, how text is cut and which tokens are added, stands in pretokenizers.json. Most
vocabularies write each byte of a word as one letter (see letters.py); some, such as Gemma 4's, take the text as
it is, with `▁` for a space.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_bpe_session).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import ESCAPED_SPACE, Tokenizer, byte_value
from refgguf.tokenizer.letters import byte_letters, byte_tokens, decode_letters, raw_letters, raw_tokens
from refgguf.tokenizer.merge import merge
from refgguf.tokenizer.metadata import PREFIX, all_texts, bytes_of, read_text, shown, string_array
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.split import rules, splitter
from refgguf.tokenizer.unicode import decode_lenient
from refgguf.tokenizer.vocabulary import BYTE, NORMAL, up_to_nul
from refgguf.tokenizer.word_cache import WordCache

_not_utf8 = re.compile("[\ud800-\udfff]")


class BPETokenizer(Tokenizer):
    """BPE as in GPT-2, Llama 3 and Qwen."""

    family = "BPE"
    default_ids: ClassVar = {"bos": 11, "eos": 11}
    forced_pre: ClassVar[str | None] = None  # what a kind of tokenizer uses whatever the file says

    def __init__(self, metadata: Mapping[str, Any]):
        self.pre, self._rules = _pre_rules(metadata, self.forced_pre)
        super().__init__(metadata)
        self.add_bos |= self._rules.get("force_bos", False)

    def _default_ids(self) -> Mapping[str, int]:
        no_bos = self._rules.get("no_bos", False)
        return {role: id for role, id in self.default_ids.items() if not (no_bos and role == "bos")}

    def _default_flags(self) -> Mapping[str, bool]:
        return {
            "add_bos": self._rules.get("add_bos", False),
            "add_sep": self._rules.get("add_sep", False),
            "clean_spaces": self._rules.get("clean_spaces", True),
        }

    # encoding

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        if not text.isascii() and _not_utf8.search(text):
            text = decode_lenient(bytes_of(text))
        return self._encode_readable(text)

    def _encode_readable(self, text: str) -> list[int]:
        """Turn text into ids; lone surrogates in it are characters that llama.cpp's reader lets pass."""
        if self._rules.get("escape_spaces"):
            text = text.replace(" ", ESCAPED_SPACE)
        return self._cache.ids(self._words(text))

    @cached_property
    def _words(self) -> Callable[[str], list[str]]:
        """Cuts a text into words, or smaller pieces where no merge reaches across."""
        words = splitter(self._rules["split"]).words
        if not self._rules.get("escape_spaces"):
            return words
        pieces = pieces_before(ESCAPED_SPACE, (pair.replace(" ", "", 1) for pair in self._ranks))
        return lambda text: [piece for word in words(text) for piece in pieces(word)]

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(self._encode_word)

    def _encode_word(self, word: str) -> list[int]:
        letters = raw_letters(word) if self._rules.get("raw_utf8") else byte_letters(word)
        if self._rules.get("ignore_merges") or (self._rules.get("whole_newlines") and not word.strip("\n")):
            id = self.vocabulary.ids.get("".join(letters))
            if id is not None:
                return [id]
        return self._ids_of(merge(letters, self._rank))

    def _rank(self, left: str, right: str) -> int | None:
        return self._ranks.get(f"{left} {right}")

    def _ids_of(self, symbols: list[str]) -> list[int]:
        find, ids = self.vocabulary.ids.get, []
        for symbol in symbols:
            id = find(symbol)
            if id is not None:
                ids.append(id)
                continue
            # llama.cpp leaves out what has no token at all
            stand_ins = raw_tokens(symbol) if self._rules.get("raw_utf8") else byte_tokens(symbol)
            ids += [id for text in stand_ins if (id := find(text)) is not None]
        return ids

    @cached_property
    def _ranks(self) -> dict[str, int]:
        """The rank of each pair, by the two texts with a space between; of equal pairs, the first one's.

        No symbol holds a space: it is `Ġ` or `▁` in both ways of writing words.
        """
        values = string_array(self.metadata, "merges")
        if values is None:
            if self._rules.get("no_merges"):
                return {}
            raise TokenizerError(f"the file has no {PREFIX}merges, which byte-pair encoding needs")
        texts = all_texts(values)
        texts = [up_to_nul(text) for text in texts] if "\0" in "".join(texts) else texts
        return dict(zip(reversed(texts), range(len(texts) - 1, -1, -1), strict=True))

    # decoding

    def _piece(self, id: int, text: str, attributes: int) -> bytes:
        if attributes & NORMAL:
            if self._rules.get("escape_spaces"):
                return bytes_of(text.replace(ESCAPED_SPACE, " "))
            return decode_letters(text)
        return bytes([byte_value(text)]) if attributes & BYTE else b""


class Gemma4Tokenizer(BPETokenizer):
    """BPE over the text itself, with `▁` for spaces and byte tokens such as `<0x0A>`."""

    default_ids: ClassVar = {}
    forced_pre = "gemma4"


def _pre_rules(metadata: Mapping[str, Any], forced: str | None) -> tuple[str, dict[str, Any]]:
    """Return the pre-tokenizer's name and its rules."""
    name = forced or read_text(metadata, PREFIX + "pre")
    if not name:
        warnings.warn(
            f"the file has no {PREFIX}pre, which says how text is cut into words; the rules 'default' are used, "
            "and tokens may differ from those that the model was trained on",
            stacklevel=4,
        )
        name = "default"
    known = rules()["pre"]
    if name not in known:
        raise TokenizerError(
            f"unknown pre-tokenizer {shown(name)} ({PREFIX}pre); known are {', '.join(sorted(known))}"
        )
    return name, known[name]


KINDS = {"gpt2": BPETokenizer, "gemma4": Gemma4Tokenizer}
