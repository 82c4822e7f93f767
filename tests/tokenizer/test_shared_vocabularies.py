"""The real vocabularies of the test data, with the test cases of the llama.cpp project."""

from __future__ import annotations

import time

import pytest

import refgguf
from refgguf.tokenizer import load_tokenizer
from tests.support.testdata import data_file

pytestmark = pytest.mark.testdata

NAMES = (
    *("bert-bge", "command-r", "deepseek-llm", "falcon", "gpt-2", "llama-bpe", "llama-spm"),
    *("mpt", "phi-3", "qwen2", "starcoder"),
)
SEPARATOR = "\n__ggml_vocab_test__\n"


@pytest.mark.parametrize("name", NAMES)
def test_cases_of_llama_cpp(name):
    """Every text of X.gguf.inp becomes the ids on its line of X.gguf.out."""
    path = data_file(f"vocabs/ggml-vocab-{name}.gguf")
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(path.name + ".out").read_text().split("\n")
    assert len(texts) >= 40
    with refgguf.open(path) as file:
        tokenizer = load_tokenizer(file.metadata)
        for text, line in zip(texts, lines, strict=False):
            expected = [int(word) for word in line.split()]
            assert tokenizer.encode(text, add_special=False, parse_special=False) == expected, text


@pytest.mark.parametrize("name", NAMES)
def test_text_comes_back(name):
    """Decoding what was encoded gives the text, where the vocabulary's own rules do not change it."""
    if name == "bert-bge":
        pytest.skip("WordPiece drops case and spaces by its nature")
    path = data_file(f"vocabs/ggml-vocab-{name}.gguf")
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split(SEPARATOR)
    with refgguf.open(path) as file:
        tokenizer = load_tokenizer(file.metadata)
        for text in texts:
            ids = tokenizer.encode(text, add_special=True, parse_special=False)
            # the file may ask to clean up spaces, which would change the text
            assert tokenizer.decode(ids, clean=False) == text


def test_the_largest_vocabulary_opens_quickly():
    """A vocabulary of 256,000 tokens reads and encodes a first text within a second, and labels cost nothing."""
    path = data_file("vocabs/ggml-vocab-command-r.gguf")
    best_first = best_label = float("inf")
    for _ in range(3):
        with refgguf.open(path) as file:
            start = time.process_time()  # not the clock: other processes would count
            tokenizer = load_tokenizer(file.metadata)
            tokenizer.token_text(200_000)
            best_label = min(best_label, time.process_time() - start)
            tokenizer.encode("Hello")
            best_first = min(best_first, time.process_time() - start)
    assert best_first < 1.0
    assert best_label < 0.05
