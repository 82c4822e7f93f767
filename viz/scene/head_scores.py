"""What a head mostly looks at: mean shares of its attention that go to the token before, the first one and so on.

They are means over all queries from the third on, for which these are different tokens. Induction is the share that
goes to what came right after an earlier occurrence of the query's own token; a prompt that repeats nothing has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

PREVIOUS, FIRST, ITSELF, NEXT, INDUCTION = (
    "previous token",
    "first token",
    "itself",
    "next token",
    "induction",
)
FROM = 2  # first query that counts
LEAST = 0.5  # share from which on a head is said to look somewhere


def head_scores(pattern: np.ndarray, tokens: Sequence[int]) -> dict[str, np.ndarray]:
    """Measure where heads look.

    Args:
        pattern: (head, query, key) probabilities of tokens among themselves.
        tokens: ids of the tokens.

    Returns:
        Mean shares by name, each (head,) float64; those that a prompt is too short or too varied for are left out.
    """
    n = len(tokens)
    if pattern.shape[1:] != (n, n) or n <= FROM:
        return {}
    seen = pattern[:, FROM:].astype(np.float64)
    queries, rows = np.arange(FROM, n), np.arange(n - FROM)
    found = {
        PREVIOUS: seen[:, rows, queries - 1].mean(axis=1),
        FIRST: seen[:, :, 0].mean(axis=1),
        ITSELF: seen[:, rows, queries].mean(axis=1),
    }
    if not is_causal(pattern) and n > FROM + 1:
        found[NEXT] = seen[:, rows[:-1], queries[:-1] + 1].mean(axis=1)
    again = followers(tokens)
    if again.any():
        asking = again.any(axis=1)
        found[INDUCTION] = (pattern[:, asking].astype(np.float64) * again[asking]).sum(axis=2).mean(axis=1)
    return found


def followers(tokens: Sequence[int]) -> np.ndarray:
    """Return which keys came right after an earlier occurrence of each query's token, (query, key) bool."""
    ids = np.asarray(tokens)
    same = (ids[:, None] == ids[None]) & np.tri(len(ids), k=-1, dtype=bool)
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return after & np.tri(len(ids), k=-1, dtype=bool)


def is_causal(pattern: np.ndarray) -> bool:
    """Tell whether no query takes anything from a later key; (head, query, key) probabilities."""
    return not pattern[:, unseen(*pattern.shape[1:])].any()


def unseen(n_queries: int, n_keys: int) -> np.ndarray:
    """Return which keys come after each query, (query, key) bool; the last query is at the last key."""
    return ~np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool)


def most_of(scores: Mapping[str, np.ndarray], head: int) -> tuple[str, float] | None:
    """Return what a head looks at most, and its share; None if that is less than half, or nothing was measured."""
    if not scores:
        return None
    name = max(scores, key=lambda n: scores[n][head])
    share = float(scores[name][head])
    return (name, share) if share >= LEAST else None
