"""A lightning indexer over compressed keys: it chooses blocks of tokens (DeepSeek-AI 2026, DeepSeek-V4).

k       = the keys of blocks, from a compressor of its own
scores  = Σ over heads: w · relu(q · k)     over the blocks that end at or before the query
mask    = 1 for the top_k best blocks
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.compressor import Compressor
from refgguf.blocks.indexer import LightningIndexer, rectified
from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.choice import best
from refgguf.taps import Tap


@dataclass(frozen=True)
class CompressedIndexer(LightningIndexer):
    """A lightning indexer over blocks.

    Attributes:
        compressor: gives the keys of blocks.
    """

    compressor: Compressor | None = None

    def _key_needs(self) -> list[Need]:
        return self.compressor.needs()

    def _key_taps(self, layer: int, source: str) -> Iterator[Tap]:
        yield from self.compressor.taps(layer, source)

    def _score_taps(self, layer: int, source: str) -> Iterator[Tap]:
        weights, scores, mask = super()._score_taps(layer, source)
        yield weights
        yield replace(scores, axes=("query", "block"), meaning="the indexer's score of each block")
        formula, meaning = f"1 for the {self.top_k} best blocks of each query", mask.meaning
        yield replace(mask, axes=("query", "block"), formula=formula, meaning=meaning.replace("key", "block"))

    @property
    def _met(self) -> tuple[str, str]:
        return "indexer.q_rope", self.compressor.out

    def new_state(self) -> tuple[Rows, Rows]:
        """Return what the compressor keeps, empty."""
        return self.compressor.new_state()

    def __call__(self, x: np.ndarray, short: np.ndarray, s: Scope) -> np.ndarray:
        """Choose blocks: (query, block) int8."""
        q = s.linear(short, "indexer.attn_q_b").reshape(len(x), self.n_heads, self.d_head)
        q = s.tap("indexer.q_rope", self.rope(s.tap("indexer.q", q), self.rope.angles(s), s))
        keys = self.compressor(x, s)  # (block, d_head)
        last = (s.n_past + np.arange(len(x)) + 1) // self.compressor.d_block - 1
        scores = s.tap("indexer.scores", rectified(q, keys, self._weights(x, s), last))
        return s.tap("indexer.mask", best(scores, self.top_k))  # (query, block)
