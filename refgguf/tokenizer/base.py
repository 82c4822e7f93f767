"""What every tokenizer has in common: encoding around special tokens, decoding, labels, end of generation.

A family (one file each) says how ordinary text becomes ids and what bytes a token stands for.

Source: llama.cpp src/llama-vocab.cpp (tokenize, token_to_piece, detokenize).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from refgguf.errors import TokenizerError
from refgguf.tokenizer.clean import clean_spaces
from refgguf.tokenizer.metadata import bytes_of, read_flag, text_of
from refgguf.tokenizer.special import SpecialTokens
from refgguf.tokenizer.stream import TokenStream
from refgguf.tokenizer.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary

ESCAPED_SPACE = "\u2581"  # ▁, which stands for a space in SentencePiece vocabularies
_SPECIAL = CONTROL | UNKNOWN


class Tokenizer:
    """Turns text into token ids and back, as llama.cpp does.

    Args:
        metadata: a GGUF file's metadata.

    Raises:
        TokenizerError: the metadata is incomplete or contradicts itself; the message says where.
    """

    family: ClassVar[str]  # what people call it: "SPM", "BPE", …
    reads_text: ClassVar[bool] = True  # whether there is a vocabulary to encode text with
    default_ids: ClassVar[Mapping[str, int]] = {}
    default_flags: ClassVar[Mapping[str, bool]] = {}

    def __init__(self, metadata: Mapping[str, Any]):
        self.metadata = metadata
        flags = self._default_flags()
        self.vocabulary = Vocabulary(metadata, self._default_ids())
        self.add_bos = read_flag(metadata, "add_bos_token", flags.get("add_bos", False))
        self.add_eos = read_flag(metadata, "add_eos_token", flags.get("add_eos", False))
        self.add_sep = read_flag(metadata, "add_sep_token", flags.get("add_sep", False))
        self.add_space_prefix = read_flag(metadata, "add_space_prefix", flags.get("add_space_prefix", False))
        self.clean_spaces = flags.get("clean_spaces", False)

    def _default_ids(self) -> Mapping[str, int]:
        return self.default_ids

    def _default_flags(self) -> Mapping[str, bool]:
        return self.default_flags

    # what a family defines

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        """Turn text without special tokens into ids.

        Args:
            text: not empty; bytes that are not UTF-8 are lone surrogates.
            after_special: whether this is the beginning or follows a special token.
        """
        raise NotImplementedError

    def _piece(self, id: int, text: str, attributes: int) -> bytes:
        """Return the bytes of a token that is neither special nor user-defined."""
        if attributes & NORMAL:
            return bytes_of(text.replace(ESCAPED_SPACE, " "))
        return bytes([byte_value(text)]) if attributes & BYTE else b""

    # encoding

    def encode(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Turn text into token ids.

        Args:
            text: what to tokenize. Bytes need not be valid UTF-8: they are read as llama.cpp reads them.
            add_special: add the tokens that the file wants around a text, such as BOS.
            parse_special: read special tokens such as `<|im_end|>` in the text as tokens rather than as text.

        Raises:
            TokenizerError: the text holds half of a surrogate pair, or a character that the vocabulary cannot
                express.
        """
        ids = list(self._before()) if add_special else []
        after_special = True
        for fragment in self._specials(parse_special).cut(_checked(text)):
            if isinstance(fragment, int):
                ids.append(fragment)
                after_special = True
            else:
                ids += self._encode_text(fragment, after_special)
                after_special = False
        if add_special:
            ids += self._after()
        return ids

    def _before(self) -> list[int]:
        """Return the ids that stand before every text."""
        return [self._needed("bos", "add_bos_token")] if self.add_bos else []

    def _after(self) -> list[int]:
        """Return the ids that stand after every text."""
        return [self._needed("eos", "add_eos_token")] if self.add_eos else []

    def _needed(self, role: str, wanted_by: str) -> int:
        id = self.vocabulary.named_role(role)
        if id is None:
            raise TokenizerError(
                f"the tokenizer adds a token {role.upper()} ({wanted_by}) and the file names none; "
                "encode without special tokens"
            )
        return id

    def _specials(self, parse_special: bool) -> SpecialTokens:
        return self._specials_parsed if parse_special else self._specials_plain

    @cached_property
    def _specials_parsed(self) -> SpecialTokens:
        return SpecialTokens(self.vocabulary, parse_special=True)

    @cached_property
    def _specials_plain(self) -> SpecialTokens:
        return SpecialTokens(self.vocabulary, parse_special=False)

    # decoding

    def decode(self, ids: Iterable[int], *, special: bool = False, clean: bool | None = None) -> str:
        """Turn token ids into text.

        A leading space that encoding added is taken off again, also behind BOS (where llama.cpp leaves it).

        Args:
            ids: the tokens.
            special: show special tokens as their texts instead of leaving them out.
            clean: remove spaces before punctuation as llama.cpp does for some vocabularies; None does what the
                file's kind of tokenizer does by default.

        Raises:
            TokenizerError: an id lies outside the vocabulary.
        """
        ids = [int(id) for id in ids]
        pieces = [self._shown(id, special) for id in ids]
        first = 0
        while self.add_bos and not special and first < len(ids) and ids[first] == self.bos:
            first += 1
        if self.add_space_prefix and len(pieces) > first:
            pieces[first] = pieces[first].removeprefix(b" ")
        raw = b"".join(pieces)
        if self.clean_spaces if clean is None else clean:
            raw = clean_spaces(raw)
        return raw.decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes that a token stands for; of a special token, its text.

        Raises:
            TokenizerError: the id lies outside the vocabulary.
        """
        return self._shown(self._checked_id(id), special=True)

    def token_text(self, id: int) -> str:
        r"""Return a token as a readable label: line breaks as `\n`, bytes that are no character as `<0xE2>`.

        Raises:
            TokenizerError: the id lies outside the vocabulary.
        """
        return label(self.token_bytes(id))

    def stream(self, *, special: bool = False, continues: bool = False) -> TokenStream:
        """Return an object that turns tokens into text one by one and never yields half a character.

        Args:
            special: show special tokens as their texts instead of leaving them out.
            continues: the tokens go on from others, so that a leading space is theirs and stays.
        """
        strip = self.add_space_prefix and not continues
        return TokenStream(
            lambda id: self._shown(int(id), special), strip, self.bos if self.add_bos else None
        )

    def _shown(self, id: int, special: bool) -> bytes:
        attributes = self._attributes_of(self._checked_id(id))
        if attributes & _SPECIAL and not special:
            return b""
        text = self.vocabulary.text(id)
        return bytes_of(text) if attributes & (_SPECIAL | USER_DEFINED) else self._piece(id, text, attributes)

    def _attributes_of(self, id: int) -> int:
        return self.vocabulary.attributes_of(id)

    def _checked_id(self, id: int) -> int:
        if not 0 <= id < self.n_vocab:
            raise TokenizerError(
                f"there is no token {id:,}; the vocabulary has {self.n_vocab:,} tokens (0 to {self.n_vocab - 1:,})"
            )
        return int(id)

    # facts

    @property
    def n_vocab(self) -> int:
        """How many tokens there are."""
        return self.vocabulary.n_tokens

    @property
    def bos(self) -> int | None:
        """The token that begins a text, or None."""
        return self.vocabulary.named_role("bos")

    @property
    def eos(self) -> int | None:
        """The token that ends a text, or None."""
        return self.vocabulary.named_role("eos")

    @property
    def end_ids(self) -> frozenset[int]:
        """All tokens that end generation."""
        return self.vocabulary.end_ids

    def is_end(self, id: int) -> bool:
        """Tell whether a token ends generation."""
        return int(id) in self.end_ids

    def is_special(self, id: int) -> bool:
        """Tell whether a token is a control or unknown token, which `decode` leaves out."""
        return bool(self._attributes_of(self._checked_id(id)) & _SPECIAL)

    def __repr__(self) -> str:
        return f"<{self.family} tokenizer: {self.n_vocab:,} tokens>"


def byte_value(text: str) -> int:
    """Return the byte of a token such as `<0x0A>`; 0 when it has another form, as C's strtol."""
    try:
        return int(text[3:5], 16)
    except ValueError:
        return 0


def label(raw: bytes) -> str:
    """Return bytes as text that a person can read on one line."""
    parts = []
    for char in raw.decode("utf-8", "surrogateescape"):
        if "\udc80" <= char <= "\udcff":
            parts.append(f"<0x{ord(char) & 0xFF:02X}>")
        elif char in "\t\n\r":
            parts.append(repr(char)[1:-1])
        elif char.isprintable() or char == " ":
            parts.append(char)
        else:
            parts.append(f"<U+{ord(char):04X}>")
    return "".join(parts)


def _checked(text: str | bytes) -> str:
    """Return the text with bytes that are not UTF-8 as lone surrogates."""
    if isinstance(text, bytes | bytearray | memoryview):
        return text_of(bytes(text))
    if not isinstance(text, str):
        raise TokenizerError(f"cannot tokenize a {type(text).__name__}; give a str or bytes")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has half of a surrogate pair, U+{ord(text[error.start]):04X}, at character {error.start:,}; "
            "that is no character, give valid text"
        ) from None
    return text
