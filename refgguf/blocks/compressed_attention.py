"""Attention over the last tokens and over compressed blocks of all earlier ones (DeepSeek-AI 2026, DeepSeek-V4).

q       = RoPE(norm(norm(x Wq_a) Wq_b))     split into heads
k       = RoPE(norm(x Wkv))                 one vector a token, key and value of all heads
scores  = q · k · scale                     over the tokens of a window, and over the blocks that end at or before the
                                            query, those that an indexer chooses where there is one
z       = Σ probs · k                       softmax over both and a sink; turned back by the query's position
out     = (z of each group of heads) Wo_a, all side by side Wo_b
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refgguf.blocks.attend import pays, scores_of_chosen
from refgguf.blocks.block import Block
from refgguf.blocks.compressed_indexer import CompressedIndexer
from refgguf.blocks.compressor import Compressor
from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.mask import Mask
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.attention import attention_mix, attention_scores, softmax
from refgguf.taps import Tap, Word, declare

SCORES_BYTES = 32 << 20  # of a slice of queries, where no scores are tapped
HEADS = "token head d_head"
WORDS = {
    "attn_kv": Word("token d_head", "qkv", "key and value of each token, for all heads"),
    "attn_kv_norm": Word("token d_head", "qkv", "key and value of each token, normed", "kv_norm"),
    "attn_kv_rope": Word("token d_head", "qkv", "key and value of each token, turned by its position", "kv"),
    "attn_scores_comp": Word("head query block", "attention", "how well each query fits each block, masked"),
    "attn_probs_comp": Word(
        "head query block", "attention", "attention pattern: how much each token takes from each block"
    ),
    "attn_z_turned": Word(HEADS, "qkv", "what is mixed, turned back by the query's position", "attn_derope"),
    "attn_output_a": Word("token group rank", "qkv", "what each group of heads gives"),
}


@dataclass(frozen=True)
class CompressedAttention(Block):
    """Attention over tokens of a window and over blocks.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: heads.
        d_head: channels of a query, and of what is kept of a token.
        q_rank: channels of the queries' short vector.
        n_groups: groups of heads with an output matrix of their own.
        out_rank: channels that each group gives.
        norm: norm of the short vector, of queries (without weights) and of keys.
        rope: position embedding.
        mask: which tokens a query may see.
        compressor: gives the keys of blocks; None where there are none.
        indexer: chooses among them, or None.
        stacked: the file has the groups' output matrices below each other in one.
        out: name of the result's tap.
    """

    d_model: int
    n_heads: int
    d_head: int
    q_rank: int
    n_groups: int
    out_rank: int
    norm: Norm
    rope: Rope
    mask: Mask
    compressor: Compressor | None = None
    indexer: CompressedIndexer | None = None
    stacked: bool = False
    out: str = "attn_out"

    @property
    def _query_norm(self) -> Norm:
        return Norm(self.norm.kind, self.norm.eps, weight=False)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        width, groups = self.n_heads * self.d_head, (self.n_groups, self.out_rank)
        groups = (self.n_groups * self.out_rank,) if self.stacked else groups
        return [
            *linear_needs("attn_q_a", self.q_rank, self.d_model),
            *self.norm.needs("attn_q_a_norm", self.q_rank),
            *linear_needs("attn_q_b", width, self.q_rank),
            *linear_needs("attn_kv", self.d_head, self.d_model),
            *self.norm.needs("attn_kv_a_norm", self.d_head),
            *self.rope.needs(),
            Need("attn_sinks.weight", (self.n_heads,)),
            *(need for part in (self.compressor, self.indexer) if part for need in part.needs()),
            Need("attn_output_a.weight", (*groups, width // self.n_groups)),
            *linear_needs("attn_output_b", self.d_model, self.n_groups * self.out_rank),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        for tap in self._taps(layer, source):
            yield replace(tap, block=self.compressor.covers) if "block" in tap.axes else tap

    def _taps(self, layer: int, source: str) -> Iterator[Tap]:
        def step(name: str, inputs: list[str], formula: str, *weights: str) -> Tap:
            word = WORDS.get(name)
            return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word)

        yield step("attn_q_a", [source], "x · Wq_aᵀ", *linear_weights("attn_q_a"))
        weights, turn = self.norm.weights("attn_q_a_norm"), (self.rope.formula, *self.rope.weights())
        yield step("attn_q_a_norm", ["attn_q_a"], self.norm.formula, *weights)
        yield step("attn_q", ["attn_q_a_norm"], "x · Wq_bᵀ, split into heads", *linear_weights("attn_q_b"))
        yield step("attn_q_norm", ["attn_q"], f"each head: {self._query_norm.formula}")
        yield step("attn_q_rope", ["attn_q_norm"], *turn)
        yield step("attn_kv", [source], "x · Wkvᵀ", *linear_weights("attn_kv"))
        weights = self.norm.weights("attn_kv_a_norm")
        yield step("attn_kv_norm", ["attn_kv"], self.norm.formula, *weights)
        yield step("attn_kv_rope", ["attn_kv_norm"], *turn)
        if self.compressor:
            yield from self.compressor.taps(layer, source)
        if self.indexer:
            yield from self.indexer.taps(layer, source, "attn_q_a_norm")
        yield from self._mix_taps(step)
        yield step("attn_z_turned", ["attn_z"], "turned back: " + self.rope.formula, *self.rope.weights())
        formula = f"z of each of {self.n_groups} groups of heads · Wo_aᵀ"
        yield step("attn_output_a", ["attn_z_turned"], formula, "attn_output_a.weight")
        yield step(self.out, ["attn_output_a"], "side by side · Wo_bᵀ", *linear_weights("attn_output_b"))

    def _mix_taps(self, step: Any) -> Iterator[Tap]:
        formula = f"q · k · {self.d_head**-0.5:.4g}"
        seen = f"{formula}; each token sees {self.mask.formula}"
        yield step("attn_scores", ["attn_q_rope", "attn_kv_rope"], seen)
        scores, values = ["attn_scores"], ["attn_probs", "attn_kv_rope"]
        if self.compressor:
            chosen, which = (["indexer.mask"], ", where the mask is 1") if self.indexer else ([], "")
            seen = f"{formula}; each token sees the blocks up to its own{which}"
            yield step("attn_scores_comp", ["attn_q_rope", self.compressor.out, *chosen], seen)
            scores.append("attn_scores_comp")
            values += ["attn_probs_comp", self.compressor.out]
        both = "softmax over keys, blocks and the head's sink" if self.compressor else None
        formula = both or "softmax over keys and the head's sink"
        probs = step("attn_probs", scores, formula, "attn_sinks.weight")
        yield replace(probs, window=self.mask.noted)
        if self.compressor:
            yield step("attn_probs_comp", scores, formula, "attn_sinks.weight")
        yield step("attn_z", values, "Σ over keys" + (" and blocks" if both else "") + ": probs · k")

    def new_state(self) -> tuple[Rows, Any, Any]:
        """Return what it keeps between calls, empty: keys, blocks, what the indexer keeps."""
        return Rows(self.d_head), *(
            part.new_state() if part else None for part in (self.compressor, self.indexer)
        )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        angles = self.rope.angles(s)
        short = s.tap("attn_q_a", s.linear(x, "attn_q_a"))
        short = s.tap("attn_q_a_norm", self.norm(short, s, "attn_q_a_norm"))
        q = s.tap("attn_q", s.linear(short, "attn_q_b").reshape(len(x), self.n_heads, self.d_head))
        q = s.tap("attn_q_norm", self._query_norm(q, s, ""))
        q = s.tap("attn_q_rope", self.rope(q, angles, s))  # (token, head, d_head)
        k = s.tap("attn_kv", s.linear(x, "attn_kv"))
        k = s.tap("attn_kv_norm", self.norm(k, s, "attn_kv_a_norm"))
        k = s.tap("attn_kv_rope", self.rope(k[:, None], angles, s)[:, 0])  # (token, d_head)
        keys = s.state[0].store(s.n_past, k)
        blocks = self.compressor(x, s.with_state(s.state[1])) if self.compressor else None
        chosen = self.indexer(x, short, s.with_state(s.state[2])) if self.indexer else None
        z = s.tap("attn_z", self._attend(q, keys, blocks, chosen, s))  # (token, head, d_head)
        cos, sin = angles
        z = s.tap("attn_z_turned", self.rope(z, (cos, -sin), s))
        groups = z.reshape(len(z), self.n_groups, -1)
        matrix = f"{s.weight_prefix}attn_output_a.weight"
        groups = [s.weights.linear(groups[:, n], matrix, n, self.out_rank) for n in range(self.n_groups)]
        a = s.tap("attn_output_a", np.stack(groups, axis=1))  # (token, group, rank)
        return s.tap(self.out, s.linear(a.reshape(len(a), -1), "attn_output_b"))

    def _attend(
        self,
        q: np.ndarray,
        keys: np.ndarray,
        blocks: np.ndarray | None,
        chosen: np.ndarray | None,
        s: Scope,
    ) -> np.ndarray:
        """Return what the pattern mixes, (token, head, d_head); tapped whole, or slice by slice."""
        n, names = len(q), ("attn_scores", "attn_probs", "attn_scores_comp", "attn_probs_comp")
        width = len(keys) + (0 if blocks is None else len(blocks))
        step = n if s.wants(*names) else max(1, SCORES_BYTES // (4 * self.n_heads * width))
        parts = []
        for i in range(0, n, step):
            some = chosen[i : i + step] if chosen is not None else None
            parts.append(self._attend_some(q[i : i + step], i, keys, blocks, some, s))
        return np.concatenate(parts)

    def _attend_some(
        self,
        q: np.ndarray,
        start: int,
        keys: np.ndarray,
        blocks: np.ndarray | None,
        chosen: np.ndarray | None,
        s: Scope,
    ) -> np.ndarray:
        positions, scale = s.n_past + start + np.arange(len(q)), self.d_head**-0.5
        first, last = self.mask.limits(positions, len(keys))
        scores = s.tap("attn_scores", attention_scores(q, keys[None], len(keys), first, last, scale))
        sinks = s.vector("attn_sinks.weight")
        if blocks is None:
            probs = s.tap("attn_probs", softmax(scores, sinks))  # (head, query, key)
            return attention_mix(probs, keys[None])
        none, end = np.zeros_like(positions), (positions + 1) // self.compressor.d_block - 1
        if chosen is not None and pays(chosen, self.n_heads, None):
            compressed = scores_of_chosen(q, blocks[None], chosen, none, end, scale, None)
        else:
            compressed = attention_scores(q, blocks[None], len(blocks), none, end, scale)
        if chosen is not None:
            compressed = np.where(chosen != 0, compressed, np.float32(-np.inf))
        compressed = s.tap("attn_scores_comp", compressed)  # (head, query, block)
        probs = softmax(np.concatenate([scores, compressed], axis=2), sinks)
        probs, compressed = (
            s.tap(name, np.ascontiguousarray(part))
            for name, part in zip(
                ("attn_probs", "attn_probs_comp"), np.split(probs, [len(keys)], axis=2), strict=True
            )
        )
        return attention_mix(probs, keys[None]) + attention_mix(compressed, blocks[None])
