"""Turn tokens into text one by one, holding back characters until all their bytes are there."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class TokenStream:
    """Text that grows token by token.

    The parts joined are what `decode` gives for all tokens at once, without cleaning up spaces.

    Args:
        piece: the bytes of a token.
        strip_space: whether encoding puts a space before a text, which is taken off here.
        bos: a token after which the text still counts as beginning.
    """

    def __init__(self, piece: Callable[[int], bytes], strip_space: bool, bos: int | None):
        self._piece, self._strip, self._bos = piece, strip_space, bos
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        """Take one more token and return the characters that are complete now, often none.

        Raises:
            TokenizerError: the id lies outside the vocabulary.
        """
        raw = self._piece(id)
        if self._strip:
            raw = raw.removeprefix(b" ")
            self._strip = id == self._bos and not raw
        return self._decoder.decode(raw)

    def flush(self) -> str:
        """Return what is left: U+FFFD where the text ends within a character."""
        return self._decoder.decode(b"", final=True)
