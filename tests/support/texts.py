"""Texts that tokenizers trip over: chosen ones, and random mixtures of scripts, spaces, digits and controls."""

from __future__ import annotations

import random
import re

FIXED = (
    "",
    " ",
    "  ",
    "\n",
    " \n \n\n  x",
    "\t\t\r\n\v\f",
    "Hello, world!",
    "  leading and trailing  ",
    "I'm we'll you've they're HE'D it'S 'tis 'S",
    "1 12 123 1234 12345 123456 1234567 3.14159 ①②③ ½ ٣٤٥",
    "foo_bar fooBar XMLHttpRequest C++ a==b // <html> $5 `x` ~y^z",
    "你好，世界。こんにちは カタカナ 안녕하세요",
    "Привет мир Ελληνικά עברית العربية हिन्दी ไทย",
    "naïve café Ünïcödé Straße ﬁ Å e\u0301 A\u0300",
    "🚀👍🏽👨\u200d👩\u200d👧 \u200b\ufeff\u00ad",
    "\x00\x01\x1c\x1f\x7f\x80\x85\u00a0\u2028\u3000",
    "\u0378\u2fff\U0002fa1f\ufa6e\U000e0001\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "======================---------------..........................",
    "                         25 spaces",
    "word" * 30,
    "Ⅷ ⅷ ª º ʰ ǅ 𝒜𝓫 ꓘ \u2b920 𫤠",
    "abc1234def56 7,890 0x1F 1e10 2024-01-31",
)
RANGES = (
    *((0x20, 0x7F), (0x20, 0x7F), (0x61, 0x7B), (0x30, 0x3A), (0xA0, 0x180), (0x370, 0x500), (0x590, 0x700)),
    *((0x900, 0x980), (0xE00, 0xE80), (0x1100, 0x1200), (0x2000, 0x2070), (0x20A0, 0x2200), (0x2500, 0x2600)),
    *((0x3000, 0x3190), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xF900, 0xFB00), (0xFE00, 0x10000)),
    *(
        (0x1F300, 0x1F700),
        (0x1D400, 0x1D500),
        (0x20000, 0x20100),
        (0x2B800, 0x2B940),
        (0, 0x20),
        (0x300, 0x370),
    ),
    *((0x10FFFD, 0x110000), (0xE000, 0xE010), (0x80, 0xA0)),
)
SPACES = " \t\n\r\v\f\x85\xa0\u2003\u3000\u200b\ufeff"
WORDS = " ".join(FIXED[6:15]).split()
BAD_BYTES = (
    *(b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xed\xb0\x80"),
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xc0\x80", b"\xf8\x88\x80\x80\x80"),
)
_beyond_unicode = re.compile(rb"\xf4[\x90-\xbf]|[\xf5-\xf7][\x80-\xbf]")


def random_text(r: random.Random) -> str:
    """Return a short random text without lone surrogates."""
    parts = []
    for _ in range(r.choice([1, 2, 3, 5, 10, 40])):
        parts.append(_part(r))
        if r.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


def _part(r: random.Random) -> str:
    kind = r.random()
    if kind < 0.35:
        return r.choice(WORDS)
    if kind < 0.5:
        return " " * r.choice([1, 1, 2, 3, 4, 7, 16, 17, 25])
    if kind < 0.58:
        return "".join(r.choice(SPACES) for _ in range(r.choice([1, 2, 3])))
    if kind < 0.63:
        return "\n" * r.choice([1, 1, 2, 3, 5])
    if kind < 0.85:
        first, last = r.choice(RANGES)
        return "".join(chr(r.randrange(first, last)) for _ in range(r.choice([1, 1, 2, 4, 8])))
    if kind < 0.92:
        code_point = r.randrange(0x110000)
        return "" if 0xD800 <= code_point < 0xE000 else chr(code_point)
    if kind < 0.97:
        return "".join(r.choice("0123456789") for _ in range(r.choice([1, 3, 4, 7, 12])))
    return r.choice("ab=-.!_'/é一 ") * r.choice([10, 30, 70])


def with_specials(r: random.Random, text: str, specials: list[str]) -> str:
    """Put texts of special tokens into a text: whole, repeated, side by side, cut short, with spaces around."""
    for _ in range(r.choice([1, 1, 3])):
        more = r.choice(specials)
        if r.random() < 0.3:
            more *= r.choice([2, 3])
        if r.random() < 0.3:
            more += r.choice(specials)
        if r.random() < 0.3:
            cut = r.randrange(len(more) + 1)
            more = more[:cut] + more[cut + 1 :]
        if r.random() < 0.3:
            more = " " * r.choice([1, 2, 5, 25]) + more + r.choice([" ", "\n", " \n "])
        at = r.randrange(len(text) + 1)
        text = text[:at] + more + text[at:]
    return text


def random_bytes(r: random.Random, text: str) -> bytes:
    """Return a text's bytes with some of them spoiled, but nothing that stands for a number above U+10FFFF."""
    raw = bytearray(text.encode())
    for _ in range(r.choice([1, 2, 5])):
        at = r.randrange(len(raw) + 1)
        if r.random() < 0.7 or at == len(raw):
            raw[at:at] = r.choice(BAD_BYTES)
        else:
            del raw[at]
    return _beyond_unicode.sub(b"?", bytes(raw))


# not assigned in any version of Unicode so far, or never to be
UNASSIGNED = (
    0x378,
    0x530,
    0x5C0 + 0x0A,
    0x1C8F,
    0x2FE0,
    0xA7DF,
    0x10290,
    0x1FB00 + 0xCB,
    0x3134B,
    0xE0080,
    0x50000,
)
NEVER = (0xFDD0, 0xFFFE, 0x1FFFE, 0x9FFFF)
LONG = (" ", "\n", "\t", "a", ".", "é", "你", "🚀", "\u0301", "1", "=", "\r\n", "\u3000", "Ġ", "▁", "\x00")
MARKS = "\u202e\u200f\ufeff\u2066\u00ad\ufe0f\u200d"
CODE = (
    "def f(x):\n\treturn x**2\n", '{"a": [1, 2.5e-3, null]}', '<div class="x">&nbsp;</div>', "$$\\frac{a}{b}$$",
    "https://a.b/c?d=e&f=%20#g", "```py\n    x\n```", "SELECT * FROM t;--",
)  # fmt: skip
SCRIPTS = (
    "한국어 텍스트", "ภาษาไทยไม่มีช่องว่าง", "ᎠᎡ ꮃ", "नमस्ते दुनिया", "مرحبا بالعالم", "שלום", "Ǆǅǆ İıſẞ", "ﬀﬁﬂ",
    "𐐀𐐨", "ΑΣ ας",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"


def harder_text(r: random.Random, pieces: list[str], specials: list[str]) -> str:
    """Return a random text of what a vocabulary itself holds, very long runs, marks, unassigned code points, code.

    Args:
        r: random numbers.
        pieces: texts of some of the vocabulary's tokens.
        specials: texts of its special tokens.
    """
    return "".join(_harder_part(r, pieces, specials) for _ in range(r.choice([1, 2, 4, 8, 20])))


def _harder_part(r: random.Random, pieces: list[str], specials: list[str]) -> str:
    kinds = (
        lambda: r.choice(LONG) * r.choice([2, 3, 7, 17, 64, 300, 1500]),
        lambda: "".join(chr(r.choice(UNASSIGNED + NEVER)) for _ in range(r.randrange(1, 5))),
        lambda: "".join(r.choice(pieces) for _ in range(r.randrange(1, 12))),
        lambda: with_specials(r, r.choice(["", "a", " x "]), specials) if specials else "",
        lambda: "".join(
            r.choice("'’ʼ`") + r.choice(["s", "RE", "ve", "M", "lL", "d", "ſ", "x"]) for _ in range(3)
        ),
        lambda: "".join(r.choice("aeiouxyzAB") + _marks(r) for _ in range(5)),
        lambda: r.choice(MARKS) + r.choice(WORDS),
        lambda: "".join(r.choice("0123456789٣४๓④Ⅷ½²,._-/") for _ in range(r.randrange(1, 40))),
        lambda: "".join(r.choice(["\r", "\n", "\r\n", *SPACES, "\u2028"]) for _ in range(r.randrange(1, 12))),
        lambda: "".join(_any_character(r) for _ in range(r.randrange(1, 12))),
        lambda: "".join(r.choice(LETTERS) for _ in range(r.choice([3, 30, 400]))),
        lambda: r.choice(CODE + SCRIPTS),
        lambda: random_text(r),
    )
    return r.choice(kinds)()


def _marks(r: random.Random) -> str:
    return "".join(chr(r.randrange(0x300, 0x36F)) for _ in range(r.randrange(9)))


def _any_character(r: random.Random) -> str:
    return chr(r.choice([r.randrange(0x20, 0xD800), r.randrange(0xE000, 0x110000)]))


def spoiled_bytes(r: random.Random, text: str) -> bytes:
    """Return a text's bytes with many of them changed, taken away or put in, none beyond U+10FFFF."""
    raw = bytearray(text.encode())
    for _ in range(r.choice([1, 2, 5, 20])):
        at, kind = r.randrange(len(raw) + 1), r.randrange(4)
        if kind == 0 or not raw:
            raw[at:at] = r.choice(BAD_BYTES)
        elif kind == 1:
            del raw[min(at, len(raw) - 1)]
        elif kind == 2:
            raw[min(at, len(raw) - 1)] = r.randrange(256)
        else:
            raw[at:at] = bytes(r.randrange(256) for _ in range(r.randrange(1, 6)))
    return _beyond_unicode.sub(b"?", bytes(raw))
