"""A query and a document as one text, the way rerankers read them.

Source: llama.cpp tools/server/server-common.cpp, format_prompt_rerank.
"""

from __future__ import annotations

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer

TEMPLATE = "tokenizer.chat_template.rerank"


def encode_pair(tokenizer: Tokenizer, query: str, document: str) -> list[int]:
    """Return the ids of a query and a document, parted by what the file puts between and around them.

    Args:
        tokenizer: of the file.
        query: the question; texts of special tokens in it are plain text.
        document: the text that may answer it.

    Raises:
        TokenizerError: the file wants a token there that it does not name.
    """
    template = tokenizer.metadata.get(TEMPLATE)
    if isinstance(template, str):
        text = template.replace("{query}", query).replace("{document}", document)
        return tokenizer.encode(text, add_special=False)
    first, second = (tokenizer.encode(t, add_special=False, parse_special=False) for t in (query, document))
    role = tokenizer.vocabulary.named_role
    separator = role("separator")
    end = separator if role("eos") is None else role("eos")
    start = [_there(role("bos"), "BOS")] if tokenizer.add_bos else []
    stop = [_there(end, "EOS")] if tokenizer.add_eos else []
    between = [_there(separator, "separator")] if tokenizer.add_sep else []
    return [*start, *first, *stop, *between, *second, *stop]


def _there(id: int | None, name: str) -> int:
    if id is None:
        raise TokenizerError(f"a reranker's texts need a token {name}, and the file names none")
    return id
