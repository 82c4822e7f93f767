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
        scores = attention_scores(q, s.state.keys, n_keys, first, last, scale, order)
        if self.softcap:
            scores = softcap(scores, self.softcap, late)
        scores = self._placed(scores, positions, s)  # (head, query, key)
        if chosen is not None:
            some = chosen[..., start : start + len(q), :]
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
