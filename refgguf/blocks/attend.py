"""The heart of attention: scores, softmax, mix, for queries that are made and keys and values that are kept.

In llama.cpp numerics all three add up as ggml does, and what multiplies the scores does so where llama.cpp has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.scope import Scope
from refgguf.kernels.ops.activation import softcap
from refgguf.kernels.ops.attention import (
    GgmlOrder,
    alibi_slopes,
    at_distance,
    attention_mix,
    attention_scores,
    softmax,
)

if TYPE_CHECKING:
    from refgguf.blocks.mask import Mask

# scores of a long prompt are computed in slices of queries no larger than this, unless they are tapped
SCORES_BYTES = 32 << 20
# gathering the chosen keys of a query costs about as much as meeting so many times as many with one head
GATHERING = 4


class Attend(Block):
    """What all attention has in common once queries, keys and values are there; attributes as in `Attention`."""

    n_heads: int
    scale: float
    scaled: str
    softcap: float
    alibi: float
    sinks: bool
    mask: Mask

    @property
    def cached(self) -> bool:
        """Whether llama.cpp keeps the keys in its cache, which is padded."""
        return self.mask.causal

    def _attend(self, q: np.ndarray, n_keys: int, s: Scope, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return the values mixed by the pattern, (token, head, d_head_v); tapped whole, or slice by slice."""
        n = len(q)
        whole = s.wants("attn_scores", "attn_probs")
        step = n if whole else max(1, SCORES_BYTES // (4 * self.n_heads * n_keys))
        order = s.order(n, padded=self.cached)
        slices = [self._attend_some(q[i : i + step], i, n_keys, s, chosen, order) for i in range(0, n, step)]
        return slices[0] if len(slices) == 1 else np.concatenate(slices)

    def _attend_some(
        self,
        q: np.ndarray,
        start: int,
        n_keys: int,
        s: Scope,
        chosen: np.ndarray | None,
        order: GgmlOrder | None,
    ) -> np.ndarray:
        positions = s.positions[start : start + len(q)]
        first, last = self.mask.limits(positions, n_keys)
        early, late = self._scales(order)
        q = q if early == 1 else q * np.float32(early)
        scale = self.scale if early == late == 1 else 1.0
        some = None if chosen is None else chosen[..., start : start + len(q), :]
        if some is not None and pays(some, self.n_heads, order):
            scores = scores_of_chosen(q, s.state.keys, some, first, last, scale, order)
        else:
            scores = attention_scores(q, s.state.keys, n_keys, first, last, scale, order)
        if self.softcap:
            scores = softcap(scores, self.softcap, late)
        scores = self._placed(scores, positions, s)  # (head, query, key)
        if some is not None:
            some = some if some.ndim == 2 else np.repeat(some, self.n_heads // len(some), axis=0)
            scores = np.where(some != 0, scores, np.float32(-np.inf))
        scores = s.tap("attn_scores", scores)
        sinks = s.vector("attn_sinks.weight") if self.sinks else None
        probs = s.tap("attn_probs", softmax(scores, sinks, order))  # (head, query, key)
        return attention_mix(probs, s.state.values, order)  # (token, head, d_head_v)

    def _scales(self, order: GgmlOrder | None) -> tuple[float, float]:
        """Return what multiplies the queries, and what the scores within their cap; 1 where that is not the scale."""
        early = self.scaled == "queries" and order is not None
        late = self.scaled == "capped" and order is not None
        return self.scale if early else 1.0, self.scale if late else 1.0

    def _placed(self, scores: np.ndarray, positions: np.ndarray, s: Scope) -> np.ndarray:
        """Return scores that know how far query and key lie apart, (head, query, key)."""
        if not self.alibi:
            return scores
        return at_distance(scores, positions, alibi_slopes(self.n_heads, self.alibi), s.order())


def pays(chosen: np.ndarray, n_heads: int, order: GgmlOrder | None) -> bool:
    """Say whether it is quicker to gather the keys that each query has chosen than to meet all and mask some.

    Args:
        chosen: (query, key), or (kv_head, query, key), not 0 where a key is chosen.
        n_heads: heads that meet them.
        order: as in `attention_scores`; ggml's for several tokens and one head depends on how many keys there are.
    """
    most = int(np.count_nonzero(chosen, axis=-1).max(initial=0))
    together = n_heads if chosen.ndim == 2 else n_heads // len(chosen)
    return (together > 1 or order is None) and GATHERING * most <= chosen.shape[-1]


def scores_of_chosen(
    q: np.ndarray,
    keys: np.ndarray,
    chosen: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    scale: float,
    order: GgmlOrder | None,
) -> np.ndarray:
    """Return what `attention_scores` does where keys are chosen, and minus infinity elsewhere.

    Args:
        q: (query, head, d_head) float32.
        keys: (kv_head, capacity, d_head) float32.
        chosen: as for `pays`.
        first: (query,) integers, the first key that each query may see.
        last: (query,) integers, the last one.
        scale: multiplies each product.
        order: as in `attention_scores`.

    Returns:
        (head, query, key) float32; each product is that of `attention_scores`, bit for bit.
    """
    n_queries, n_heads, _ = q.shape
    groups = chosen[None] if chosen.ndim == 2 else chosen  # of heads that choose together
    scores = np.full((n_heads, n_queries, chosen.shape[-1]), -np.inf, np.float32)
    per_group, kv_per_group = n_heads // len(groups), len(keys) // len(groups)
    for group, mask in enumerate(groups):
        heads = slice(group * per_group, (group + 1) * per_group)
        own = keys[group * kv_per_group : (group + 1) * kv_per_group]
        for query in range(n_queries):
            picked = np.flatnonzero(mask[query])
            picked = picked[(picked >= first[query]) & (picked <= last[query])]
            if picked.size:
                ends = np.zeros(1, np.int64), np.array([picked.size - 1])
                few, gathered = q[query : query + 1, heads], np.ascontiguousarray(own[:, picked])
                found = attention_scores(few, gathered, picked.size, *ends, scale, order)
                scores[heads, query, picked] = found[:, 0]
    return scores
