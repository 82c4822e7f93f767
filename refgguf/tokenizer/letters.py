"""The two ways in which byte-pair encoding writes a word: GPT-2's alphabet of bytes, or the text itself.

Source: llama.cpp src/unicode.cpp (unicode_byte_to_utf8_map), src/llama-vocab.cpp (llama_decode_text,
llm_tokenizer_bpe_session).
"""

from __future__ import annotations

import re

from refgguf.tokenizer.metadata import bytes_of, text_of
from refgguf.tokenizer.unicode import decode_lenient

_surrogate = re.compile("[\ud800-\udfff]")


def _byte_alphabet() -> str:
    """Return the character that stands for each byte: itself if printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


ALPHABET = _byte_alphabet()
_TO_BYTE = {char: byte for byte, char in enumerate(ALPHABET)}
_FROM_LATIN = dict(enumerate(ALPHABET))


def byte_letters(word: str) -> list[str]:
    """Return a word's bytes, one letter of the alphabet each."""
    return list(word.encode("utf-8", "surrogatepass").decode("latin-1").translate(_FROM_LATIN))


def raw_letters(word: str) -> list[str]:
    """Return a word's characters; half a surrogate pair as the bytes that it came from."""
    if not word.isascii() and _surrogate.search(word):
        return [text_of(char.encode("utf-8", "surrogatepass")) for char in word]
    return list(word)


def byte_tokens(symbol: str) -> list[str]:
    """Return the texts of the tokens that stand in for a symbol that is none.

    They are the bytes of the alphabet's letters, not those the letters mean: so llama.cpp does it, and only
    ASCII ones can be tokens.
    """
    return [text_of(bytes([byte])) for byte in bytes_of(symbol)]


def raw_tokens(symbol: str) -> list[str]:
    """Return the texts of the byte tokens that stand in for a symbol that is no token."""
    return [f"<0x{byte:02X}>" for byte in bytes_of(symbol)]


def decode_letters(text: str) -> bytes:
    """Return the bytes that a text in the alphabet means; foreign characters are marked as llama.cpp does."""
    try:
        return bytes([_TO_BYTE[char] for char in text])
    except KeyError:
        pass
    raw, whole = bytearray(), bytes_of(text)
    for char in decode_lenient(whole):
        if char in _TO_BYTE:
            raw.append(_TO_BYTE[char])
        else:
            raw += b"[UNK_BYTE_0x" + char.encode("utf-8", "surrogatepass").hex().encode() + whole + b"]"
    return bytes(raw)
