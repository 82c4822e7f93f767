"""Attention without keys and values of its own: it reads those of an earlier layer.

q      = x Wq, normed and turned as ever
out    = softmax(q kᵀ · scale) v Wo,        k, v of the layer that lends them
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.attention import Attention
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap


@dataclass(frozen=True)
class BorrowingAttention(Attention):
    """Attention over an earlier layer's keys and values.

    The attributes of `Attention` describe the queries, and the lender's heads of keys and values.

    Attributes:
        lender: number of the layer whose keys and values it reads.
        lent: local names, in that layer, of the taps of its keys and values.
    """

    lender: int = 0
    lent: tuple[str, str] = ("attn_k", "attn_v")

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        own = ("attn_k.", "attn_v.", "attn_k_norm.", "attn_v_norm.")
        return [need for need in super().needs() if not need.name.startswith(own)]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        lent = tuple(f"blk.{self.lender}.{name}" for name in self.lent)
        absent = {f"blk.{layer}.{name}" for name in ("attn_k", "attn_v", *self.lent)}
        absent |= {f"blk.{layer}.attn_{step}" for step in ("k_norm", "k_rope", "v_norm")}
        borrowed = {
            f"blk.{layer}.{own}": name for own, name in zip((self.keys, self.values), lent, strict=True)
        }
        for tap in super().taps(layer, source):
            if tap.name not in absent:
                yield replace(tap, inputs=tuple(borrowed.get(name, name) for name in tap.inputs))

    def new_state(self) -> None:
        """Return nothing: the lender keeps what there is to keep."""
        return

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        q = self._fused(x, s)[:, : self.widths[0]] if self.fused_qkv else s.linear(x, "attn_q")
        q = s.tap("attn_q", np.ascontiguousarray(q).reshape(len(x), self.n_heads, self.d_head))
        if self.q_norm:
            q = s.tap("attn_q_norm", self.q_norm(q, s, "attn_q_norm"))
        if self.rope:
            q = s.tap("attn_q_rope", self.rope(q, self.rope.angles(s), s))
        there = s.with_state(s.common[f"blk.{self.lender}.keyvalues"])
        z = s.tap("attn_z", self._attend(q, s.n_past + len(x), there))  # (token, head, d_head_v)
        return s.tap(self.out, s.linear(z.reshape(len(z), -1), "attn_output"))  # (token, d_model)
