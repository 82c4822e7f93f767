"""A lightning indexer over pools: one key for several tokens, mixed channel by channel (Zhipu AI 2026, GLM 5.3).

k, g    = norm(x Wk), x Wg                  of each token
pool    = Σ over its d_pool tokens: softmax(g + place) · k      channel by channel, once all of them are there
scores  = Σ over heads: w · relu(q · pool)  over the pools that end at or before the query
mask    = 1 in the top_k / d_pool best pools, and for the tokens of the query's own pool while that is incomplete
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.indexer import SCORES, LightningIndexer, rectified
from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.attention import softmax
from refgguf.kernels.ops.choice import best
from refgguf.taps import Tap, Word, declare

GATE = Word("token d_head", "attention", "how much of each channel of its key a token gives", "indexer_gate")
POOLS = Word("pool d_head", "attention", "the indexer's key of each pool of tokens", "indexer_pool_k_new")
GATE_TENSOR, PLACE_TENSOR = "indexer_compressor_gate", "indexer_compressor_ape"


@dataclass(frozen=True)
class PooledIndexer(LightningIndexer):
    """A lightning indexer over pools of tokens.

    Attributes:
        d_pool: tokens of a pool.
        own: a query sees the tokens of its own pool while that is incomplete.
    """

    d_pool: int = 1
    own: bool = True

    def _key_needs(self) -> list[Need]:
        return [
            *super()._key_needs(),
            *linear_needs(GATE_TENSOR, self.d_head, self.d_model),
            Need(f"{PLACE_TENSOR}.weight", (self.d_pool, self.d_head)),
        ]

    def _key_taps(self, layer: int, source: str) -> Iterator[Tap]:
        yield from super()._key_taps(layer, source)
        weights = linear_weights(GATE_TENSOR)
        yield declare(
            "indexer.gate", inputs=[source], weights=weights, formula="x · Wgᵀ", layer=layer, word=GATE
        )
        yield declare(
            "indexer.pools",
            inputs=["indexer.k_norm", "indexer.gate"],
            weights=[f"{PLACE_TENSOR}.weight"],
            formula=f"Σ over {self.d_pool} tokens: softmax(g + place) · k, channel by channel",
            layer=layer,
            word=POOLS,
        )

    def _score_taps(self, layer: int, source: str) -> Iterator[Tap]:
        weights, scores, mask = super()._score_taps(layer, source)
        yield weights
        yield replace(scores, axes=("query", "pool"), meaning=SCORES.meaning.replace("key", "pool"))
        own = ", and for the tokens of its own incomplete pool" if self.own else ""
        yield replace(mask, formula=f"1 in the {self.top_k // self.d_pool} best pools of each query{own}")

    @property
    def _met(self) -> tuple[str, str]:
        return "indexer.q", "indexer.pools"

    def new_state(self) -> tuple[Rows, Rows]:
        """Return empty stores of what tokens and what pools have."""
        return Rows(2 * self.d_head), Rows(self.d_head)

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose keys; see `Selector`."""
        q = s.linear(short, "indexer.attn_q_b").reshape(len(x), self.n_heads, self.d_head)
        q = s.tap("indexer.q", q)
        k = self._keys(x, None, s)
        g = s.tap("indexer.gate", s.linear(x, GATE_TENSOR))
        pools = self._pools(k, g, s)  # (pool, d_head)
        positions = s.n_past + np.arange(len(x))
        scores = rectified(q, pools, self._weights(x, s), (positions + 1) // self.d_pool - 1)
        scores = s.tap("indexer.scores", scores)  # (query, pool)
        mask = over_tokens(scores, positions, self.d_pool, self.top_k // self.d_pool, own=self.own)
        return self._keep(s.tap("indexer.mask", mask), s)

    def _pools(self, k: np.ndarray, g: np.ndarray, s: Scope) -> np.ndarray:
        """Return the keys of all pools that are complete, (pool, d_head)."""
        tokens, kept = s.state
        rows = tokens.store(s.n_past, np.concatenate([k, g], axis=1))  # (key, 2 · d_head)
        first, last = s.n_past // self.d_pool, len(rows) // self.d_pool
        members = rows[first * self.d_pool : last * self.d_pool].reshape(-1, self.d_pool, 2, self.d_head)
        k, g = (members[:, :, part].transpose(0, 2, 1) for part in (0, 1))  # (pool, d_head, place)
        shares = softmax(g + s.vector(f"{PLACE_TENSOR}.weight").T)
        total = np.zeros(k.shape[:2], np.float32)
        for place in range(self.d_pool):  # one after another: the order is part of the result
            total += shares[:, :, place] * k[:, :, place]
        new = s.tap("indexer.pools", total)
        return kept.store(first, new)


def over_tokens(
    scores: np.ndarray, positions: np.ndarray, d_pool: int, n: int, *, own: bool = True
) -> np.ndarray:
    """Return the mask over tokens that scores of pools give.

    Args:
        scores: (query, pool) float32; −∞ for pools that a query may not see.
        positions: (query,) integers, places of the queries.
        d_pool: tokens of a pool.
        n: how many pools each query sees.
        own: it sees the tokens of its own pool too, while that is incomplete.

    Returns:
        (query, key) int8.
    """
    mask = np.zeros((len(scores), positions[-1] + 1), np.int8)
    chosen = np.repeat(best(scores, n), d_pool, axis=1)
    mask[:, : chosen.shape[1]] = chosen
    if own:
        start, keys = (positions + 1) // d_pool * d_pool, np.arange(mask.shape[1])
        mask |= ((keys >= start[:, None]) & (keys <= positions[:, None])).astype(np.int8)
    return mask
