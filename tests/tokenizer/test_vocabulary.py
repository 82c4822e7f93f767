"""Tokens, their attributes, roles, and which of them end generation."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.tokenizer import load_tokenizer
from refgguf.tokenizer.vocabulary import Vocabulary
from tests.support import vocabularies as own
from tests.support.vocabularies import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, T


def vocabulary(texts: dict[str, int], **more) -> Vocabulary:
    """Return a vocabulary of these texts and types."""
    return Vocabulary({T + "tokens": list(texts), T + "token_type": list(texts.values())} | more, {})


def test_end_tokens_are_found_by_their_texts():
    """Texts known to end generation do so, and become control tokens whatever their type."""
    v = vocabulary(
        {"a": NORMAL, "<|im_end|>": NORMAL, "<end_of_turn>": USER_DEFINED, "<|file_sep|>": CONTROL}
    )
    assert v.end_ids == {1, 2, 3}
    assert v.attributes.tolist() == [4, 4 | 8, 16 | 8, 8]


def test_named_ends_count_too():
    """What the file calls EOS or EOT ends generation, whatever its text."""
    v = vocabulary({"a": NORMAL, "b": NORMAL}, **{T + "eos_token_id": 1, T + "eot_token_id": 0})
    assert v.end_ids == {0, 1}


def test_an_end_beside_harmony_tokens_is_none():
    """Where <|return|> and <|call|> are, <|end|> only ends a message."""
    v = vocabulary({"<|end|>": CONTROL, "<|return|>": CONTROL, "<|call|>": CONTROL, "<|channel|>": CONTROL})
    assert v.end_ids == {1, 2}
    assert v.attributes.tolist() == [16, 8, 8, 16]


def test_a_normal_s_beside_gemma_4s_tokens():
    """Where <|tool_response> is, </s> is a word like others."""
    v = vocabulary({"</s>": NORMAL, "<|tool_response>": CONTROL})
    assert v.end_ids == {1}
    assert v.attributes.tolist() == [4, 8]


def test_roles_by_text_take_the_lowest_id():
    """Of several texts for one role the first in the file has it; a name in the file goes before all."""
    texts = {"<PRE>": NORMAL, "<|fim_prefix|>": CONTROL}
    assert vocabulary(texts).roles["fim_pre"] == 0
    assert vocabulary(texts, **{T + "prefix_token_id": 1}).roles["fim_pre"] == 1


@pytest.mark.parametrize("value", [0xFFFFFFFF, -1])
def test_minus_one_is_no_token(value):
    """What converters write for "none" leaves the kind's default."""
    metadata = own.spm() | {T + "bos_token_id": value}
    assert load_tokenizer(metadata).bos == 1


def test_one_tokens_attributes_are_all_tokens_attributes():
    """Asked for one by one before any table is built, attributes are those of the table."""
    for make in own.EVERY_KIND.values():
        lazy = load_tokenizer(make()).vocabulary
        one_by_one = [lazy.attributes_of(id) for id in range(lazy.n_tokens)]
        assert one_by_one == load_tokenizer(make()).vocabulary.attributes.tolist()


def test_empty_texts_get_a_name():
    """An empty token text becomes [EMPTY_n], as in llama.cpp."""
    v = vocabulary({"a": NORMAL, "": NORMAL})
    assert v.text(1) == "[EMPTY_1]" and v.texts == ["a", "[EMPTY_1]"] and v.ids["[EMPTY_1]"] == 1


def test_texts_that_are_not_utf8_stay_what_they_are():
    """Bytes come back unchanged, and equal bytes are found."""
    v = Vocabulary({T + "tokens": [b"\xff\xfe", "é".encode()]}, {})
    assert v.text(0).encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert v.ids["é"] == 1


def test_numpy_arrays_do():
    """Arrays may be NumPy's."""
    metadata = own.spm()
    metadata |= {T + "scores": np.array(metadata[T + "scores"], np.float32)}
    metadata |= {T + "token_type": np.array(metadata[T + "token_type"], np.int32)}
    assert load_tokenizer(metadata).encode("Once") == load_tokenizer(own.spm()).encode("Once")


def test_types_beyond_the_known_are_undefined():
    """An unknown token type gives no attributes, and such a token has no bytes."""
    tokenizer = load_tokenizer({T + "model": "llama", T + "tokens": ["a", "b"], T + "token_type": [1, 99]})
    assert tokenizer.vocabulary.attributes.tolist() == [4, 0]
    assert tokenizer.token_bytes(1) == b""


def test_unknown_and_byte_tokens():
    """Unknown tokens are special, byte tokens are their byte."""
    tokens = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<0xE4>": BYTE}
    tokenizer = load_tokenizer(
        {T + "model": "llama", T + "tokens": list(tokens), T + "token_type": list(tokens.values())}
    )
    assert [tokenizer.is_special(id) for id in range(4)] == [True, True, True, False]
    assert tokenizer.token_bytes(3) == b"\xe4" and tokenizer.token_text(3) == "<0xE4>"
