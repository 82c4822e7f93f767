"""Query and document as one text, as rerankers read them."""

from __future__ import annotations

from refgguf.tokenizer import load_tokenizer
from refgguf.tokenizer.pair import encode_pair

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁red", "▁fox"]
METADATA = {
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3, 2, 3, 3, 1, 1],
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 1,
    "tokenizer.ggml.seperator_token_id": 3,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.mask_token_id": 1,
}


def pair(**more):
    """Return the ids of "red" and "fox" as a pair."""
    return encode_pair(
        load_tokenizer(METADATA | {f"tokenizer.{k}": v for k, v in more.items()}), "red", "fox"
    )


def test_a_bert_pair_has_its_separator_between():
    """WordPiece files begin with [CLS] and part with [SEP]; the end has one where the file asks for it."""
    assert pair() == [2, 4, 3, 5]
    assert pair(**{"ggml.add_eos_token": True}) == [2, 4, 3, 3, 5, 3]
    assert pair(**{"ggml.add_sep_token": False}) == [2, 4, 5]


def test_a_template_of_the_file_comes_first():
    """A rerank template is filled in and read with its special tokens, without further ones around it."""
    assert pair(**{"chat_template.rerank": "{document} [SEP] {query}"}) == [5, 3, 4]
