"""Cutting text into words: coverage, hand-made cases, and linear time."""

from __future__ import annotations

import random
import time

import pytest

from refgguf.tokenizer.split import Splitter, rules, splitter
from tests.support.texts import FIXED, random_text

SPLITTERS = sorted(rules()["splitters"])
TEXTS = [*FIXED, *(random_text(random.Random(k)) for k in range(60))]


@pytest.mark.parametrize("name", SPLITTERS)
def test_words_are_the_text(name):
    """Words joined are the text, and no word is empty."""
    for text in TEXTS:
        words = splitter(name).words(text)
        assert "".join(words) == text
        assert "" not in words


@pytest.mark.parametrize("name", SPLITTERS)
def test_the_quick_way_is_the_careful_way(name):
    """Splitters of one pattern find the same words in one sweep as stage by stage."""
    for text in TEXTS:
        if text:
            ends = splitter(name).cuts(text)
            assert splitter(name).words(text) == [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gpt-2", "Hello, I'm  here \n 42x", ["Hello", ",", " I", "'m", " ", " here", " \n", " 42", "x"]),
        ("llama3", "I'M 12345\n\nx  y", ["I", "'M", " ", "123", "45", "\n\n", "x", " ", " y"]),
        ("qwen2", "a1234 b!\n c", ["a", "1", "2", "3", "4", " b", "!\n", " c"]),
        ("starcoder", "x12 3", ["x", "1", "2", " ", "3"]),
        ("tekken", "HelloWorld XMLHttp", ["Hello", "World", " XMLHttp"]),
        ("falcon", "ab,cd 12345", ["ab", ",", "cd", " ", "123", "45"]),
        ("superbpe", "1234567 ab", ["1", "234", "567", " ab"]),
        ("tiny_aya", "no. 1234567", ["no", ".", " ", "1", "234", "567"]),
        ("kimi-k2", "你好abc's 世", ["你好", "abc's", " ", "世"]),
        ("deepseek-llm", "hi there 12 \n", ["hi", " there", " ", "12", " ", "\n"]),
        ("bloom", "Hi there, you", ["Hi", " there", ",", " you"]),
        ("lines", "a b\n\nc", ["a b", "\n\n", "c"]),
        ("jais2", "a" + " " * 7 + "b", ["a", "    ", "  ", " b"]),
    ],
)
def test_words_by_hand(name, text, words):
    """Chosen texts fall into the words that the rules give when they are followed by hand."""
    assert splitter(name).words(text) == words


def test_digits_in_threes_take_what_stands_before_them():
    """Counted from the right; text before a run stays with its first group: odd, and llama.cpp's way."""
    assert Splitter(["@digit-groups"]).words("no. 1234567x89") == ["no. 1", "234", "567", "x89"]


def test_look_ahead_ends_with_the_piece():
    r"""A stage sees its piece alone: `a(?=b)` finds nothing where the stage before cut between a and b."""
    assert Splitter(["b", "a(?=b)|c"]).words("ab") == ["a", "b"]


def test_classes_are_written_out_inside_and_outside_of_sets():
    """A Unicode class works alone, in a set, and in a negated set."""
    assert Splitter([r"\p{L}+"]).words("añ1") == ["añ", "1"]
    assert Splitter([r"[\p{N}x]+"]).words("a1x٣b") == ["a", "1x٣", "b"]
    assert Splitter([r"[^\p{L}]+"]).words("ab12ñ") == ["ab", "12", "ñ"]


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("unit", [" ", "a", "1", "\n", "-", "é", " \n", "a ", "一", "aB", "'"])
def test_long_runs_take_time_in_proportion(name, unit):
    """A run of 64,000 characters of one kind is cut in linear time: squared, it would take minutes."""
    text = (unit * 64_000)[:64_000] + "x"
    start = time.process_time()
    splitter(name).words(text)
    assert time.process_time() - start < 5
