"""Files without a real vocabulary: the kinds "none", "no_vocab" and "test". Ids have labels, text cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refgguf.errors import TokenizerError
from refgguf.tokenizer.base import Tokenizer
from refgguf.tokenizer.metadata import PREFIX, read_integer, shown


class NoTokenizer(Tokenizer):
    """Stands in for a tokenizer: token 17 is called `#17`, and encoding text raises a TokenizerError."""

    family = "none"
    reads_text = False

    def __init__(self, metadata: Mapping[str, Any]):
        self.metadata = metadata
        self.add_bos = self.add_eos = self.add_sep = self.add_space_prefix = self.clean_spaces = False
        self._n_vocab = _vocab_size(metadata)

    def encode(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Raise a TokenizerError, for there is no vocabulary; nothing is nothing, though."""
        if not text:
            return []
        kind = shown(self.metadata.get(PREFIX + "model"))
        raise TokenizerError(
            f"the file has no vocabulary to read text with (its tokenizer is {kind}); give token ids instead"
        )

    def decode(self, ids: Iterable[int], *, special: bool = False, clean: bool | None = None) -> str:
        """Return the ids' labels, separated by spaces."""
        return " ".join(self.token_text(id) for id in ids)

    def _shown(self, id: int, special: bool) -> bytes:
        return f"#{self._checked_id(id)}".encode()

    def _attributes_of(self, id: int) -> int:
        return 0

    @property
    def n_vocab(self) -> int:
        """How many tokens there are; 2**31 when the file does not say."""
        return self._n_vocab

    @property
    def bos(self) -> int | None:
        """None: no token begins a text."""
        return None

    @property
    def eos(self) -> int | None:
        """None: no token ends a text."""
        return None

    @property
    def end_ids(self) -> frozenset[int]:
        """Empty: no token ends generation."""
        return frozenset()


def _vocab_size(metadata: Mapping[str, Any]) -> int:
    """Return how many tokens the model has, as far as the metadata says."""
    tokens = metadata.get(PREFIX + "tokens")
    if hasattr(tokens, "__len__") and len(tokens):
        return len(tokens)
    found = next((key for key in metadata if key.endswith(".vocab_size")), None)
    size = read_integer(metadata, found) if found else None
    return size if size and size > 0 else 1 << 31


KINDS = {"none": NoTokenizer, "no_vocab": NoTokenizer, "test": NoTokenizer}
