"""From ids back to text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refgguf.tokenizer.base import label
from refgguf.tokenizer.clean import clean_spaces
from tests.tokenizer.conftest import tokenizer_of


def test_the_space_that_encoding_added_goes():
    """A SentencePiece text comes back without the space put before it, also behind BOS, but with its own."""
    spm = tokenizer_of("spm")
    for text in ("time", " time", "  time", ""):
        assert spm.decode(spm.encode(text)) == text
        assert spm.decode(spm.encode(text, add_special=False)) == text


def test_several_bos_are_as_one():
    """Behind two BOS tokens a text begins as behind one, decoded at once or token by token."""
    spm = tokenizer_of("spm")
    ids = [spm.bos, spm.bos, *spm.encode("time", add_special=False)]
    stream = spm.stream()
    assert spm.decode(ids) == "".join(map(stream.feed, ids)) == "time"


def test_special_tokens_show_when_asked_for():
    """Control tokens are left out, or shown as their texts."""
    spm = tokenizer_of("spm")
    ids = spm.encode("<|user|>time")
    assert spm.decode(ids) == " time"
    assert spm.decode(ids, special=True) == "<s><|user|> time"


def test_bytes_join_to_characters():
    """A character in three byte tokens comes out whole, and half of one as U+FFFD."""
    spm = tokenizer_of("spm-no-prefix")
    ids = spm.encode("鱼", add_special=False)
    assert len(ids) == 3
    assert spm.decode(ids) == "鱼"
    assert spm.decode(ids[:2]) == "\ufffd"


def test_a_stream_holds_half_characters_back():
    """Nothing comes until a character is whole; what is left at the end is U+FFFD."""
    spm = tokenizer_of("spm-no-prefix")
    first, second, third = spm.encode("鱼", add_special=False)
    stream = spm.stream()
    assert [stream.feed(first), stream.feed(second), stream.feed(third), stream.flush()] == ["", "", "鱼", ""]
    stream = spm.stream()
    assert [stream.feed(first), stream.feed(second), stream.flush()] == ["", "", "\ufffd"]


def test_a_stream_that_continues_keeps_its_first_space():
    """Tokens that follow a prompt keep the space they begin with; at the beginning it goes."""
    spm = tokenizer_of("spm")
    (token,) = spm.encode("a", add_special=False)
    assert spm.stream().feed(token) == "a"
    assert spm.stream(continues=True).feed(token) == " a"
    stream = spm.stream()
    assert [stream.feed(spm.bos), stream.feed(token), stream.feed(token)] == ["", "a", " a"]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a , b . c ! d ?", "a, b. c! d?"),
        ("it 's I 'm we 're they 've", "it's I'm we're they've"),
        ("don 't I 'd we 'll 'x", "don 't I 'd we 'll 'x"),
        ("a ' b", "a'b"),
        (" ?", "?"),
        ("a  .", "a ."),
        ("", ""),
        ("é . 鱼 , x", "é. 鱼, x"),
    ],
)
def test_spaces_are_cleaned_up(text, clean):
    """Spaces before marks and contractions go, others stay; by hand from llama.cpp's three passes."""
    assert clean_spaces(text.encode()).decode() == clean


def in_three_passes(raw: bytes) -> bytes:
    """Clean up byte by byte, in place, in the three passes of llama.cpp."""
    text = bytearray(raw)

    def run(step) -> None:
        length, total, i = len(text), min(len(text), 1), 1
        while i < length:
            total, i = step(total, i, length)
            i += 1
        del text[total:]

    def marks(total: int, i: int, length: int) -> tuple[int, int]:
        x = text[i]
        total -= text[i - 1] == 32 and x in b"?!.,"
        text[total] = x
        return total + 1, i

    def apostrophes(total: int, i: int, length: int) -> tuple[int, int]:
        x = text[i]
        if x == 39 and i + 1 < length and text[i - 1] == 32 and text[i + 1] == 32:
            total -= 1
            i += 1
            text[i] = 0
        text[total] = x
        return total + 1, i

    def contractions(total: int, i: int, length: int) -> tuple[int, int]:
        x = text[i]
        if text[i - 1] == 32 and x == 39:
            total -= bytes(text[i + 1 : i + 2]) in (b"s", b"m") or bytes(text[i + 1 : i + 3]) in (
                b"re",
                b"ve",
            )
        text[total] = x
        return total + 1, i

    for step in (marks, apostrophes, contractions):
        run(step)
    return bytes(text)


@given(st.text("ab '.,?smrevld", max_size=40))
def test_cleaning_up_is_the_three_passes(text):
    """Any text is cleaned up as by the passes written out byte by byte."""
    assert clean_spaces(text.encode()) == in_three_passes(text.encode())


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" the", " the"),
        (b"\n\t\r", "\\n\\t\\r"),
        (b"\xe4\xbd", "<0xE4><0xBD>"),
        ("鱼".encode(), "鱼"),
        (b"\x00\x1b", "<U+0000><U+001B>"),
        ("\u200b\u2028".encode(), "<U+200B><U+2028>"),
    ],
)
def test_labels(raw, text):
    """Labels show what cannot be seen, and keep what can."""
    assert label(raw) == text


def test_letters_that_are_no_letters_are_marked():
    """A byte-level token with a foreign character shows it as llama.cpp does: the text after the mark."""
    from refgguf.tokenizer.letters import decode_letters

    assert decode_letters("Ġab") == b" ab"
    assert decode_letters("a鱼") == b"a[UNK_BYTE_0xe9b1bca\xe9\xb1\xbc]"
