"""Tokenizers: text to token ids and back, for every kind of vocabulary a GGUF file can hold.

    tokenizer = load_tokenizer(file.metadata)
    ids = tokenizer.encode("Once upon a time")
    tokenizer.decode(ids)

A family is one file of this folder; it names the values of `tokenizer.ggml.model` that it handles in `KINDS` and
is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer
from refgguf.tokenizer.metadata import PREFIX, read_text, shown
from refgguf.tokenizer.stream import TokenStream

__all__ = ["TokenStream", "Tokenizer", "kinds", "load_tokenizer"]


@cache
def kinds() -> dict[str, type[Tokenizer]]:
    """Return the tokenizer class of every value of `tokenizer.ggml.model`."""
    found: dict[str, type[Tokenizer]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for kind, family in getattr(module, "KINDS", {}).items():
            if kind in found:
                raise TokenizerError(f"the tokenizer kind {kind!r} is defined twice")
            found[kind] = family
    return dict(sorted(found.items()))


def load_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer that a file's metadata describes.

    Tables are built when they are first needed, so this costs next to nothing.

    Args:
        metadata: the file's metadata.

    Raises:
        TokenizerError: there is no tokenizer, its kind is unknown, or its keys contradict each other.
    """
    kind = read_text(metadata, PREFIX + "model")
    if kind is None:
        raise TokenizerError(
            f"the file has no {PREFIX}model, so it holds no tokenizer; give token ids instead of text"
        )
    if kind not in kinds():
        raise TokenizerError(
            f"unknown kind of tokenizer {shown(kind)} ({PREFIX}model); known are {', '.join(kinds())}"
        )
    return kinds()[kind](metadata)
