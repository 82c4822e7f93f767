"""Merge symbols pair by pair, best pair first: what SentencePiece and byte-pair encoding have in common.

Both merge the pair of the lowest rank, the leftmost of equals, until no pair is left that may merge. Short words
are searched again after each merge; long ones keep their pairs in a heap, so that a megabyte without a space
takes n log n steps rather than n squared.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import pairwise

Rank = Callable[[str, str], float | None]  # of two neighbours; None when they do not merge

SHORT = 24  # symbols; measured: about where the heap begins to pay
_END = -1


def merge(symbols: list[str], rank: Rank) -> list[str]:
    """Merge neighbours until none may merge.

    Args:
        symbols: the parts to begin with; the list may be changed.
        rank: the rank of a pair, lower ones merge first.

    Returns:
        The parts that are left; joined, they are the same text.
    """
    return _merge_short(symbols, rank) if len(symbols) <= SHORT else _merge_long(symbols, rank)


def _merge_short(symbols: list[str], rank: Rank) -> list[str]:
    ranks = [rank(left, right) for left, right in pairwise(symbols)]
    while True:
        best, at = None, 0
        for k, value in enumerate(ranks):
            if value is not None and (best is None or value < best):
                best, at = value, k
        if best is None:
            return symbols
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        del ranks[at]
        if at:
            ranks[at - 1] = rank(symbols[at - 1], symbols[at])
        if at < len(ranks):
            ranks[at] = rank(symbols[at], symbols[at + 1])


def _merge_long(symbols: list[str], rank: Rank) -> list[str]:
    n = len(symbols)
    after = [*range(1, n), _END]
    before = [_END, *range(n - 1)]
    heap = []
    for k in range(n - 1):
        value = rank(symbols[k], symbols[k + 1])
        if value is not None:
            heap.append((value, k, symbols[k], symbols[k + 1]))
    heapify(heap)
    while heap:
        _, left, left_text, right_text = heappop(heap)
        right = after[left]
        # an entry is out of date when either part has grown or is gone; a part that is gone is ""
        if right == _END or symbols[left] != left_text or symbols[right] != right_text:
            continue
        merged = symbols[left] = left_text + right_text
        symbols[right] = ""
        follow = after[left] = after[right]
        if follow != _END:
            before[follow] = left
            value = rank(merged, symbols[follow])
            if value is not None:
                heappush(heap, (value, left, merged, symbols[follow]))
        lead = before[left]
        if lead != _END:
            value = rank(symbols[lead], merged)
            if value is not None:
                heappush(heap, (value, lead, symbols[lead], merged))
    return [symbol for symbol in symbols if symbol]
