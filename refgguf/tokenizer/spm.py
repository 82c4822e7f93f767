"""SentencePiece vocabularies of the BPE kind ("SPM"): merge the pair whose token has the best score.

Merging runs over the whole text, spaces included, so in principle it has no words. But two characters that stand
side by side in no token can never be merged across, so the text may be cut between them: nearly always before the
space mark `▁`. That makes pieces that come again and again, and a cache of them.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_spm_session).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import ESCAPED_SPACE, Tokenizer
from refgguf.tokenizer.merge import merge
from refgguf.tokenizer.metadata import bytes_of, text_of
from refgguf.tokenizer.pieces import pieces_before
from refgguf.tokenizer.vocabulary import UNKNOWN
from refgguf.tokenizer.word_cache import WordCache

_not_utf8 = re.compile("[\ud800-\udfff]")
_SIZES = bytes([1] * 12 + [2, 2, 3, 4])  # bytes of a character, by the first one's high half


class SPMTokenizer(Tokenizer):
    """SentencePiece with scores, as in Llama 2, Mistral, Phi-3 and Gemma."""

    family = "SPM"
    default_ids: ClassVar = {"bos": 1, "eos": 2, "unknown": 0}
    default_flags: ClassVar = {"add_bos": True, "add_space_prefix": True}

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        if self.add_space_prefix and after_special:
            text = " " + text
        if not text.isascii() and _not_utf8.search(text):
            return self._encode_bytes(bytes_of(text))
        return self._cache.ids(self._pieces(text.replace(" ", ESCAPED_SPACE)))

    @cached_property
    def _cache(self) -> WordCache:
        return WordCache(lambda piece: self._ids_of(merge(list(piece), self._rank)))

    @cached_property
    def _pieces(self) -> Callable[[str], list[str]]:
        return pieces_before(ESCAPED_SPACE, self.vocabulary.texts)

    @cached_property
    def _ranks(self) -> dict[str, float]:
        vocabulary = self.vocabulary
        scores = (-vocabulary.scores.astype(float)).tolist()
        return {text: scores[id] for text, id in vocabulary.ids.items()}

    def _rank(self, left: str, right: str) -> float | None:
        return self._ranks.get(left + right)

    def _ids_of(self, symbols: list[str]) -> list[int]:
        find, ids = self.vocabulary.ids.get, []
        for symbol in symbols:
            id = find(symbol)
            if id is None:
                ids += self._ids_of_bytes(bytes_of(symbol))
            else:
                ids.append(id)
        return ids

    def _ids_of_bytes(self, raw: bytes) -> list[int]:
        """Return a character that is no token byte by byte; the unknown token where bytes are no tokens."""
        ids = [self._byte_ids[byte] for byte in raw]
        if None not in ids:
            return ids
        unknown = self.vocabulary.named_role("unknown")
        if unknown is not None and self._attributes_of(unknown) & UNKNOWN:
            return [unknown]
        raise TokenizerError(
            f"the vocabulary has no token for {raw.decode('utf-8', 'replace')!r}, neither for its bytes "
            "nor for what is unknown"
        )

    @cached_property
    def _byte_ids(self) -> list[int | None]:
        find = self.vocabulary.ids.get
        return [find(f"<0x{byte:02X}>", find(text_of(bytes([byte])))) for byte in range(256)]

    def _encode_bytes(self, raw: bytes) -> list[int]:
        """Tokenize bytes that are not UTF-8: characters are as long as their first bytes say."""
        raw = raw.replace(b" ", ESCAPED_SPACE.encode())
        symbols, at = [], 0
        while at < len(raw):
            size = _SIZES[raw[at] >> 4]
            symbols.append(
                raw[at : at + size].decode("latin-1")
            )  # one letter a byte, so that joining is joining
            at += size
        ranks, vocabulary_text = self._ranks, _from_latin
        merged = merge(symbols, lambda left, right: ranks.get(vocabulary_text(left + right)))
        return self._ids_of([vocabulary_text(symbol) for symbol in merged])


def _from_latin(text: str) -> str:
    return text_of(text.encode("latin-1"))


KINDS = {"llama": SPMTokenizer}
