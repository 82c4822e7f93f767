"""Attention whose scores know the distance by a learned table (T5: Raffel et al. 2020).

scores = q kᵀ · scale + bias[bucket(key − query)]        one bias a head; far distances share buckets
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.attention import Attention
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap

FARTHEST = 128  # from this distance on, all share the last bucket


def bucket(distance: np.ndarray, n_buckets: int, both_ways: bool) -> np.ndarray:
    """Return the bucket of each distance.

    Args:
        distance: integers, key minus query.
        n_buckets: how many there are.
        both_ways: the second half of them is for keys that follow; otherwise these count as distance 0.

    Exactness: equal to llama.cpp's for every distance (src/llama-graph.cpp, llama_relative_position_bucket).
    """
    found = np.zeros_like(distance)
    if both_ways:
        n_buckets //= 2
        found += np.where(distance > 0, n_buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = n_buckets // 2  # each of the nearest has a bucket of its own
    steps = np.log((np.maximum(distance, 1) / exact).astype(np.float32)) * np.float32(n_buckets - exact)
    far = np.floor((exact + steps.astype(np.float64) / np.log(FARTHEST / exact)).astype(np.float32))
    return found + np.where(distance < exact, distance, np.minimum(far.astype(np.int64), n_buckets - 1))


@dataclass(frozen=True)
class RelativeAttention(Attention):
    """Attention with a learned bias for each distance.

    Attributes:
        table: full name of the tensor of biases, (bucket, head); layers may share one.
        n_buckets: its rows.
    """

    table: str = ""
    n_buckets: int = 0

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [*super().needs(), Need(f"/{self.table}", (self.n_buckets, self.n_heads))]

    def _mix_taps(self, layer: int, names: dict[str, str]) -> Iterator[Tap]:
        for tap in super()._mix_taps(layer, names):
            if tap.name.endswith("attn_scores"):
                first, sees = tap.formula.split(";")
                formula = f"{first} + bias[bucket(key − query)];{sees}"
                tap = replace(tap, formula=formula, weights=(self.table,))
            yield tap

    def _placed(self, scores: np.ndarray, positions: np.ndarray, s: Scope) -> np.ndarray:
        """Add the bias of each distance to the scores, (head, query, key)."""
        distance = np.arange(scores.shape[2]) - positions[:, None]
        biases = s.weights.vector(self.table)[bucket(distance, self.n_buckets, not self.mask.causal)]
        return scores + biases.transpose(2, 0, 1)
