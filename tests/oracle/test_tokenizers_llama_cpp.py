"""Every kind of tokenizer against llama.cpp itself: ids, texts, attributes, end of generation, on random texts.

Real vocabularies are those in REFGGUF_TESTDATA/vocabs, and in the folder that REFGGUF_VOCABS names if it is set.
"""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest

import refgguf
from refgguf.tokenizer import load_tokenizer
from refgguf.tokenizer.split import rules
from refgguf.tokenizer.vocabulary import CONTROL, UNKNOWN, USER_DEFINED
from tests.support import vocabularies as own
from tests.support.golden_tokens import answers_of, load_golden
from tests.support.llama_vocab import LlamaVocab
from tests.support.testdata import data_file
from tests.support.texts import FIXED, harder_text, random_bytes, random_text, spoiled_bytes, with_specials

pytestmark = [
    pytest.mark.oracle,
    # some real vocabularies have no tokenizer.ggml.pre, and say so
    pytest.mark.filterwarnings("ignore:the file has no tokenizer.ggml.pre"),
]

# llama.cpp ends the program on these: a character without a byte token, and a space that reaches the merges
UNANSWERABLE_KINDS = {"spm-no-bytes"}
FOLDERS = (("REFGGUF_TESTDATA", "vocabs"), ("REFGGUF_VOCABS", ""))
UNANSWERABLE_PRES = {"whitespace"}


def real_vocabularies() -> list:
    """Return the real vocabularies at hand, as test parameters."""
    folders = [Path(os.environ[name]) / sub for name, sub in FOLDERS if name in os.environ]
    found = {path.stem: path for folder in folders for path in sorted(folder.glob("ggml-vocab-*.gguf"))}
    if not found:
        reason = "no real vocabularies: REFGGUF_TESTDATA names no folder with vocabs/ggml-vocab-*.gguf"
        return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=name) for name, path in found.items()]


def compare(path: Path, n_texts: int, seed: int) -> None:
    """Compare everything the two say of a vocabulary."""
    theirs = LlamaVocab(path)
    with refgguf.open(path) as file:
        ours = load_tokenizer(file.metadata)
        attributes = ours.vocabulary.attributes
        assert attributes.tolist() == [theirs.attributes(id) for id in range(theirs.n_tokens)]
        assert sorted(ours.end_ids) == [id for id in range(theirs.n_tokens) if theirs.is_end(id)]
        for id in range(theirs.n_tokens):
            assert ours.token_bytes(id) == theirs.piece(id), f"token {id}"
        special = (attributes & (CONTROL | USER_DEFINED | UNKNOWN)).nonzero()[0].tolist()
        specials = [ours.vocabulary.text(id) for id in special]
        r = random.Random(seed)
        texts = [*FIXED, *(random_text(r) for _ in range(n_texts))]
        for text in texts:
            if specials and r.random() < 0.5:
                text = with_specials(r, text, specials)
            compare_text(ours, theirs, r, text)
            if r.random() < 0.4:
                compare_bytes(ours, theirs, r, random_bytes(r, text))
        pieces = readable(ours, r.sample(range(theirs.n_tokens), min(300, theirs.n_tokens)))
        for _ in range(n_texts // 3):
            text = harder_text(r, pieces, specials)
            compare_text(ours, theirs, r, text)
            compare_bytes(ours, theirs, r, spoiled_bytes(r, text))
    theirs.close()


def readable(ours, ids: list[int]) -> list[str]:
    """Return the texts of those of these tokens that are UTF-8."""
    found = (ours.token_bytes(id).decode("utf-8", "replace") for id in ids)
    return [text for text in found if text and "\ufffd" not in text] or ["a"]


def compare_text(ours, theirs, r: random.Random, text: str) -> None:
    """Compare encoding and decoding of one text."""
    add_special, parse_special = r.random() < 0.5, r.random() < 0.5
    expected = theirs.encode(text.encode(), add_special, parse_special)
    found = ours.encode(text, add_special=add_special, parse_special=parse_special)
    assert found == expected, (text, add_special, parse_special)
    ids = (
        expected if r.random() < 0.5 else [r.randrange(theirs.n_tokens) for _ in range(r.choice([1, 3, 10]))]
    )
    special = r.random() < 0.5
    if ours.add_bos and ours.add_space_prefix and not special and ids[:1] == [ours.bos]:
        # the one place where ours differs on purpose: behind BOS a text begins as it does without
        n_bos = next((k for k, id in enumerate(ids) if id != ours.bos), len(ids))
        assert ours.decode(ids) == theirs.decode(ids[n_bos:], special), ids
    else:
        assert ours.decode(ids, special=special) == theirs.decode(ids, special), (ids, special)


def compare_bytes(ours, theirs, r: random.Random, raw: bytes) -> None:
    """Compare encoding of bytes that are not UTF-8."""
    add_special, parse_special = r.random() < 0.5, r.random() < 0.5
    expected = theirs.encode(raw, add_special, parse_special)
    assert ours.encode(raw, add_special=add_special, parse_special=parse_special) == expected, raw


@pytest.mark.testdata
@pytest.mark.parametrize("path", real_vocabularies())
def test_real_vocabularies(path):
    """Real vocabularies give llama.cpp's tokens, texts, attributes and end tokens, whatever the text."""
    compare(path, n_texts=150, seed=zlib.crc32(path.name.encode()))


@pytest.mark.testdata
def test_merges_of_a_real_size_over_the_text_itself(tmp_path):
    """Llama 3's vocabulary in Gemma 4's form, with merges across spaces, gives the same as llama.cpp."""
    with refgguf.open(data_file("vocabs/ggml-vocab-llama-bpe.gguf")) as file:
        metadata = own.as_gemma4(file.metadata)
    compare(own.write_gguf(metadata, tmp_path / "gemma4.gguf"), n_texts=150, seed=4)


@pytest.mark.parametrize("name", sorted(set(own.EVERY_KIND) - UNANSWERABLE_KINDS))
def test_every_kind(name, tmp_path):
    """A small vocabulary of every kind gives the same as llama.cpp on random texts."""
    path = own.write_gguf(own.EVERY_KIND[name](), tmp_path / "vocab.gguf")
    compare(path, n_texts=150, seed=1)
    theirs = LlamaVocab(path)
    check_kept_answers(name, theirs)
    theirs.close()


@pytest.mark.parametrize("pre", sorted(set(rules()["pre"]) - UNANSWERABLE_PRES))
def test_every_pre_tokenizer(pre, tmp_path):
    """Each value of tokenizer.ggml.pre cuts random texts into the same words as llama.cpp."""
    raw_utf8 = rules()["pre"][pre].get("raw_utf8", False)
    metadata = own.raw_bpe(pre) if raw_utf8 else own.pairs_bpe(pre)
    theirs = LlamaVocab(own.write_gguf(metadata, tmp_path / "vocab.gguf"))
    ours = load_tokenizer(metadata)
    r = random.Random(pre)
    for text in [*FIXED, *(random_text(r) for _ in range(40))]:
        compare_text(ours, theirs, r, text)
    if not raw_utf8:
        check_kept_answers(f"split {rules()['pre'][pre]['split']}", theirs)
    theirs.close()


@pytest.mark.parametrize("kind", ["gemma4", "spm", "wpm", "plamo2", "ugm-no-map"])
def test_a_token_ends_at_a_nul_character(kind, tmp_path):
    """llama.cpp reads texts of tokens up to a NUL; one that begins with it is empty, and the byte's token is used."""
    metadata = own.with_tokens(own.EVERY_KIND[kind](), ["\0", "qz\0q", "▁qz\0"])
    theirs = LlamaVocab(own.write_gguf(metadata, tmp_path / "vocab.gguf"))
    ours, r = load_tokenizer(metadata), random.Random(3)
    for id in range(theirs.n_tokens - 3, theirs.n_tokens):
        assert ours.token_bytes(id) == theirs.piece(id)
    for text in ("\0", "a\0b", "qz", "qz\0q", " qz\0", "\0\0 qzq"):
        compare_text(ours, theirs, r, text)
    theirs.close()


def check_kept_answers(name: str, theirs: LlamaVocab) -> None:
    """Compare what golden.json keeps for the days without llama.cpp with what llama.cpp says today."""
    assert answers_of(lambda raw: theirs.encode(raw, False, False)) == load_golden()[name]
