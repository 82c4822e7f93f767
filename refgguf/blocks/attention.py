"""Multi-head attention with grouped queries (Vaswani et al. 2017; Ainslie et al. 2023).

    q, k, v = x Wq, x Wk, x Wv          one row a token, split into heads
    q, k    = norm, then RoPE           where the model has them
    scores  = q kᵀ · scale              over the keys that a token may see
    probs   = softmax(scores)
    z       = probs v
    out     = z Wo
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.attention import attention_mix, attention_scores, softmax
from refgguf.taps import Tap, declare

# scores of a long prompt are computed in slices of queries no larger than this, unless they are tapped
SCORES_BYTES = 32 << 20


class KeyValues:
    """The keys and values of all tokens so far, (kv_head, capacity, d_head) each.

    Args:
        n_kv_heads: how many heads share them.
        d_key: channels of a key.
        d_value: channels of a value.
    """

    def __init__(self, n_kv_heads: int, d_key: int, d_value: int):
        self.keys = np.empty((n_kv_heads, 0, d_key), np.float32)
        self.values = np.empty((n_kv_heads, 0, d_value), np.float32)

    def store(self, start: int, keys: np.ndarray, values: np.ndarray) -> int:
        """Put (token, kv_head, d_head) keys and values at positions `start` …; returns how many there are now."""
        end = start + len(keys)
        if end > self.keys.shape[1]:
            self.keys, self.values = (_grown(x, start, end) for x in (self.keys, self.values))
        self.keys[:, start:end] = keys.transpose(1, 0, 2)
        self.values[:, start:end] = values.transpose(1, 0, 2)
        return end


def _grown(x: np.ndarray, used: int, needed: int) -> np.ndarray:
    larger = np.zeros((x.shape[0], max(needed, 2 * x.shape[1], 64), x.shape[2]), x.dtype)
    larger[:, :used] = x[:, :used]
    return larger


@dataclass(frozen=True)
class Attention:
    """Multi-head attention.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: query heads.
        n_kv_heads: heads of keys and values; each serves n_heads / n_kv_heads query heads.
        d_head: channels of a query or key.
        d_head_v: channels of a value.
        scale: multiplies the scores.
        rope: position embedding of queries and keys, or None.
        qk_norm: norm of each query and key head, or None.
        fused_qkv: the file has one matrix attn_qkv instead of three.
        window: how many tokens back a token sees, itself included; 0 for all.
        softcap: scores are bent to softcap · tanh(scores / softcap); 0 for not at all.
        out: name of the result's tap: "attn_out", or "attn_output" where a norm follows.
    """

    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_head_v: int
    scale: float
    rope: Rope | None = None
    qk_norm: Norm | None = None
    fused_qkv: bool = False
    window: int = 0
    softcap: float = 0.0
    out: str = "attn_out"

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of all queries, all keys and all values of a token."""
        return self.n_heads * self.d_head, self.n_kv_heads * self.d_head, self.n_kv_heads * self.d_head_v

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        if self.fused_qkv:
            needs = linear_needs("attn_qkv", sum(self.widths), self.d_model)
        else:
            names = ("attn_q", "attn_k", "attn_v")
            needs = [n for name, d in zip(names, self.widths, strict=True) for n in linear_needs(name, d, self.d_model)]
        if self.qk_norm:
            needs += self.qk_norm.needs("attn_q_norm", self.d_head) + self.qk_norm.needs("attn_k_norm", self.d_head)
        needs += self.rope.needs() if self.rope else []
        return needs + linear_needs("attn_output", self.d_model, self.n_heads * self.d_head_v)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: number of the layer.
            source: local name of the tap that it reads.
        """
        if self.fused_qkv:
            yield declare(
                "attn_qkv", inputs=[source], weights=linear_weights("attn_qkv"), formula="x · Wqkvᵀ + b", layer=layer
            )
        for name, sign in (("attn_q", "q"), ("attn_k", "k"), ("attn_v", "v")):
            if self.fused_qkv:
                yield declare(name, inputs=["attn_qkv"], formula=f"the {sign} columns of qkv, split into heads", layer=layer)
            else:
                yield declare(
                    name, inputs=[source], weights=linear_weights(name), formula=f"x · W{sign}ᵀ, split into heads", layer=layer
                )
        names = {"q": "attn_q", "k": "attn_k"}
        if self.qk_norm:
            for sign in "qk":
                yield declare(
                    f"attn_{sign}_norm",
                    inputs=[names[sign]],
                    weights=self.qk_norm.weights(f"attn_{sign}_norm"),
                    formula=f"each head: {self.qk_norm.formula}",
                    layer=layer,
                )
                names[sign] = f"attn_{sign}_norm"
        if self.rope:
            for sign in "qk":
                yield declare(
                    f"attn_{sign}_rope",
                    inputs=[names[sign]],
                    weights=self.rope.weights(),
                    formula=self.rope.formula,
                    layer=layer,
                )
                names[sign] = f"attn_{sign}_rope"
        formula = f"q · kᵀ · {self.scale:.4g}"
        if self.softcap:
            formula = f"{self.softcap:g} · tanh({formula} / {self.softcap:g})"
        seen = f"the last {self.window} tokens" if self.window else "all tokens up to its own"
        yield declare(
            "attn_scores", inputs=[names["q"], names["k"]], formula=f"{formula}; each token sees {seen}", layer=layer
        )
        yield declare("attn_probs", inputs=["attn_scores"], formula="softmax over keys", layer=layer)
        yield declare("attn_z", inputs=["attn_probs", "attn_v"], formula="Σ over keys: probs · v", layer=layer)
        yield declare(
            self.out, inputs=["attn_z"], weights=linear_weights("attn_output"), formula="z (heads side by side) · Woᵀ", layer=layer
        )

    def new_state(self) -> KeyValues:
        """Return an empty store of keys and values."""
        return KeyValues(self.n_kv_heads, self.d_head, self.d_head_v)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens.

        Args:
            x: (token, d_model) float32.
            s: weights, taps, state, positions.

        Returns:
            (token, d_model) float32.
        """
        q, k, v = self._project(x, s)
        if self.qk_norm:
            q = s.tap("attn_q_norm", self.qk_norm(q, s, "attn_q_norm"))  # (token, head, d_head)
            k = s.tap("attn_k_norm", self.qk_norm(k, s, "attn_k_norm"))  # (token, kv_head, d_head)
        if self.rope:
            angles = self.rope.angles(s)
            q = s.tap("attn_q_rope", self.rope(q, angles))  # (token, head, d_head)
            k = s.tap("attn_k_rope", self.rope(k, angles))  # (token, kv_head, d_head)
        n_keys = s.state.store(s.n_past, k, v)
        z = s.tap("attn_z", self._attend(q, n_keys, s))  # (token, head, d_head_v)
        return s.tap(self.out, s.linear(z.reshape(len(z), -1), "attn_output"))  # (token, d_model)

    def _project(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries (token, head, d_head), keys and values (token, kv_head, d_head)."""
        if self.fused_qkv:
            qkv = s.tap("attn_qkv", s.linear(x, "attn_qkv"))  # (token, qkv)
            q, k, v = np.split(qkv, np.cumsum(self.widths)[:2], axis=1)
        else:
            q, k, v = (s.linear(x, name) for name in ("attn_q", "attn_k", "attn_v"))
        n = len(x)
        return (
            s.tap("attn_q", np.ascontiguousarray(q).reshape(n, self.n_heads, self.d_head)),
            s.tap("attn_k", np.ascontiguousarray(k).reshape(n, self.n_kv_heads, self.d_head)),
            s.tap("attn_v", np.ascontiguousarray(v).reshape(n, self.n_kv_heads, self.d_head_v)),
        )

    def _attend(self, q: np.ndarray, n_keys: int, s: Scope) -> np.ndarray:
        """Return the values mixed by the pattern, (token, head, d_head_v); tapped whole, or slice by slice."""
        n = len(q)
        whole = s.wants("attn_scores", "attn_probs")
        step = n if whole else max(1, SCORES_BYTES // (4 * self.n_heads * n_keys))
        slices = [self._attend_some(q[i : i + step], i, n_keys, s) for i in range(0, n, step)]
        return slices[0] if len(slices) == 1 else np.concatenate(slices)

    def _attend_some(self, q: np.ndarray, start: int, n_keys: int, s: Scope) -> np.ndarray:
        last = s.n_past + start + np.arange(len(q))
        first = np.maximum(0, last - self.window + 1) if self.window else np.zeros_like(last)
        scores = attention_scores(q, s.state.keys, n_keys, first, last, self.scale)  # (head, query, key)
        if self.softcap:
            cap = np.float32(self.softcap)
            scores = np.where(np.isneginf(scores), scores, cap * np.tanh(scores / cap))
        scores = s.tap("attn_scores", scores)
        probs = s.tap("attn_probs", softmax(scores))  # (head, query, key)
        return attention_mix(probs, s.state.values)  # (token, head, d_head_v)
