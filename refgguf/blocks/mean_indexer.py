"""An indexer over means of keys: it chooses blocks of tokens (Qwen 2026, Qwen 4, QSA).

q       = RoPE(norm(x Wq))                  of each small head
k       = RoPE(norm(mean over a block's tokens: x Wk))     turned as the block's first token is
scores  = Σ over heads: relu(q · k)         over the blocks that end at or before the query
mask    = 1 in the top_k / d_block best blocks, and for the tokens of the query's own block while that is incomplete

llama.cpp's budget is top_k + d_block − 1 tokens, counted in tokens: what the incomplete block leaves over of it goes to
some tokens of the next best block, which of them its sorting decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.indexer import QUERY, TURNED, rectified
from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.norm import Norm
from refgguf.blocks.pooled_indexer import over_tokens
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_weights
from refgguf.blocks.selector import MASK, Selector, small_head_needs
from refgguf.taps import Tap, Word, declare

NORMED = replace(QUERY, meaning="those queries, normed")
KEY = Word("token d_head", "attention", "the indexer's key of each token", "indexer_k_raw")
MEAN = Word("block d_head", "attention", "mean of the keys of each block", "indexer_k_pooled")
KEY_NORM = Word("block d_head", "attention", "that mean, normed")
KEY_TURNED = Word("block d_head", "attention", "that mean, turned by the block's position", "indexer_k")
SCORES = Word("query block", "attention", "the indexer's score of each block")


@dataclass(frozen=True)
class MeanIndexer(Selector):
    """An indexer over means of keys.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: small heads.
        d_head: channels of a small head.
        top_k: how many tokens it chooses for a query, as whole blocks.
        d_block: tokens of a block.
        norm: norm of queries and of means.
        rope: position embedding of queries.
        block_rope: that of means.
    """

    d_model: int
    n_heads: int
    d_head: int
    top_k: int
    d_block: int
    norm: Norm
    rope: Rope
    block_rope: Rope

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return small_head_needs(self.d_model, self.n_heads, self.d_head, self.norm, self.rope)

    def taps(self, layer: int, source: str, short: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; see `Selector`."""

        def step(
            name: str, inputs: list[str], formula: str, word: Word, weights: tuple[str, ...] = ()
        ) -> Tap:
            full, inputs = f"indexer.{name}", [n if n == source else f"indexer.{n}" for n in inputs]
            return declare(full, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word)

        norm, turn = self.norm.formula, (self.rope.formula, self.block_rope.formula)
        yield step("q", [source], "x · Wqᵀ, split into heads", QUERY, linear_weights("indexer.q_proj"))
        yield step("q_norm", ["q"], norm, NORMED, self.norm.weights("indexer.q_norm"))
        yield step("q_rope", ["q_norm"], turn[0], TURNED, self.rope.weights())
        yield step("k", [source], "x · Wkᵀ", KEY, linear_weights("indexer.k_proj"))
        yield step("k_mean", ["k"], f"mean over {self.d_block} tokens", MEAN)
        yield step("k_norm", ["k_mean"], norm, KEY_NORM, self.norm.weights("indexer.k_norm"))
        yield step("k_rope", ["k_norm"], turn[1], KEY_TURNED, self.block_rope.weights())
        yield step("scores", ["q_rope", "k_rope"], "Σ over heads: relu(q · k)", SCORES)
        formula = (
            f"1 in the {self.top_k // self.d_block} best blocks of each query, and in its own incomplete one"
        )
        yield step("mask", ["scores"], formula, MASK)

    def new_state(self) -> tuple[Rows, Rows]:
        """Return empty stores of what tokens and what blocks have."""
        return Rows(self.d_head), Rows(self.d_head)

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose keys; see `Selector`."""
        q = s.tap("indexer.q", s.linear(x, "indexer.q_proj").reshape(len(x), self.n_heads, self.d_head))
        q = s.tap("indexer.q_norm", self.norm(q, s, "indexer.q_norm"))
        q = s.tap("indexer.q_rope", self.rope(q, self.rope.angles(s), s))  # (token, head, d_head)
        blocks = self._blocks(s.tap("indexer.k", s.linear(x, "indexer.k_proj")), s)  # (block, d_head)
        positions = s.n_past + np.arange(len(x))
        alike = np.ones((len(x), self.n_heads), np.float32)
        scores = rectified(q, blocks, alike, (positions + 1) // self.d_block - 1)
        scores = s.tap("indexer.scores", scores)  # (query, block)
        mask = over_tokens(scores, positions, self.d_block, self.top_k // self.d_block)
        return s.tap("indexer.mask", mask)

    def _blocks(self, k: np.ndarray, s: Scope) -> np.ndarray:
        """Return the keys of all blocks that are complete, (block, d_head)."""
        tokens, kept = s.state
        rows = tokens.store(s.n_past, k)
        first, last = s.n_past // self.d_block, len(rows) // self.d_block
        members = rows[first * self.d_block : last * self.d_block].reshape(-1, self.d_block, self.d_head)
        total = members[:, 0].copy()
        for number in range(1, self.d_block):  # one after another: the order is part of the result
            total += members[:, number]
        mean = s.tap("indexer.k_mean", total * np.float32(1 / self.d_block))
        mean = s.tap("indexer.k_norm", self.norm(mean, s, "indexer.k_norm"))
        angles = self.block_rope.angles_at(np.arange(first, last) * self.d_block, s)
        turned = self.block_rope(mean[:, None], angles, s)[:, 0]
        return kept.store(first, s.tap("indexer.k_rope", turned))
