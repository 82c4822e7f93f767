"""Unicode as llama.cpp sees it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refgguf.errors import TokenizerError
from refgguf.tokenizer import unicode as uni


def test_categories_are_pythons_where_it_knows_them():
    """Characters assigned when this Python's and our table were made have the same category, but for corrections."""
    ours = uni.categories().tobytes().decode("ascii")
    differ = [
        code_point
        for code_point in range(uni.N_CODE_POINTS)
        if (theirs := unicodedata.category(chr(code_point))) != "Cn"
        and ours[code_point] not in ("U", theirs[0])
    ]
    assert len(differ) <= 8, [hex(code_point) for code_point in differ]
    assert len(ours) == uni.N_CODE_POINTS


@pytest.mark.parametrize(
    ("text", "collapsed"),
    [
        ("aZ 9!\n", "aZ 9!\n"),
        ("éÅЖ", "\xd2\xd2\xd2"),
        ("٣½", "\xd1\xd1"),
        ("。—", "\xd3\xd3"),
        ("\u0301", "\xd4"),
        ("€", "\xd5"),
        ("你", "\xd6"),
        ("\ufa6e", "\xd7"),
        ("\u3000\u00a0\x85", "\x0b\x0b\x0b"),
        ("\u200b\ue000\u0378", "\xd0\xd0\xd0"),
    ],
)
def test_collapsed_text(text, collapsed):
    """Each character becomes its class, ASCII stays."""
    assert uni.collapse(text) == collapsed


@given(st.text())
def test_collapsing_keeps_the_length(text):
    """One character becomes one character."""
    assert len(uni.collapse(text)) == len(uni.narrow_spaces(text)) == len(text)


@given(st.text())
def test_valid_utf8_is_read_as_it_is(text):
    """What is UTF-8 comes out unchanged."""
    assert uni.decode_lenient(text.encode()) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd\ufffd"),
        (b"\x80\xbf", "\ufffd\ufffd"),
        (b"\xc3(", "\ufffd("),
        (b"\xc0\xaf", "/"),  # overlong, and let pass
        (b"\xe0\x80\xaf\xff", "/\ufffd"),
        (b"\xed\xa0\x80", "\ud800"),
        (b"\xf0\x9f\x98\x80\xff", "\U0001f600\ufffd"),
        (b"\xf8\x88\x80\x80\x80", "\ufffd" * 5),
    ],
)
def test_wrong_utf8_is_read_as_llama_cpp_does(raw, text):
    """One U+FFFD for each byte that begins no character; overlong forms and surrogates pass."""
    assert uni.decode_lenient(raw) == text


@pytest.mark.parametrize("raw", [b"\xf4\x90\x80\x80", b"a\xf7\xbf\xbf\xbf"])
def test_numbers_beyond_unicode_are_refused(raw):
    """What no character can be is an error with the bytes in it; llama.cpp ends the program there."""
    with pytest.raises(TokenizerError, match=r"stand for a number above U\+10FFFF"):
        uni.decode_lenient(raw)


def test_simple_case_and_accents():
    """Lower case is one character always, and accents fall off composed letters."""
    assert [uni.lower(char) for char in "AÉİǅẞK"] == ["a", "é", "i", "ǆ", "ß", "k"]
    assert [uni.without_accent(char) for char in "éÅ가x"] == ["e", "A", "\u1100", "x"]
