"""Remove the spaces that word-based vocabularies leave before punctuation.

Three passes over bytes. Source: llama.cpp src/llama-vocab.cpp (detokenize, clean_spaces), which follows
clean_up_tokenization_spaces of transformers.
"""

from __future__ import annotations

import re

_before_mark = re.compile(rb" (?=[?!.,])")
_contraction = re.compile(rb" (?='(?:[sm]|re|ve))")


def clean_spaces(raw: bytes) -> bytes:
    """Return the text without the spaces before `?!.,`, around a lone `'` and before `'s 'm 're 've`."""
    return _contraction.sub(b"", _before_mark.sub(b"", raw).replace(b" ' ", b"'"))
