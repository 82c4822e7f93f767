"""What holds for all kinds of tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refgguf.errors import TokenizerError
from refgguf.tokenizer import Tokenizer, kinds, load_tokenizer
from tests.support import vocabularies as own
from tests.support.texts import FIXED
from tests.tokenizer.conftest import tokenizer_of

LOSSLESS = ("spm", "spm-no-prefix", "bpe", "gemma4", "sarvam", "rwkv", "plamo2", "hybriddna")
# "▁" itself comes back as a space where it stands for one, in llama.cpp too
texts = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=60)
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_kind_of_llama_cpp_is_known():
    """All values of tokenizer.ggml.model that llama.cpp knows have a tokenizer."""
    assert set(kinds()) == {
        *("llama", "gpt2", "gemma4", "bert", "t5", "rwkv", "plamo2", "hybriddna", "whitespace"),
        *("none", "no_vocab", "test"),
    }


def test_ids_lie_in_the_vocabulary(every_tokenizer: Tokenizer):
    """Whatever the text, every id is one of a token."""
    for text in FIXED:
        assert all(0 <= id < every_tokenizer.n_vocab for id in encode_or_nothing(every_tokenizer, text))


def encode_or_nothing(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode, unless the vocabulary has no way to say a character."""
    try:
        return tokenizer.encode(text)
    except TokenizerError:
        return []


def test_str_and_bytes_are_the_same(every_tokenizer: Tokenizer):
    """Text and its UTF-8 bytes become the same ids."""
    for text in FIXED:
        assert encode_or_nothing(every_tokenizer, text) == encode_or_nothing(every_tokenizer, text.encode())


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=texts)
@quick
def test_text_comes_back(name, text):
    """Where no step loses anything, decoding gives the text back."""
    tokenizer = tokenizer_of(name)
    if name == "plamo2":
        text = text.removeprefix("\ufeff")  # dropped at the beginning, as llama.cpp does
    ids = tokenizer.encode(text, parse_special=False)
    assert tokenizer.decode(ids, clean=False) == text


@given(raw=st.binary(max_size=40))
@quick
def test_any_bytes_can_be_encoded(every_tokenizer: Tokenizer, raw):
    """Bytes that are not UTF-8 become tokens or one clear error, never anything else."""
    try:
        ids = every_tokenizer.encode(raw)
    except TokenizerError:
        return
    assert all(0 <= id < every_tokenizer.n_vocab for id in ids)
    assert isinstance(every_tokenizer.decode(ids), str)


@given(data=st.data())
@quick
def test_streamed_text_is_decoded_text(every_tokenizer: Tokenizer, data):
    """Text that comes token by token is the text of all tokens, and no part ends within a character."""
    ids = data.draw(st.lists(st.integers(0, every_tokenizer.n_vocab - 1), max_size=12))
    special = data.draw(st.booleans())
    stream = every_tokenizer.stream(special=special)
    parts = [stream.feed(id) for id in ids]
    assert "".join(parts) + stream.flush() == every_tokenizer.decode(ids, special=special, clean=False)
    for part in parts:
        part.encode("utf-8")


def test_ids_outside_the_vocabulary_are_refused(every_tokenizer: Tokenizer):
    """Every method that takes an id names the one that is wrong, and how many there are."""
    n = every_tokenizer.n_vocab
    for id in (-1, n, 1 << 40):
        for call in (
            every_tokenizer.token_bytes,
            every_tokenizer.token_text,
            every_tokenizer.is_special,
            every_tokenizer.stream().feed,
            lambda id: every_tokenizer.decode([id]),
        ):
            with pytest.raises(
                TokenizerError, match=rf"there is no token {id:,}; the vocabulary has {n:,} tokens"
            ):
                call(id)


def test_labels_are_one_line(every_tokenizer: Tokenizer):
    """A label never holds a line break or another control character."""
    for id in range(every_tokenizer.n_vocab):
        assert every_tokenizer.token_text(id).isprintable()


def test_nothing_becomes_only_what_is_added(every_tokenizer: Tokenizer):
    """An empty text has no tokens, apart from those that the file adds to every text."""
    assert every_tokenizer.encode("", add_special=False) == []
    assert encode_or_nothing(every_tokenizer, "")[:1] in ([], [every_tokenizer.bos], [every_tokenizer.eos])


def test_half_a_surrogate_pair_is_refused(every_tokenizer: Tokenizer):
    """A str that is no text is refused, with the place."""
    with pytest.raises(TokenizerError, match=r"half of a surrogate pair, U\+D83D, at character 2"):
        every_tokenizer.encode("ab\ud83d")


def test_only_text_can_be_encoded(every_tokenizer: Tokenizer):
    """A list or a number is refused."""
    with pytest.raises(TokenizerError, match="cannot tokenize a list"):
        every_tokenizer.encode([1, 2])


def test_loading_reads_no_token(monkeypatch):
    """Making a tokenizer and asking for one label touches no other token."""
    tokens = Counting(own.spm()[own.T + "tokens"])
    tokenizer = load_tokenizer(own.spm() | {own.T + "tokens": tokens, own.T + "merges": Counting([])})
    assert tokenizer.n_vocab == len(tokens)
    assert tokens.n_read == 0
    assert tokenizer.token_text(300) and tokens.n_read <= 3
    assert tokenizer.bos == 1 and tokens.n_read <= 3


class Counting(list):
    """A list of strings as a GGUF file gives it, that counts what is read."""

    element_type = "string"
    n_read = 0

    def raw(self, index: int) -> bytes:
        """Return one string's bytes."""
        self.n_read += 1
        return self[index].encode()

    def raw_list(self) -> list[bytes]:
        """Return all strings' bytes."""
        self.n_read += len(self)
        return [text.encode() for text in self]
