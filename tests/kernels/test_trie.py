"""The compiled longest match."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.kernels.trie import ByteTrie


def longest_plain(text: bytes, ids: dict[bytes, int]) -> list[int]:
    """Cut a text into the longest tokens, trying every length: the plain twin of `ByteTrie.match`."""
    found, at = [], 0
    while at < len(text):
        lengths = [n for n in range(len(text) - at, 0, -1) if text[at : at + n] in ids]
        found.append(ids[text[at : at + lengths[0]]] if lengths else -2 - text[at])
        at += lengths[0] if lengths else 1
    return found


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_plain_twin_on_random_tokens_and_bytes(seed):
    """Tokens of a few letters share beginnings, lie in each other and are missing for some bytes."""
    random = np.random.default_rng(seed)
    letters = random.choice(256, 4, replace=False).astype(np.uint8)

    def bytes_of(n: int) -> bytes:
        return random.choice(letters, n).tobytes()

    ids = {bytes_of(random.integers(1, 8)): int(id) for id in random.permutation(60)}
    trie = ByteTrie(list(ids), list(ids.values()))
    for n in (0, 1, 2, 3, 200):
        text = bytes_of(n)
        assert trie.match(text).tolist() == longest_plain(text, ids)


def test_the_last_of_equal_tokens_counts_and_every_byte_may_be_missing():
    """A vocabulary may hold a text twice; one without any fitting token names each byte."""
    assert ByteTrie([b"ab", b"c", b"ab"], [0, 1, 2]).match(b"abc").tolist() == [2, 1]
    assert ByteTrie([], []).match(bytes(range(256))).tolist() == [-2 - byte for byte in range(256)]
