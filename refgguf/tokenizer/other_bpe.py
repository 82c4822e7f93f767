"""Two variations of byte-pair encoding: HybridDNA, which spells DNA in sixes, and the one that drops white space.

Source: llama.cpp src/llama-vocab.cpp (llm_tokenizer_hybriddna_session, llm_tokenizer_whitespace_session).
"""

from __future__ import annotations

import re

from refgguf.tokenizer import unicode as uni
from refgguf.tokenizer.bpe import BPETokenizer
from refgguf.tokenizer.metadata import bytes_of, read_flag, text_of

_KMER = 6
_MARKER = "\ue000"  # ends the texts of six-letter tokens, to tell them from words that look alike
_dna = re.compile("(<dna>)(.*?)(</dna>|\\Z)", re.DOTALL)
_lower_ascii = {code: chr(code - 32) for code in range(ord("a"), ord("z") + 1)}


class HybridDNATokenizer(BPETokenizer):
    """BPE, except that between `<dna>` and `</dna>` every six letters are one token."""

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        find = self.vocabulary.ids.get
        begin, end, unknown = find("<dna>"), find("</dna>"), find("<oov>")
        if begin is None or end is None or unknown is None:
            return super()._encode_text(text, after_special)
        ids, done = [], 0
        for match in _dna.finditer(text):
            if match.start() > done:
                ids += super()._encode_text(text[done : match.start()], after_special)
            ids += [begin, *self._kmers(match[2], unknown), *([end] if match[3] else [])]
            done = match.end()
        return ids + (super()._encode_text(text[done:], after_special) if done < len(text) else [])

    def _kmers(self, letters: str, unknown: int) -> list[int]:
        raw = bytes_of(letters.translate(_lower_ascii))
        raw += b"A" * (-len(raw) % _KMER)
        find = self.vocabulary.ids.get
        return [find(text_of(raw[k : k + _KMER]) + _MARKER, unknown) for k in range(0, len(raw), _KMER)]

    def _piece(self, id: int, text: str, attributes: int) -> bytes:
        unknown = self.vocabulary.ids.get("<oov>")
        if unknown is not None and id > unknown and text != _MARKER:
            text = text.removesuffix(_MARKER)
        return super()._piece(id, text, attributes)


class WhitespaceTokenizer(BPETokenizer):
    """BPE of what lies between white space, which itself is dropped."""

    def _encode_readable(self, text: str) -> list[int]:
        lowercase = read_flag(self.metadata, "normalizer.lowercase", self.pre != "whitespace")
        ids = []
        for word in uni.narrow_spaces(text).translate(_SPLIT).split(" "):
            if word:
                ids += super()._encode_readable("".join(map(uni.lower, word)) if lowercase else word)
        return ids


_SPLIT = dict.fromkeys(map(ord, "\t\n\v\f\r"), " ")

KINDS = {"hybriddna": HybridDNATokenizer, "whitespace": WhitespaceTokenizer}
