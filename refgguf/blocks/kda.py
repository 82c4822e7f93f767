"""Kimi delta attention: a gated delta network in which each channel of a key fades at its own rate (Kimi Team 2025).

q, k, v = silu(conv(u Wq)), …, split into heads;   q, k of length 1
β       = σ(u Wβ)
g       = A · softplus(f + b)                      f = u Wf, or u Wfa Wfb;  one number a channel
          or bound · σ(a · (f + b))                where the file bounds it
S       ← S diag(exp(g))                           what is remembered fades
S       ← S + β (v − S k) kᵀ                       what it says of k moves towards v
y       = S q / √d
out     = (norm(y) · σ(u Wg)) Wout                 Wg may stand for Wga Wgb
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.memory import Memory
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation, exponential
from refgguf.kernels.ops.norm import rms_norm
from refgguf.kernels.ops.scan import causal_conv, delta_scan
from refgguf.taps import Tap, Word, declare

HEADS = "token head d_head"
WORDS = {
    "qkv": Word("token channel", "qkv", "queries, keys and values before the convolution"),
    "in": Word("token channel", "qkv", "queries, keys or values before the convolution"),
    "conv_state": Word("slot channel", "state", "the last tokens, for the next convolution"),
    "conv": Word("token channel", "qkv", "each channel mixed with the tokens just before"),
    "q": Word(HEADS, "qkv", "queries: what each token looks for"),
    "k": Word(HEADS, "qkv", "keys: where each token writes"),
    "v": Word(HEADS, "qkv", "values: what each token writes"),
    "q_norm": Word(HEADS, "qkv", "queries of length 1"),
    "k_norm": Word(HEADS, "qkv", "keys of length 1"),
    "f_rank": Word("token rank", "qkv", "hidden channels of the decay"),
    "f": Word(HEADS, "qkv", "from which follows how much is forgotten"),
    "decay": Word(HEADS, "qkv", "logarithm of what each key channel keeps at each token", "kda_g1"),
    "beta_in": Word("token head", "qkv", "β before its sigmoid"),
    "beta": Word("token head", "qkv", "β: how far what is remembered moves towards a value", "kda_beta"),
    "state": Word("head d_value d_key", "state", "what is remembered after the last token"),
    "y": Word(HEADS, "qkv", "what each token reads from what is remembered", "kda_scan_out"),
    "norm": Word(HEADS, "qkv", "what is read, normed", "kda_normed"),
    "g_rank": Word("token rank", "qkv", "hidden channels of the gate"),
    "g": Word("token channel", "qkv", "gate of the result, before its bend"),
    "gate": Word("token channel", "qkv", "gate of the result"),
    "gated": Word("token channel", "qkv", "what is read, normed and gated"),
    "out": Word("token d_model", "residual", "what Kimi delta attention adds", "kda_out"),
}


@dataclass(frozen=True)
class KimiDeltaAttention(Block):
    """Linear attention that forgets channel by channel and writes by the delta rule.

    Attributes:
        d_model: channels of the residual stream.
        n_heads: heads.
        d_head: channels of a query, a key or a value.
        d_conv: tokens that each convolution sees.
        norm: norm of what is read, each head by itself.
        length_eps: added to the squared length of queries and keys.
        decay_rank: channels between the two matrices of the decay; 0 for one matrix.
        gate_rank: channels between the two matrices of the gate; 0 for one matrix.
        gate_tensor: name of the first of those.
        bound: least logarithm of what is kept, and at once the form of the decay; 0 for the form without a bound.
        sign: of the file's ssm_a in the bounded form.
        column: the file has ssm_a as a column.
        fused: the file has one matrix attn_qkv instead of three.
        out: name of the result's tap.
    """

    d_model: int
    n_heads: int
    d_head: int
    d_conv: int
    norm: Norm
    length_eps: float
    decay_rank: int = 0
    gate_rank: int = 0
    gate_tensor: str = "ssm_g_a"
    bound: float = 0.0
    sign: float = 1.0
    column: bool = False
    fused: bool = False
    out: str = "kda_out"

    @property
    def _inner(self) -> int:
        return self.n_heads * self.d_head

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, inner, n = self.d_model, self._inner, self.n_heads
        matrices = [("attn_qkv", 3 * inner)] if self.fused else [(f"attn_{part}", inner) for part in "qkv"]
        needs = [need for name, width in matrices for need in linear_needs(name, width, d)]
        needs += [Need(f"ssm_conv1d_{part}.weight", (inner, 1, self.d_conv)) for part in "qkv"]
        needs += linear_needs("ssm_f_a", self.decay_rank or inner, d)
        needs += linear_needs("ssm_f_b", inner, self.decay_rank) if self.decay_rank else []
        needs += [Need("ssm_dt.bias", (inner,)), Need("ssm_a", (n, 1) if self.column else (n,))]
        needs += linear_needs("ssm_beta", n, d)
        needs += linear_needs(self.gate_tensor, self.gate_rank or inner, d)
        needs += linear_needs("ssm_g_b", inner, self.gate_rank) if self.gate_rank else []
        return [
            *needs,
            *self.norm.needs("ssm_norm", self.d_head),
            *linear_needs("attn_output", d, inner),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str, word: str = "") -> Tap:
            names = [f"kda_{i}" for i in inputs.split()] or [source]
            full, entry = self.out if name == "out" else f"kda_{name}", WORDS[word or name]
            return declare(full, inputs=names, formula=formula, weights=weights, layer=layer, word=entry)

        if self.fused:
            yield tap("qkv", "", "x · Wqkvᵀ", *linear_weights("attn_qkv"))
        for part in "qkv":
            if self.fused:
                yield tap(f"{part}_in", "qkv", f"the {part} columns of qkv", word="in")
            else:
                yield tap(f"{part}_in", "", f"x · W{part}ᵀ", *linear_weights(f"attn_{part}"), word="in")
        for part in "qkv":
            before, conv = f"{part}_in", f"ssm_conv1d_{part}.weight"
            yield tap(f"{part}_conv_state", before, "the last tokens of it", word="conv_state")
            yield tap(f"{part}_conv", before, "Σ over the last tokens: x · w", conv, word="conv")
            yield tap(part, f"{part}_conv", "silu(conv), split into heads")
        for part in "qk":
            yield tap(f"{part}_norm", part, "each head: x / √(Σ x² + ε)")
        yield from self._decay_taps(tap)
        yield tap("beta_in", "", "x · Wβᵀ", *linear_weights("ssm_beta"))
        yield tap("beta", "beta_in", "σ(β)")
        formula = "state ← state · exp(decay); state ← state + β · (v − state · k) · kᵀ"
        yield tap("state", "k_norm v decay beta", formula)
        yield tap("y", "q_norm k_norm v decay beta", "state · q / √d, token after token")
        yield tap("norm", "y", f"each head: {self.norm.formula}", *self.norm.weights("ssm_norm"))
        if self.gate_rank:
            yield tap("g_rank", "", "x · Wgaᵀ", *linear_weights(self.gate_tensor))
            yield tap("g", "g_rank", "g · Wgbᵀ", *linear_weights("ssm_g_b"))
        else:
            yield tap("g", "", "x · Wgᵀ", *linear_weights(self.gate_tensor))
        yield tap("gate", "g", "σ(g)")
        yield tap("gated", "norm gate", "y · gate")
        yield tap("out", "gated", "y · Woᵀ", *linear_weights("attn_output"))

    def _decay_taps(self, tap) -> Iterator[Tap]:
        if self.decay_rank:
            yield tap("f_rank", "", "x · Wfaᵀ", *linear_weights("ssm_f_a"))
            yield tap(
                "f", "f_rank", "f · Wfbᵀ + b, split into heads", *linear_weights("ssm_f_b"), "ssm_dt.bias"
            )
        else:
            yield tap("f", "", "x · Wfᵀ + b, split into heads", *linear_weights("ssm_f_a"), "ssm_dt.bias")
        bounded = f"{self.bound:g} · σ({'−' if self.sign < 0 else ''}A · f)"
        yield tap("decay", "f", bounded if self.bound else "A · softplus(f)", "ssm_a")

    def new_state(self) -> Memory:
        """Return an empty memory."""
        convs = {f"{part}_conv": np.zeros((self.d_conv - 1, self._inner), np.float32) for part in "qkv"}
        return Memory(delta=np.zeros((self.n_heads, self.d_head, self.d_head), np.float32), **convs)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        sigmoid, d_scale = activation("sigmoid", s.numerics), np.float32(self.d_head**-0.5)
        q, k, v = self._heads(x, s)  # (token, head, d_head)
        decay = self._decay(x, s)  # (token, head, d_head)
        beta = s.tap("kda_beta", sigmoid(s.tap("kda_beta_in", s.linear(x, "ssm_beta"))))  # (token, head)
        decay = exponential(decay, s.numerics)
        y, state = delta_scan(q, k, v, decay, beta, s.state["delta"], d_scale, s.numerics)
        s.state["delta"] = s.tap("kda_state", state)
        y = s.tap("kda_y", y)  # (token, head, d_head)
        y = s.tap("kda_norm", self.norm(y, s, "ssm_norm")).reshape(len(x), -1)
        if self.gate_rank:
            x = s.tap("kda_g_rank", s.linear(x, self.gate_tensor))
        g = s.tap("kda_g", s.linear(x, "ssm_g_b" if self.gate_rank else self.gate_tensor))
        y = s.tap("kda_gated", y * s.tap("kda_gate", sigmoid(g)))
        return s.tap(self.out, s.linear(y, "attn_output"))

    def _heads(self, x: np.ndarray, s: Scope) -> list[np.ndarray]:
        """Return queries and keys of length 1, and values, (token, head, d_head) each."""
        if self.fused:
            qkv = s.tap("kda_qkv", s.linear(x, "attn_qkv"))
            parts = [part.copy() for part in np.split(qkv, 3, axis=1)]
        else:
            parts = [s.linear(x, f"attn_{part}") for part in "qkv"]
        parts = [s.tap(f"kda_{part}_in", values) for part, values in zip("qkv", parts, strict=True)]
        q, k, v = (self._convolved(part, values, s) for part, values in zip("qkv", parts, strict=True))
        length = np.float32(self.d_head**-0.5)
        q, k = (rms_norm(values, None, self.length_eps / self.d_head) * length for values in (q, k))
        return [s.tap("kda_q_norm", q), s.tap("kda_k_norm", k), v]

    def _convolved(self, part: str, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return queries, keys or values after their convolution, (token, head, d_head)."""
        weight = s.vector(f"ssm_conv1d_{part}.weight").reshape(-1, self.d_conv)
        y, kept = causal_conv(x, s.state[f"{part}_conv"], weight, s.numerics)
        s.state[f"{part}_conv"] = s.tap(f"kda_{part}_conv_state", kept)
        y = activation("silu", s.numerics)(s.tap(f"kda_{part}_conv", y))
        return s.tap(f"kda_{part}", y.reshape(len(x), self.n_heads, self.d_head))

    def _decay(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return the logarithm of what each key channel keeps at each token, (token, head, d_head)."""
        if self.decay_rank:
            x = s.tap("kda_f_rank", s.linear(x, "ssm_f_a"))
        f = s.linear(x, "ssm_f_b" if self.decay_rank else "ssm_f_a") + s.vector("ssm_dt.bias")
        f = s.tap("kda_f", f.reshape(len(x), self.n_heads, self.d_head))
        a = s.vector("ssm_a").reshape(-1, 1)  # (head, 1)
        if self.bound:
            decay = activation("sigmoid", s.numerics)(f * (a * np.float32(self.sign))) * np.float32(
                self.bound
            )
        else:
            decay = activation("softplus", s.numerics)(f) * a
        return s.tap("kda_decay", decay)
