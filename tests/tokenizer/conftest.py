"""Tokenizers of the self-made vocabularies, by name."""

from __future__ import annotations

from functools import cache

import pytest

from refgguf.tokenizer import Tokenizer, load_tokenizer
from tests.support.vocabularies import EVERY_KIND


@cache
def tokenizer_of(name: str) -> Tokenizer:
    """Return the tokenizer of a vocabulary in EVERY_KIND; made once."""
    return load_tokenizer(EVERY_KIND[name]())


@pytest.fixture(params=sorted(EVERY_KIND))
def every_tokenizer(request) -> Tokenizer:
    """A tokenizer of each kind in turn."""
    return tokenizer_of(request.param)
