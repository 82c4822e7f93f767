"""Special tokens are cut out of a text first, as llama.cpp does it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refgguf.tokenizer.special import SpecialTokens
from refgguf.tokenizer.vocabulary import Vocabulary
from tests.support.vocabularies import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, T


def specials(texts: dict[str, int], parse_special: bool = True, **more) -> SpecialTokens:
    """Return the special tokens of a vocabulary with these texts and types; ids count from 0."""
    metadata = {T + "tokens": list(texts), T + "token_type": list(texts.values())} | more
    return SpecialTokens(Vocabulary(metadata, {}), parse_special)


def plain(text: str, texts: list[str]) -> list[str | int]:
    """Cut by definition: token by token, the longest first, each out of all text that is left."""
    fragments: list[str | int] = [text] if text else []
    for special in sorted(texts, key=lambda t: -len(t.encode())):
        finer: list[str | int] = []
        for fragment in fragments:
            if isinstance(fragment, int):
                finer.append(fragment)
                continue
            parts = fragment.split(special)
            for k, part in enumerate(parts):
                finer += [texts.index(special)] * (k > 0) + [part] * (part != "")
        fragments = finer
    return fragments


@settings(max_examples=300)
@given(st.text("ab ", max_size=30), st.lists(st.text("ab ", min_size=1, max_size=4), unique=True, max_size=6))
def test_one_sweep_is_the_definition(text, texts):
    """Overlapping, nested and repeated tokens are found in the order in which llama.cpp looks for them."""
    assert specials(dict.fromkeys(texts, USER_DEFINED)).cut(text) == plain(text, texts) if texts else True


def test_the_longest_wins():
    """The text <a><b> is one token where there is one, whatever its parts are; by hand."""
    tokens = {"<a>": CONTROL, "<b>": CONTROL, "<a><b>": CONTROL}
    assert specials(tokens).cut("x<a><b><a>y") == ["x", 2, 0, "y"]


def test_text_left_of_a_run_stays_with_what_follows():
    """Of 25 spaces, a token of 24 leaves one that goes with the word behind it."""
    assert specials({" " * 24: USER_DEFINED}).cut(" " * 25 + "#") == [0, " #"]


def test_a_shorter_token_does_not_spoil_a_longer_one_behind_it():
    """The token ab begins first, but bcd is longer and is taken first."""
    assert specials({"ab": CONTROL, "bcd": CONTROL}).cut("abcd") == ["a", 1]


@pytest.mark.parametrize(
    ("parse_special", "expected"), [(True, [0, "a", 1, "b", 2]), (False, ["<c>a", 1, "b<unk>"])]
)
def test_without_parsing_only_user_defined_tokens_count(parse_special, expected):
    """Control and unknown tokens are text unless they are asked for; normal tokens are never special."""
    tokens = {"<c>": CONTROL, "<user>": USER_DEFINED, "<unk>": UNKNOWN, "b": NORMAL}
    assert specials(tokens, parse_special).cut("<c>a<user>b<unk>") == expected


def test_phi_3_swallows_white_space_behind_special_tokens():
    """Named phi-3, a model's special tokens take the spaces behind them, but for three."""
    tokens = {"<|end|>": CONTROL, "<s>": CONTROL, "</s>": NORMAL}
    cut = specials(tokens, **{"general.name": "Phi-3 mini"}).cut
    assert cut("a <|end|> \n b<s> c") == ["a ", 0, "b", 1, " c"]


def test_a_mask_swallows_white_space_before_it():
    """In the models that mask so, the spaces before the mask go with it."""
    cut = specials({"<mask>": CONTROL}, **{T + "pre": "jina-v2-de"}).cut
    assert cut("a  <mask> b") == ["a", 0, " b"]


def test_nothing_to_find():
    """Without special tokens a text is one fragment, and no text is none."""
    assert specials({"a": NORMAL}).cut("text") == ["text"]
    assert specials({"<c>": CONTROL}).cut("") == []
