"""A lightning indexer: small heads that choose which keys attention sees (DeepSeek-AI 2025, DeepSeek-V3.2).

q       = RoPE(c Wq)                        of each small head; c is the short vector that queries come from
k       = RoPE(norm(x Wk))                  one key a token, for all small heads
w       = x Ww / √(heads · d_head)          how much each head counts
scores  = Σ over heads: w · relu(q · k)
mask    = 1 for the top_k best of the keys that a query may see, all of them where there are no more

In some models q and k are multiplied by a Hadamard matrix besides: it is orthogonal, so products stay, and what is
large is spread over all channels, where a cache of few bits would lose it. Where scores tie, the earlier key is chosen
here; llama.cpp leaves that to its sorting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.blocks.selector import MASK, Selector
from refgguf.kernels.ops.attention import attention_scores
from refgguf.kernels.ops.choice import best
from refgguf.kernels.ops.hadamard import rotate
from refgguf.taps import Tap, Word, declare

# products of all small heads with all keys are computed in slices of queries no larger than this
PRODUCTS_BYTES = 32 << 20
QUERY = Word("token indexer_head d_head", "attention", "queries of the indexer's small heads", "indexer_q")
TURNED = Word(
    "token indexer_head d_head", "attention", "those queries, turned by their position", "indexer_q"
)
KEY = Word("token d_head", "attention", "the indexer's key of each token", "indexer_k")
NORMED = Word("token d_head", "attention", "that key, normed", "indexer_k")
KEY_TURNED = Word("token d_head", "attention", "that key, turned by its position", "indexer_k")
SPREAD = Word("token indexer_head d_head", "attention", "those queries, spread over channels", "indexer_q")
KEY_SPREAD = Word("token d_head", "attention", "that key, spread over channels", "indexer_k")
WEIGHTS = Word("token indexer_head", "attention", "how much each small head counts", "indexer_weights")
SCORES = Word("query key", "attention", "the indexer's score of each key", "indexer_score")


@dataclass(frozen=True)
class LightningIndexer(Selector):
    """A lightning indexer.

    Attributes:
        d_model: channels of the residual stream.
        d_short: channels of the short vector that its queries come from.
        n_heads: small heads.
        d_head: channels of a small head.
        top_k: how many keys it chooses for a query.
        norm: norm of its keys.
        rope: position embedding of its queries and keys, or None.
        d_spread: so many channels at a time are spread by a Hadamard matrix; 0 for not at all.
    """

    d_model: int
    d_short: int
    n_heads: int
    d_head: int
    top_k: int
    norm: Norm
    rope: Rope | None = None
    d_spread: int = 0

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *linear_needs("indexer.attn_q_b", self.n_heads * self.d_head, self.d_short),
            *self._key_needs(),
            *linear_needs("indexer.proj", self.n_heads, self.d_model),
            *(self.rope.needs() if self.rope else ()),
        ]

    def _key_needs(self) -> list[Need]:
        return [
            *linear_needs("indexer.attn_k", self.d_head, self.d_model),
            *self.norm.needs("indexer.k_norm", self.d_head),
        ]

    def taps(self, layer: int, source: str, short: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; see `Selector`."""
        yield from self._query_taps(layer, short)
        yield from self._key_taps(layer, source)
        yield from self._score_taps(layer, source)

    def _query_taps(self, layer: int, short: str) -> Iterator[Tap]:
        weights = linear_weights("indexer.attn_q_b")
        formula = "c · Wqᵀ, split into heads"
        yield declare("indexer.q", inputs=[short], weights=weights, formula=formula, layer=layer, word=QUERY)
        if self.rope:
            yield self._turn_tap("indexer.q_rope", "indexer.q", TURNED, layer)
        if self.d_spread:
            yield self._spread_tap("q", SPREAD, layer)

    def _spread_tap(self, sign: str, word: Word, layer: int) -> Tap:
        source = f"indexer.{sign}_rope" if self.rope else "indexer.q" if sign == "q" else "indexer.k_norm"
        formula = f"x · H / √{self.d_spread}; H: Hadamard matrix"
        return declare(f"indexer.{sign}_rot", inputs=[source], formula=formula, layer=layer, word=word)

    def _turn_tap(self, name: str, source: str, word: Word, layer: int) -> Tap:
        weights, formula = self.rope.weights(), self.rope.formula
        return declare(name, inputs=[source], weights=weights, formula=formula, layer=layer, word=word)

    def _key_taps(self, layer: int, source: str) -> Iterator[Tap]:
        weights = linear_weights("indexer.attn_k")
        yield declare("indexer.k", inputs=[source], weights=weights, formula="x · Wkᵀ", layer=layer, word=KEY)
        weights, formula = self.norm.weights("indexer.k_norm"), self.norm.formula
        yield declare(
            "indexer.k_norm",
            inputs=["indexer.k"],
            weights=weights,
            formula=formula,
            layer=layer,
            word=NORMED,
        )
        if self.rope:
            yield self._turn_tap("indexer.k_rope", "indexer.k_norm", KEY_TURNED, layer)
        if self.d_spread:
            yield self._spread_tap("k", KEY_SPREAD, layer)

    def _score_taps(self, layer: int, source: str) -> Iterator[Tap]:
        weights = linear_weights("indexer.proj")
        formula = f"x · Wwᵀ / √({self.n_heads} · {self.d_head})"
        yield declare(
            "indexer.weights", inputs=[source], weights=weights, formula=formula, layer=layer, word=WEIGHTS
        )
        query, key = self._met
        yield declare(
            "indexer.scores",
            inputs=[query, key, "indexer.weights"],
            formula="Σ over heads: w · relu(q · k)",
            layer=layer,
            word=SCORES,
        )
        formula = f"1 for the {self.top_k} best keys of each query"
        yield declare("indexer.mask", inputs=["indexer.scores"], formula=formula, layer=layer, word=MASK)

    @property
    def _met(self) -> tuple[str, str]:
        """Local names of the taps of the queries and keys that meet."""
        if self.d_spread:
            return "indexer.q_rot", "indexer.k_rot"
        return ("indexer.q_rope", "indexer.k_rope") if self.rope else ("indexer.q", "indexer.k_norm")

    def new_state(self) -> Rows:
        """Return an empty store of keys."""
        return Rows(self.d_head)

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose keys; see `Selector`."""
        angles = self.rope.angles(s) if self.rope else None
        q = s.linear(short, "indexer.attn_q_b").reshape(len(x), self.n_heads, self.d_head)
        q = s.tap("indexer.q", q)
        if self.rope:
            q = s.tap("indexer.q_rope", self.rope(q, angles, s))  # (token, head, d_head)
        if self.d_spread:
            q = s.tap("indexer.q_rot", rotate(q, self.d_spread, s.numerics))
        keys = s.state.store(s.n_past, self._keys(x, angles, s))  # (key, d_head)
        scores = rectified(q, keys, self._weights(x, s), s.n_past + np.arange(len(x)))
        scores = s.tap("indexer.scores", scores)  # (query, key)
        return self._keep(s.tap("indexer.mask", best(scores, self.top_k)), s)

    def _keys(self, x: np.ndarray, angles: tuple[np.ndarray, np.ndarray] | None, s: Scope) -> np.ndarray:
        """Return the key of each token, (token, d_head)."""
        k = s.tap("indexer.k", s.linear(x, "indexer.attn_k"))
        k = s.tap("indexer.k_norm", self.norm(k, s, "indexer.k_norm"))
        k = s.tap("indexer.k_rope", self.rope(k[:, None], angles, s)[:, 0]) if self.rope else k
        return s.tap("indexer.k_rot", rotate(k, self.d_spread, s.numerics)) if self.d_spread else k

    def _weights(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return how much each small head counts, (token, head)."""
        scale = np.float32(1 / np.sqrt(self.n_heads * self.d_head))
        return s.tap("indexer.weights", s.linear(x, "indexer.proj") * scale)

    def _keep(self, mask: np.ndarray, s: Scope) -> np.ndarray:
        """Leave the choice for later layers that share it; returns it."""
        s.common[f"{s.prefix}indexer.mask"] = mask
        return mask


def rectified(q: np.ndarray, keys: np.ndarray, w: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the score of every key up to the last that each query may see: Σ over heads: w · relu(q · k).

    Args:
        q: (query, head, d_head) float32.
        keys: (key, d_head) float32.
        w: (query, head) float32, how much each head counts.
        last: (query,) integers, the last key that each query sees; −1 for none.

    Returns:
        (query, key) float32; −∞ for keys beyond.
    """
    n, n_keys = len(q), len(keys)
    step = max(1, PRODUCTS_BYTES // (4 * q.shape[1] * max(1, n_keys)))
    scores = np.full((n, n_keys), -np.inf, np.float32)
    for i in range(0, n if n_keys else 0, step):
        some = slice(i, i + step)
        first = np.zeros_like(last[some])
        products = attention_scores(q[some], keys[None], n_keys, first, last[some], 1.0)
        total = np.zeros(products.shape[1:], np.float32)
        for head, product in enumerate(products):  # one after another: the order is part of the result
            total += np.maximum(product, 0) * w[some, head : head + 1]
        seen = np.arange(n_keys) <= last[some][:, None]
        scores[some] = np.where(seen, total, np.float32(-np.inf))
    return scores
