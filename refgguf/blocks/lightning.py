"""Lightning attention: linear attention in which what is remembered fades at one rate a head (Qin et al. 2024).

q, k, v = silu(u Wqkv), split into heads
S       ← exp(−slope) S + v kᵀ          slope: fixed, larger in early layers and early heads
y       = S q
out     = (norm(y) · σ(u Wgate)) Wout   norm over all heads together

The recurrence is that of a state-space model with a step size of 1 (Dao & Gu 2024), so it runs by the same kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.memory import Memory
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.kernels.ops.scan import ssm_scan
from refgguf.taps import Tap, Word, declare

HEADS = "token head d_head"
WORDS = {
    "qkv": Word("token channel", "qkv", "queries, keys and values before their bend", "QKVcur"),
    "qkv_act": Word("token channel", "qkv", "queries, keys and values of all heads", "QKVcur_silu"),
    "q": Word(HEADS, "qkv", "queries: what each token looks for"),
    "k": Word(HEADS, "qkv", "keys: where each token writes"),
    "v": Word(HEADS, "qkv", "values: what each token writes"),
    "state": Word("head d_value d_key", "state", "what is remembered after the last token"),
    "y": Word(HEADS, "qkv", "what each token reads from what is remembered", "qkv_permuted"),
    "norm": Word("token channel", "qkv", "what is read, all heads normed together", "qkv_norm"),
    "gate_in": Word("token channel", "qkv", "gate of the result, before its bend", "g"),
    "gate": Word("token channel", "qkv", "gate of the result", "g_sigm"),
    "gated": Word("token channel", "qkv", "what is read, normed and gated"),
    "out": Word("token d_model", "residual", "what lightning attention adds", "attn_out"),
}


@dataclass(frozen=True)
class LightningAttention(Block):
    """Linear attention with a fixed decay for each head.

    Attributes:
        d_model: channels of the residual stream.
        d_head: channels of a query, a key or a value.
        slopes: for each head how fast what it remembers fades: a token keeps exp(−slope) of it.
        norm: norm of what is read.
        out: name of the result's tap.
    """

    d_model: int
    d_head: int
    slopes: tuple[float, ...]
    norm: Norm
    out: str = "lightning_out"

    @property
    def _n_heads(self) -> int:
        return len(self.slopes)

    @property
    def _slope(self) -> str:
        """What the slope of each head is: they are a geometric series."""
        first, *more = self.slopes
        return f"slope = {first:.7g} · {more[0] / first:.7g}^head" if more else f"slope = {first:.7g}"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, inner = self.d_model, self._n_heads * self.d_head
        needs = linear_needs("attn_qkv", 3 * inner, d) + linear_needs("attn_gate", inner, d)
        return needs + self.norm.needs("attn_norm_2", inner) + linear_needs("attn_output", d, inner)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str) -> Tap:
            names = [f"lightning_{i}" for i in inputs.split()] or [source]
            full = self.out if name == "out" else f"lightning_{name}"
            word = WORDS[name]
            return declare(full, inputs=names, formula=formula, weights=weights, layer=layer, word=word)

        yield tap("qkv", "", "x · Wqkvᵀ", *linear_weights("attn_qkv"))
        yield tap("qkv_act", "qkv", "silu(qkv)")
        for name, which in zip("qkv", ("first", "second", "last"), strict=True):
            yield tap(name, "qkv_act", f"{which} third of each head")
        yield tap("state", "k v", f"state ← exp(−slope) · state + v · kᵀ; {self._slope}")
        yield tap("y", "q k v", f"state · q, token after token; {self._slope}")
        yield tap("norm", "y", self.norm.formula, *self.norm.weights("attn_norm_2"))
        yield tap("gate_in", "", "x · Wgateᵀ", *linear_weights("attn_gate"))
        yield tap("gate", "gate_in", "σ(gate)")
        yield tap("gated", "norm gate", "y · gate")
        yield tap("out", "gated", "y · Woᵀ", *linear_weights("attn_output"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        return Memory(kv=np.zeros((self._n_heads, self.d_head, self.d_head), np.float32))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        silu, sigmoid = (activation(name, s.numerics) for name in ("silu", "sigmoid"))
        qkv = s.tap("lightning_qkv", s.linear(x, "attn_qkv"))
        qkv = s.tap("lightning_qkv_act", silu(qkv)).reshape(len(x), self._n_heads, -1)
        q, k, v = (
            s.tap(f"lightning_{name}", np.ascontiguousarray(part))
            for name, part in zip("qkv", np.split(qkv, 3, axis=2), strict=True)
        )
        steps = np.ones((len(x), self._n_heads), np.float32)
        fading = -np.array(self.slopes, np.float32)[:, None]
        y, state = ssm_scan(v, steps, fading, k, q, s.state["kv"])
        s.state["kv"] = s.tap("lightning_state", state)
        y = s.tap("lightning_y", y).reshape(len(x), -1)  # (token, head · d_head)
        y = s.tap("lightning_norm", self.norm(y, s, "attn_norm_2"))
        gate = s.tap("lightning_gate_in", s.linear(x, "attn_gate"))
        gate = s.tap("lightning_gate", sigmoid(gate))
        y = s.tap("lightning_gated", y * gate)
        return s.tap(self.out, s.linear(y, "attn_output"))
