"""Merging pairs: the short way, the long way, and the plain definition agree."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from refgguf.tokenizer.merge import _merge_long, _merge_short, merge

letters = st.text("abc", max_size=40)
ranks = st.dictionaries(st.text("abc", min_size=2, max_size=4), st.integers(0, 5), max_size=12)


def plain(symbols: list[str], rank) -> list[str]:
    """Merge by definition: look at all pairs, take the lowest rank, the leftmost of equals, and begin again."""
    while True:
        ranked = [(rank(a, b), k) for k, (a, b) in enumerate(pairwise(symbols))]
        ranked = [(value, k) for value, k in ranked if value is not None]
        if not ranked:
            return symbols
        _, k = min(ranked)
        symbols = [*symbols[:k], symbols[k] + symbols[k + 1], *symbols[k + 2 :]]


@given(letters, ranks)
def test_both_ways_are_the_definition(text, table):
    """Whatever the ranks, equal ones included, short and long words merge as the definition says."""

    def rank(left: str, right: str) -> int | None:
        return table.get(left + right)

    expected = plain(list(text), rank)
    assert _merge_short(list(text), rank) == expected
    assert _merge_long(list(text), rank) == expected
    assert merge(list(text), rank) == expected


def test_lower_ranks_go_first():
    """The text abc with bc before ab becomes a + bc; by hand."""
    table = {"ab": 1, "bc": 0}
    assert merge(list("abc"), lambda a, b: table.get(a + b)) == ["a", "bc"]


def test_the_leftmost_of_equals_goes_first():
    """The text aaa becomes aa + a, not a + aa; by hand."""
    assert merge(list("aaa"), lambda a, b: 0 if a + b == "aa" else None) == ["aa", "a"]


def test_long_words_take_time_in_proportion():
    """A word sixteen times as long takes nowhere near 256 times the time; n log n would be 23 times."""
    table = {"ab": 0, "ba": 1, "abab": 2, "abba": 3}

    def seconds(n: int) -> float:
        start = time.process_time()
        merge(list("ab" * n), lambda a, b: table.get(a + b))
        return time.process_time() - start

    seconds(1000)
    assert seconds(32_000) < 100 * max(min(seconds(2000), seconds(2000)), 1e-3)
