"""Each family on a vocabulary small enough to follow by hand."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refgguf.errors import TokenizerError
from refgguf.tokenizer import load_tokenizer
from refgguf.tokenizer.letters import ALPHABET
from refgguf.tokenizer.merge import merge
from refgguf.tokenizer.rwkv import LONG, unescape
from refgguf.tokenizer.ugm import _choose
from tests.support import vocabularies as own
from tests.support.texts import random_text, with_specials
from tests.support.vocabularies import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, T
from tests.tokenizer.conftest import tokenizer_of


def metadata(model: str, tokens: dict[str, tuple], **more) -> dict:
    """Return metadata of tokens given as text → (type, score)."""
    types, scores = zip(*tokens.values(), strict=True)
    arrays = {T + "tokens": list(tokens), T + "token_type": list(types), T + "scores": list(scores)}
    return {T + "model": model} | arrays | {T + key: value for key, value in more.items()}


SPM = {
    "<unk>": (UNKNOWN, 0.0),
    "<s>": (CONTROL, 0.0),
    "</s>": (CONTROL, 0.0),
    "<0xC3>": (BYTE, 0.0),
    "<0xA9>": (BYTE, 0.0),
    "▁": (NORMAL, -9.0),
    "a": (NORMAL, -9.0),
    "b": (NORMAL, -9.0),
    "ab": (NORMAL, -2.0),
    "▁a": (NORMAL, -1.0),
    "ba": (NORMAL, -2.0),
    "[U]": (USER_DEFINED, 0.0),
}


def texts(tokenizer, text: str, **options) -> list[str]:
    """Return the tokens' texts as in the file."""
    return [tokenizer.vocabulary.text(id) for id in tokenizer.encode(text, **options)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["<s>", "▁a", "b"]),  # ▁a has the better score
        ("bab", ["<s>", "▁", "ba", "b"]),  # ba and ab are equal: the left one first
        ("é", ["<s>", "▁", "<0xC3>", "<0xA9>"]),
        ("a[U]a", ["<s>", "▁a", "[U]", "▁a"]),  # a space comes after every special token
        ("a</s>", ["<s>", "▁a", "</s>"]),
        ("", ["<s>"]),
    ],
)
def test_spm(text, tokens):
    """Scores decide, the left goes first, bytes stand in, spaces come before text."""
    assert texts(load_tokenizer(metadata("llama", SPM)), text) == tokens


def test_spm_without_its_additions():
    """BOS, EOS and the space follow the file's flags."""
    flags = {"add_bos_token": False, "add_eos_token": True, "add_space_prefix": False}
    tokenizer = load_tokenizer(metadata("llama", SPM, **flags))
    assert texts(tokenizer, "ab") == ["ab", "</s>"]
    assert texts(tokenizer, "ab", add_special=False) == ["ab"]


def test_spm_special_tokens_are_text_unless_parsed():
    """</s> is a token when special tokens are parsed, and letters otherwise."""
    tokenizer = tokenizer_of("spm")
    assert tokenizer.encode("</s>", add_special=False) == [2]
    assert 2 not in tokenizer.encode("</s>", parse_special=False)


@settings(max_examples=200, deadline=None)
@given(st.text("▁ abcehtw", max_size=40))
def test_spm_pieces_change_nothing(text):
    """Cutting the text before spaces gives what merging it as a whole gives."""
    tokenizer = tokenizer_of("spm")
    whole = (" " + text).replace(" ", "▁") if text else ""
    expected = tokenizer._ids_of(merge(list(whole), tokenizer._rank))
    assert tokenizer.encode(text, add_special=False, parse_special=False) == expected


def bpe(tokens: list[str], merges: list[str], **more) -> dict:
    """Return byte-pair metadata: the alphabet, then these tokens."""
    return {
        T + "model": "gpt2",
        T + "pre": "gpt-2",
        T + "tokens": [*ALPHABET, *tokens],
        T + "merges": merges,
    } | {T + key: value for key, value in more.items()}


def test_bpe_merges_in_the_order_of_the_list():
    """With "h e" before "e l", hel is he + l; and the space is Ġ."""
    tokenizer = load_tokenizer(bpe(["he", "el", "Ġh"], ["h e", "e l", "Ġ h"]))
    assert texts(tokenizer, "hel hel", add_special=False) == ["he", "l", "Ġ", "he", "l"]


def test_bpe_whole_words_first_where_the_rules_say_so():
    """Llama 3 takes a word that is a token whole, even if no merges lead there."""
    data = bpe(["hello"], [])
    assert len(load_tokenizer(data).encode("hello", add_special=False)) == 5
    assert texts(load_tokenizer(data | {T + "pre": "llama-bpe"}), "hello", add_special=False) == ["hello"]


def test_bpe_leaves_out_what_has_no_token():
    """Without its letters, a word has no tokens: so does llama.cpp."""
    data = bpe([], []) | {T + "tokens": ["a", "b"]}
    assert load_tokenizer(data).encode("aéb", add_special=False) == [0, 1]


def test_bpe_adds_what_its_rules_add():
    """Llama 3's rules add BOS, GPT-2's do not, the file overrides both."""
    ids = {"bos_token_id": 3, "eos_token_id": 4}
    assert load_tokenizer(bpe([], [], **ids)).encode("") == []
    assert load_tokenizer(bpe([], [], **ids) | {T + "pre": "llama-bpe"}).encode("") == [3]
    assert load_tokenizer(bpe([], [], **ids, add_bos_token=True, add_eos_token=True)).encode("") == [3, 4]


def test_gemma_4_takes_the_text_as_it_is():
    """Spaces are ▁, runs of line breaks whole tokens, bytes stand in, BOS comes whatever the file says."""
    data = own.raw_bpe(model="gemma4", add_bos_token=False)
    tokenizer = load_tokenizer(data)
    found = [tokenizer.vocabulary.text(id) for id in tokenizer.encode("鱼\n\nthe")]
    assert found[:5] == ["<bos>", "<0xE9>", "<0xB1>", "<0xBC>", "\n\n"]
    assert tokenizer.decode(tokenizer.encode("the  鱼\n\n")) == "the  鱼\n\n"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello", ["[CLS]", "▁hello", "[SEP]"]),
        ("HÉLLO!", ["[CLS]", "▁hello", "▁!", "[SEP]"]),
        ("unaffable", ["[CLS]", "▁un", "aff", "able", "[SEP]"]),
        ("a你 好", ["[CLS]", "▁a", "▁你", "▁好", "[SEP]"]),
        ("timexyz", ["[CLS]", "[UNK]", "[SEP]"]),
        ("don't", ["[CLS]", "▁don", "▁'", "[UNK]", "[SEP]"]),
        (" \t\n", ["[CLS]", "[SEP]"]),
        ("ti\x00me\ufffd\u200b", ["[CLS]", "▁time", "[SEP]"]),
        ("a[MASK]b", ["[CLS]", "▁a", "[MASK]", "▁b", "[SEP]"]),
    ],
)
def test_wpm(text, tokens):
    """Case and accents go, marks and Chinese stand alone, the longest token is taken, what fails is unknown."""
    assert texts(tokenizer_of("wpm"), text) == tokens


def test_wpm_keeps_case_where_the_file_says_so():
    """Without lower-casing, Hello is not hello, and é not e."""
    tokenizer = tokenizer_of("wpm-cased")
    assert texts(tokenizer, "hello Hello naïve", add_special=False) == ["▁hello", "[UNK]", "[UNK]"]


UGM = {
    "<pad>": (CONTROL, 0.0),
    "</s>": (CONTROL, 0.0),
    "<unk>": (UNKNOWN, 0.0),
    "▁": (NORMAL, -3.0),
    "a": (NORMAL, -3.0),
    "b": (NORMAL, -3.0),
    "▁ab": (NORMAL, -7.5),
    "ab": (NORMAL, -5.0),
    "abab": (NORMAL, -9.0),
    "<U>": (USER_DEFINED, -50.0),
}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["▁ab", "</s>"]),  # -7.5 against -8
        ("abab", ["▁", "abab", "</s>"]),  # -12 against -12.5
        ("  ab   a ", ["▁ab", "▁", "a", "</s>"]),
        ("xyz", ["▁", "<unk>", "</s>"]),  # unknown neighbours are one
        ("a<U>", ["▁", "a", "<U>", "</s>"]),
        ("", ["</s>"]),
    ],
)
def test_ugm(text, tokens):
    """The best sum of scores wins, spaces merge, unknown neighbours are one."""
    flags = {"add_space_prefix": True, "remove_extra_whitespaces": True}
    assert texts(load_tokenizer(metadata("t5", UGM, **flags)), text) == tokens


def test_ugm_normalizes_by_its_map():
    """Entries of the character map are replaced, the longest first, and the rest stays."""
    tokenizer = tokenizer_of("ugm")
    normal = tokenizer._normal
    assert normal("ﬁx Ａ\tA\u0300b… A\u0301\u200be\u0301") == "fix A Àb... A\u0301é"
    assert tokenizer.encode("ﬁ…") == tokenizer.encode("fi...")


@settings(max_examples=200, deadline=None)
@given(st.text("ab .e\u0301Aﬁ\n<x", max_size=30))
def test_ugm_pieces_change_nothing(text):
    """Searching piece by piece gives what searching the whole text gives."""
    tokenizer = tokenizer_of("ugm")
    found = tokenizer.encode(text, add_special=False, parse_special=False)
    normal = tokenizer._spaced(tokenizer._normal(text))
    whole = _choose(tokenizer._ways(normal), len(normal), 0.0, 2).ids
    merged = [id for k, id in enumerate(whole) if id != 2 or not k or whole[k - 1] != 2]
    # user-defined tokens are cut out before anything else
    assert found == merged or "<x" in text


@pytest.mark.parametrize(
    ("escaped", "raw"),
    [
        ("a", b"a"),
        ("\\n\\t\\r", b"\n\t\r"),
        ("\\\\n", b"\\n"),
        ("\\xe4\\xbd", b"\xe4\xbd"),
        ("\\'", b"'"),
        ("x\\x4", b"x"),
    ],
)
def test_rwkv_texts_are_escaped(escaped, raw):
    """Escapes become the bytes they mean; one that breaks off means nothing."""
    assert unescape(escaped) == raw


def test_rwkv_takes_the_longest_token():
    """The longest token at each place, over bytes."""
    assert texts(tokenizer_of("rwkv"), "there upon\n\n你1234") == [
        "there",
        " upon",
        "\\n\\n",
        "你",
        "123",
        "4",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_rwkv_gives_the_same_tokens_compiled_and_by_words(seed):
    """Long texts are cut by a compiled search, short ones word by word: the same ids, also of bytes without text."""
    tokenizer, r = tokenizer_of("rwkv"), random.Random(seed)
    for _ in range(20):
        text = with_specials(r, random_text(r), ["there", "  the", "\n\n", "你", "\udce4\udcbd"])
        assert not text or tokenizer._compiled(text) == tokenizer._by_words(text), text
    long = "".join(random_text(r) for _ in range(3000))
    assert len(long) > LONG and tokenizer.encode(long) == tokenizer._by_words(long)


def test_rwkv_says_which_byte_has_no_token_however_long_the_text():
    """Without byte tokens and without an unknown token, a text that needs one is refused either way."""
    tokenizer = load_tokenizer(own.rwkv(all_bytes=False))
    for text in ("théa", "théa" * LONG):
        with pytest.raises(TokenizerError, match="no token for the byte 0xc3"):
            tokenizer.encode(text)
    known = load_tokenizer(own.rwkv(all_bytes=False, unknown_token_id=0))
    assert known.encode("théa" * LONG) == known.encode("théa") * LONG


def test_plamo2_finds_the_cheapest_way():
    """The best sum of scores wins, bytes stand in for what is no token, a byte-order mark at the start is dropped."""
    tokens = {
        "<|plamo:unk|>": (UNKNOWN, 0.0),
        "<s>": (CONTROL, 0.0),
        "</s>": (CONTROL, 0.0),
        "<p>": (CONTROL, 0.0),
    }
    tokens |= {f"<0x{byte:02X}>": (BYTE, 0.0) for byte in range(256)}
    tokens |= {"a": (NORMAL, -3.0), "b": (NORMAL, -3.0), "ab": (NORMAL, -5.0), "aba": (NORMAL, -9.0)}
    tokenizer = load_tokenizer(metadata("plamo2", tokens))
    assert texts(tokenizer, "abab") == ["ab", "ab"]
    assert texts(tokenizer, "\ufeffaba") == ["ab", "a"]
    assert texts(tokenizer, "é") == ["<0xC3>", "<0xA9>"]


def test_dna_is_read_in_sixes():
    """Between <dna> and </dna> six letters are a token, the last filled with A, what is no token unknown."""
    tokenizer = tokenizer_of("hybriddna")
    found = texts(tokenizer, "<dna>acgtacCCCCCCgNNNNNNNg</dna>", add_special=False)
    assert found == ["<dna>", "ACGTAC\ue000", "CCCCCC\ue000", "<oov>", "<oov>", "</dna>"]
    assert tokenizer.decode(tokenizer.encode("<dna>TTTAAAG", add_special=False)) == "<dna>TTTAAAGAAAAA"


def test_white_space_is_dropped_where_the_kind_says_so():
    """The kind "whitespace" knows words only."""
    tokenizer = tokenizer_of("whitespace")
    assert tokenizer.encode("the \u3000\n little") == tokenizer.encode("the") + tokenizer.encode("little")


@pytest.mark.parametrize("name", ["spm", "gemma4", "ugm", "rwkv", "plamo2", "bpe", "wpm"])
@pytest.mark.parametrize("unit", ["a", "ab", " ", "一", "é"])
def test_long_runs_take_time_in_proportion(name, unit):
    """A run of 30,000 characters without a place to cut is no trouble; squared time would take minutes."""
    tokenizer = tokenizer_of(name)
    start = time.process_time()
    tokenizer.encode(unit * (30_000 // len(unit)))
    assert time.process_time() - start < 8
