"""Every kind of tokenizer, and every way of cutting words, gives the ids that llama.cpp gave."""

from __future__ import annotations

import pytest

from refgguf.tokenizer import load_tokenizer
from tests.support.golden_tokens import CASES, answers_of, load_golden
from tests.support.texts import FIXED


@pytest.mark.parametrize("name", sorted(CASES))
def test_ids_are_llama_cpps(name):
    """The fixed texts become the ids whose checksums llama.cpp's answers have."""
    tokenizer = load_tokenizer(CASES[name]())
    found = answers_of(lambda raw: tokenizer.encode(raw, add_special=False, parse_special=False)).split()
    expected = load_golden()[name].split()
    assert [text for text, a, b in zip(FIXED, found, expected, strict=True) if a != b] == []


def test_every_case_has_an_answer():
    """No case lacks an answer, and no answer its case."""
    assert set(load_golden()) == set(CASES)
