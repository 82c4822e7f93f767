"""Block-sparse attention's indexer: small heads that choose whole blocks of keys (MiniMax 2026, MSA).

q       = RoPE(norm(x Wq))              a small head for each head of keys
k       = RoPE(norm(x Wk))              one key a token, for all small heads
scores  = q · k                         over the keys that a query may see
blocks  = the largest score of each block of keys; without bound for the query's own block and the ones just before
mask    = 1 in the top_k best blocks, for the query heads that share the small head's keys

llama.cpp does this with flash attention, which is how it runs by default, and attends to all keys without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_weights
from refgguf.blocks.selector import Selector, small_head_needs
from refgguf.kernels.ops.attention import attention_scores
from refgguf.kernels.ops.choice import best
from refgguf.taps import Tap, Word, declare

QUERY = Word("token kv_head d_head", "attention", "queries of the indexer, one for each head of keys")
KEY = Word("token d_head", "attention", "the indexer's key of each token")
SCORES = Word("kv_head query key", "attention", "the indexer's score of each key")
BLOCKS = Word("kv_head query block", "attention", "score of each block of keys", "msa_bsf")
MASK = Word("kv_head query key", "attention", "1 where a query attends to a key, 0 where it does not")


@dataclass(frozen=True)
class BlockIndexer(Selector):
    """An indexer of blocks of keys.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: small heads, one for each head of keys.
        d_head: channels of a small head.
        top_k: how many blocks it chooses for a query.
        d_block: keys of a block.
        n_local: blocks that a query always sees: its own and those just before.
        norm: norm of its queries and keys.
        rope: position embedding of both.
    """

    d_model: int
    n_heads: int
    d_head: int
    top_k: int
    d_block: int
    n_local: int
    norm: Norm
    rope: Rope

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return small_head_needs(self.d_model, self.n_heads, self.d_head, self.norm, self.rope)

    def taps(self, layer: int, source: str, short: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; see `Selector`."""

        def step(
            name: str, inputs: list[str], formula: str, word: Word, weights: tuple[str, ...] = ()
        ) -> Tap:
            return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word)

        for sign, word in (("q", QUERY), ("k", KEY)):
            name, norm = f"indexer.{sign}", f"indexer.{sign}_norm"
            yield step(name, [source], f"x · W{sign}ᵀ", word, linear_weights(f"indexer.{sign}_proj"))
            yield step(norm, [name], self.norm.formula, word, self.norm.weights(norm))
            yield step(f"indexer.{sign}_rope", [norm], self.rope.formula, word, self.rope.weights())
        yield step("indexer.scores", ["indexer.q_rope", "indexer.k_rope"], "q · k", SCORES)
        formula = f"largest score of {self.d_block} keys; ∞ for the query's last {self.n_local} blocks"
        yield step("indexer.blocks", ["indexer.scores"], formula, BLOCKS)
        yield step("indexer.mask", ["indexer.blocks"], f"1 in the {self.top_k} best blocks", MASK)

    def new_state(self) -> Rows:
        """Return an empty store of keys."""
        return Rows(self.d_head)

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose keys; see `Selector`."""
        angles = self.rope.angles(s)
        q, k = (self._small(x, sign, n, angles, s) for sign, n in (("q", self.n_heads), ("k", 1)))
        keys = s.state.store(s.n_past, k)  # (key, d_head)
        last = s.n_past + np.arange(len(x))
        scores = attention_scores(q, keys[None], len(keys), np.zeros_like(last), last, 1.0)
        scores = s.tap("indexer.scores", scores)  # (kv_head, query, key)
        blocks = s.tap("indexer.blocks", self._blocks(scores, last))  # (kv_head, query, block)
        mask = np.repeat(best(blocks, self.top_k), self.d_block, axis=2)[:, :, : len(keys)]
        seen = np.arange(len(keys)) <= last[:, None]
        return s.tap("indexer.mask", mask * seen)  # (kv_head, query, key)

    def _small(
        self, x: np.ndarray, sign: str, n: int, angles: tuple[np.ndarray, np.ndarray], s: Scope
    ) -> np.ndarray:
        """Return the queries (token, kv_head, d_head), or the keys (token, d_head)."""
        shape = (len(x), n, self.d_head) if sign == "q" else (len(x), self.d_head)
        y = s.tap(f"indexer.{sign}", s.linear(x, f"indexer.{sign}_proj").reshape(shape))
        y = s.tap(f"indexer.{sign}_norm", self.norm(y, s, f"indexer.{sign}_norm"))
        turned = self.rope(y.reshape(len(x), n, self.d_head), angles, s)
        return s.tap(f"indexer.{sign}_rope", turned.reshape(shape))

    def _blocks(self, scores: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the score of each block, (kv_head, query, block)."""
        n_keys = scores.shape[2]
        rest = -n_keys % self.d_block
        padded = np.pad(scores, ((0, 0), (0, 0), (0, rest)), constant_values=-np.inf)
        blocks = padded.reshape(*scores.shape[:2], -1, self.d_block).max(axis=3)
        distance = last[:, None] // self.d_block - np.arange(blocks.shape[2])
        local = (distance >= 0) & (distance < self.n_local)
        return np.where(local, np.float32(np.inf), blocks)
