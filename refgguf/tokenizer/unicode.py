"""Unicode as llama.cpp sees it: categories of version 15.1, and its lenient reading of UTF-8.

Its pre-tokenizers never look at a character but at a class of characters: text is "collapsed" to one byte a code
point, where ASCII stands for itself and everything else for its class, and the regular expressions run on that.
Doing the same gives the same words, odd ones included, and is fast: one table look-up in NumPy.

Source: llama.cpp src/unicode.cpp (unicode_regex_split, unicode_cpts_from_utf8, unicode_cpt_is_han).
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np

from refgguf.errors import TokenizerError

N_CODE_POINTS = 0x110000
LAST_CODE_POINT = N_CODE_POINTS - 1
REPLACEMENT = "\ufffd"

# What a code point above ASCII becomes in collapsed text; the numbers are llama.cpp's, except that Han is apart
# (its kimi-k2 splitter knows Han by range): a Han letter is a letter too, other Han is unassigned.
OTHER, NUMBER, LETTER, PUNCTUATION, MARK, SYMBOL, HAN_LETTER, HAN_OTHER = "\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7"
SPACE = "\x0b"  # std::regex knows ASCII white space only, so llama.cpp turns all other into this one
_CLASS_OF_CATEGORY = {
    "N": NUMBER,
    "L": LETTER,
    "P": PUNCTUATION,
    "M": MARK,
    "S": SYMBOL,
    "Z": OTHER,
    "C": OTHER,
    "U": OTHER,
}
_WHITE_SPACE = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_HAN = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2CEB0, 0x2EBEF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_wide_space = re.compile("[" + "".join(map(chr, _WHITE_SPACE)) + "]")


@cache
def categories() -> np.ndarray:
    """Return the general category's first letter of every code point: (0x110000,) uint8, U where unassigned."""
    entries = json.loads(Path(__file__).with_name("unicode.json").read_text(encoding="utf-8"))[
        "categories"
    ].split()
    starts = np.cumsum([int(entry[:-1], 16) for entry in entries])
    lengths = np.diff(starts, append=N_CODE_POINTS)
    return np.repeat(np.array([ord(entry[-1]) for entry in entries], np.uint8), lengths)


@cache
def _classes() -> np.ndarray:
    """Return what each code point collapses to: (0x110000,) uint8."""
    of_category = np.zeros(128, np.uint8)
    for letter, klass in _CLASS_OF_CATEGORY.items():
        of_category[ord(letter)] = ord(klass)
    table = of_category[categories()]
    for first, last in _HAN:
        block = table[first : last + 1]
        block[:] = np.where(block == ord(LETTER), ord(HAN_LETTER), ord(HAN_OTHER))
    table[list(_WHITE_SPACE)] = ord(SPACE)
    table[:128] = np.arange(128)
    return table


def collapse(text: str) -> str:
    """Replace every character above ASCII by its class, one character for one."""
    if text.isascii():
        return text
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _classes()[code_points].tobytes().decode("latin-1")


def narrow_spaces(text: str) -> str:
    """Replace white space above ASCII by one that ASCII regular expressions know, one character for one."""
    return text if text.isascii() else _wide_space.sub(SPACE, text)


def is_white_space(char: str) -> bool:
    """Tell whether a character has the property White_Space."""
    return char in " \t\n\v\f\r" if char < "\x80" else ord(char) in _WHITE_SPACE


def category(char: str) -> str:
    """Return the first letter of a character's general category; U when it is unassigned."""
    return chr(categories()[ord(char)])


def lower(char: str) -> str:
    """Return the simple lower case of a character: always one character."""
    # characters assigned after 15.1 keep their case, whatever this Python knows
    return char if category(char) == "U" else char.lower()[0]


def without_accent(char: str) -> str:
    """Return the first character of the canonical decomposition, which is all that llama.cpp keeps."""
    return char if category(char) == "U" else unicodedata.normalize("NFD", char)[0]


def decode_lenient(raw: bytes) -> str:
    """Read bytes as llama.cpp reads UTF-8: overlong forms and surrogates count, other faults become U+FFFD.

    Raises:
        TokenizerError: the bytes encode a number above U+10FFFF (llama.cpp ends the program there).
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    chars = []
    at = 0
    while at < len(raw):
        lead = raw[at]
        size = 1 if lead < 0x80 else 2 if 0xC0 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4
        rest = raw[at + 1 : at + size]
        if size > 1 and (
            lead < 0xC0 or lead >= 0xF8 or len(rest) < size - 1 or any(b & 0xC0 != 0x80 for b in rest)
        ):
            chars.append(REPLACEMENT)
            at += 1
            continue
        code_point = lead if size == 1 else lead & (0x7F >> size)
        for byte in rest:
            code_point = code_point << 6 | byte & 0x3F
        if code_point > LAST_CODE_POINT:
            raise TokenizerError(
                f"the text is not UTF-8: bytes {raw[at : at + size].hex(' ')} stand for a number above U+10FFFF; "
                "give valid UTF-8"
            )
        chars.append(chr(code_point))
        at += size
    return "".join(chars)
