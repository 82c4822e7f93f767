"""Metadata that no honest file has: one clear sentence each, never a crash."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.errors import TokenizerError
from refgguf.tokenizer import load_tokenizer
from tests.support import vocabularies as own
from tests.support.vocabularies import T


class OtherArray(list):
    """A lazy array of another type than its content, as a hostile file has it."""

    element_type = "float64"


def use(metadata: dict) -> None:
    """Do everything that can be done with a tokenizer."""
    tokenizer = load_tokenizer(metadata)
    tokenizer.encode("Once upon a time 你")
    tokenizer.decode(range(min(tokenizer.n_vocab, 300)))
    tokenizer.is_end(0)


SPM = own.spm()
N = len(SPM[T + "tokens"])


@pytest.mark.parametrize(
    ("base", "changes", "sentence"),
    [
        ("spm", {"model": None}, "the file has no tokenizer.ggml.model, so it holds no tokenizer"),
        ("spm", {"model": "gpt9"}, r"unknown kind of tokenizer 'gpt9' .* known are bert, gemma4, gpt2"),
        ("spm", {"model": 3}, "tokenizer.ggml.model is '3'; expected a text"),
        ("spm", {"model": "x" * 9999}, r"unknown kind of tokenizer 'x{40}…'"),
        ("spm", {"tokens": None}, "the file has no tokenizer.ggml.tokens"),
        ("spm", {"tokens": []}, "tokenizer.ggml.tokens is empty"),
        ("spm", {"tokens": "abc"}, "tokenizer.ggml.tokens is 'abc'; expected an array"),
        ("spm", {"tokens": [1, 2]}, "tokenizer.ggml.tokens holds '1'; expected texts only"),
        ("spm", {"tokens": OtherArray([1.0])}, "is an array of float64; expected an array of strings"),
        ("spm", {"scores": [0.0]}, f"scores has 1 elements for {N} tokens; expected one for each"),
        ("spm", {"scores": ["a"] * N}, "tokenizer.ggml.scores holds 'a'; expected numbers"),
        ("spm", {"scores": OtherArray([0.0] * N)}, "is an array of float64; expected float32 or int32"),
        ("spm", {"scores": [float("nan")] * N}, "the score of token 0 is not a number"),
        ("spm", {"scores": 7}, "tokenizer.ggml.scores is '7'; expected an array"),
        ("spm", {"token_type": [1]}, f"token_type has 1 elements for {N} tokens"),
        ("spm", {"token_type": [1.5] * N}, "token_type is an array of float32; expected int32"),
        (
            "spm",
            {"bos_token_id": N},
            rf"bos_token_id is {N}, but the vocabulary has {N} tokens \(0 to {N - 1}\)",
        ),
        ("spm", {"eos_token_id": 1 << 31}, "eos_token_id is 2,147,483,648, but"),
        ("spm", {"bos_token_id": "1"}, "bos_token_id is '1'; expected a whole number"),
        ("spm", {"bos_token_id": True}, "bos_token_id is 'True'; expected a whole number"),
        ("spm", {"add_bos_token": 1}, "add_bos_token is '1'; expected true or false"),
        ("bpe", {"merges": None}, "the file has no tokenizer.ggml.merges"),
        ("bpe", {"merges": [1]}, "tokenizer.ggml.merges holds '1'; expected texts only"),
        ("bpe", {"merges": 5}, "tokenizer.ggml.merges is '5'; expected an array"),
        (
            "bpe",
            {"pre": "best"},
            r"unknown pre-tokenizer 'best' \(tokenizer.ggml.pre\); known are a.x-4.0, afmoe",
        ),
        ("bpe", {"pre": 1}, "tokenizer.ggml.pre is '1'; expected a text"),
        ("gemma4", {"bos_token_id": None}, r"adds a token BOS \(add_bos_token\) and the file names none"),
        ("ugm", {"precompiled_charsmap": b"abc"}, "expected an array of bytes|too few"),
        ("ugm", {"precompiled_charsmap": bytearray(b"\1\0")}, "precompiled_charsmap has 2 bytes, too few"),
        (
            "ugm",
            {"precompiled_charsmap": bytearray(b"\xff\xff\xff\xff1234")},
            "too few for the 4,294,967,295",
        ),
        ("ugm", {"precompiled_charsmap": [1.5, 2.5]}, "expected an array of bytes"),
        ("ugm", {"precompiled_charsmap": bytearray(b"\4\0\0\0" + b"\0\4\0\0" + b"x")}, "damaged"),
        ("plamo2", {"token_type": [1] * len(own.plamo2()[T + "tokens"])}, "has no byte token <0x00>"),
        (
            "wpm",
            {"seperator_token_id": None, "tokens": own.wpm()[T + "tokens"][:50], "token_type": [1] * 50},
            "adds",
        ),
    ],
)
def test_each_fault_has_its_sentence(base, changes, sentence):
    """The sentence names the key, what it is, and what was expected."""
    metadata = dict(own.EVERY_KIND[base]())
    for name, value in changes.items():
        metadata.pop(T + name, None)
        if value is not None:
            metadata[T + name] = value
    with pytest.raises(TokenizerError, match=sentence) as caught:
        use(metadata)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_a_missing_pre_is_a_warning():
    """Without tokenizer.ggml.pre the rules "default" are used, and the user is told."""
    metadata = own.bpe()
    del metadata[T + "pre"]
    with pytest.warns(UserWarning, match=r"no tokenizer.ggml.pre, .* the rules 'default' are used"):
        tokenizer = load_tokenizer(metadata)
    assert tokenizer.pre == "default"


def test_merges_that_make_no_token_fall_apart():
    """A merge whose result is no token gives its letters back, as in llama.cpp, and never fails."""
    metadata = own.bpe() | {T + "merges": ["x y", "nonsense", "", "  ", "a b c", "x y z"]}
    tokenizer = load_tokenizer(metadata)
    assert tokenizer.decode(tokenizer.encode("xyz", add_special=False)) == "xyz"


def test_what_cannot_be_said_is_unknown_or_an_error():
    """A character without byte tokens becomes the unknown token; without one, the error names the character."""
    tokenizer = load_tokenizer(own.spm(byte_tokens=False))
    assert tokenizer.encode("鱼", add_special=False)[-1] == 0
    types = [1, *own.spm(byte_tokens=False)[T + "token_type"][1:]]
    with pytest.raises(TokenizerError, match="the vocabulary has no token for '鱼'"):
        load_tokenizer(own.spm(byte_tokens=False) | {T + "token_type": types}).encode("鱼")


def test_a_byte_that_is_no_token_of_rwkv():
    """Without a token for a byte, nor an unknown one, the error names the byte."""
    tokenizer = load_tokenizer(own.rwkv(all_bytes=False))
    with pytest.raises(TokenizerError, match="no token for the byte 0xc3, nor an unknown token"):
        tokenizer.encode("é")


@pytest.mark.parametrize("kind", ["none", "no_vocab", "test"])
def test_files_without_a_vocabulary(kind):
    """Ids have labels, text is refused with the reason."""
    tokenizer = load_tokenizer({T + "model": kind, "llama.vocab_size": 100})
    assert (
        tokenizer.n_vocab == 100 and tokenizer.token_text(17) == "#17" and tokenizer.decode([1, 2]) == "#1 #2"
    )
    assert (
        tokenizer.bos is None
        and tokenizer.eos is None
        and not tokenizer.is_end(1)
        and not tokenizer.reads_text
    )
    assert tokenizer.encode("") == []
    with pytest.raises(
        TokenizerError,
        match=rf"no vocabulary to read text with \(its tokenizer is '{kind}'\); give token ids",
    ):
        tokenizer.encode("text")


def test_random_character_maps_never_crash():
    """Whatever bytes a character map has, encoding gives tokens or an error of ours."""
    r = np.random.default_rng(0)
    for _ in range(60):
        blob = bytearray((64).to_bytes(4, "little") + r.integers(0, 256, 96, np.uint8).tobytes())
        try:
            use(own.ugm() | {T + "precompiled_charsmap": blob})
        except TokenizerError:
            continue
