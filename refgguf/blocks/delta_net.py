"""The gated delta network: attention as a memory that is corrected (Yang et al. 2024; Qwen3-Next 2025).

q, k, v = silu(conv(u Wqkv)), split into heads;   q, k of length 1
β       = σ(u Wβ);  g = A · softplus(u Wα + b)
S       ← exp(g) S                                what is remembered fades
S       ← S + β (v − S k) kᵀ                      what it says of k moves towards v
y       = S q / √d
out     = (norm(y) · silu(u Wz)) Wout             or σ in place of silu
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

KEYS, VALUES = "token key_head d_head", "token head d_head"
WORDS = {
    "qkv": Word("token channel", "qkv", "queries, keys and values before the convolution"),
    "z": Word("token channel", "qkv", "gate of the result, before its bend", "z"),
    "ba": Word("token channel", "qkv", "β and α from one matrix", "linear_attn_mixed_ba"),
    "beta_in": Word("token head", "qkv", "β before its sigmoid"),
    "beta": Word("token head", "qkv", "β: how far what is remembered moves towards a value", "beta_sigmoid"),
    "alpha": Word("token head", "qkv", "α, from which follows how much is forgotten"),
    "alpha_act": Word("token head", "qkv", "softplus of α", "a_softplus"),
    "gate": Word("token head", "qkv", "logarithm of what is kept at each token", "gate"),
    "conv_state": Word("slot channel", "state", "the last tokens, for the next convolution"),
    "conv": Word("token channel", "qkv", "each channel mixed with the tokens just before", "conv_output_raw"),
    "conv_act": Word("token channel", "qkv", "convolution, bent", "conv_output_silu"),
    "q": Word(KEYS, "qkv", "queries: what each token looks for"),
    "k": Word(KEYS, "qkv", "keys: where each token writes"),
    "v": Word(VALUES, "qkv", "values: what each token writes"),
    "q_norm": Word(KEYS, "qkv", "queries of length 1", "q_conv_predelta"),
    "k_norm": Word(KEYS, "qkv", "keys of length 1", "k_conv_predelta"),
    "state": Word("head d_value d_key", "state", "what is remembered after the last token"),
    "y": Word(VALUES, "qkv", "what each token reads from what is remembered"),
    "norm": Word(VALUES, "qkv", "what is read, normed"),
    "gated": Word("token channel", "qkv", "what is read, normed and gated"),
    "out": Word("token d_model", "residual", "what linear attention adds", "linear_attn_out"),
}


@dataclass(frozen=True)
class GatedDeltaNet(Block):
    """Linear attention that forgets by a gate and writes by the delta rule.

    Attributes:
        d_model: channels of the residual stream.
        n_key_heads: heads of queries and keys.
        n_heads: heads of values; each key head serves n_heads / n_key_heads of them.
        d_head: channels of a query, a key or a value.
        d_conv: tokens that the convolution sees.
        norm: norm of what is read, each head by itself.
        joint: β and α come from one matrix, key head by key head.
        adjacent: the heads of values that share a key head stand side by side; otherwise they take turns.
        gate_act: activation function of the gate of what is read.
        out: name of the result's tap.
    """

    d_model: int
    n_key_heads: int
    n_heads: int
    d_head: int
    d_conv: int
    norm: Norm
    joint: bool = False
    adjacent: bool = False
    gate_act: str = "silu"
    out: str = "linear_attn_out"

    @property
    def _widths(self) -> tuple[int, int, int]:
        """Channels of all keys, of all values, and of the convolution."""
        keys, values = self.n_key_heads * self.d_head, self.n_heads * self.d_head
        return keys, values, 2 * keys + values

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, n, (_, values, conv) = self.d_model, self.n_heads, self._widths
        pair = [("ssm_ba", 2 * n)] if self.joint else [("ssm_beta", n), ("ssm_alpha", n)]
        return [
            *linear_needs("attn_qkv", conv, d),
            *linear_needs("attn_gate", values, d),
            *(need for name, width in pair for need in linear_needs(name, width, d)),
            *(Need("ssm_conv1d.weight", (conv, self.d_conv)), Need("ssm_dt.bias", (n,)), Need("ssm_a", (n,))),
            *self.norm.needs("ssm_norm", self.d_head),
            *linear_needs("ssm_out", d, values),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str) -> Tap:
            names = [f"linear_attn_{i}" for i in inputs.split()] or [source]
            full = self.out if name == "out" else f"linear_attn_{name}"
            word = WORDS[name]
            return declare(full, inputs=names, formula=formula, weights=weights, layer=layer, word=word)

        yield tap("qkv", "", "x · Wqkvᵀ", *linear_weights("attn_qkv"))
        yield tap("z", "", "x · Wzᵀ", *linear_weights("attn_gate"))
        if self.joint:
            yield tap("ba", "", "x · Wβαᵀ", *linear_weights("ssm_ba"))
            yield tap("beta_in", "ba", "the β columns of ba")
            yield tap("alpha", "ba", "the α columns of ba")
        else:
            yield tap("beta_in", "", "x · Wβᵀ", *linear_weights("ssm_beta"))
            yield tap("alpha", "", "x · Wαᵀ", *linear_weights("ssm_alpha"))
        yield tap("beta", "beta_in", "σ(β)")
        yield tap("alpha_act", "alpha", "softplus(α + b)", "ssm_dt.bias")
        yield tap("gate", "alpha_act", "α · A", "ssm_a")
        yield tap("conv_state", "qkv", "the last tokens of what the convolution reads")
        yield tap("conv", "qkv", "Σ over the last tokens: x · w", "ssm_conv1d.weight")
        yield tap("conv_act", "conv", "silu(conv)")
        for name in "qkv":
            yield tap(name, "conv_act", f"the {name} columns, split into heads")
        for name in "qk":
            yield tap(f"{name}_norm", name, "each head: x / √(Σ x² + ε)")
        formula = "state ← exp(gate) · state; state ← state + β · (v − state · k) · kᵀ"
        yield tap("state", "k_norm v gate beta", formula)
        yield tap("y", "q_norm k_norm v gate beta", "state · q / √d, token after token")
        yield tap("norm", "y", f"each head: {self.norm.formula}", *self.norm.weights("ssm_norm"))
        yield tap("gated", "norm z", f"y · {self.gate_act}(z)")
        yield tap("out", "gated", "y · Woutᵀ", *linear_weights("ssm_out"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        delta = np.zeros((self.n_heads, self.d_head, self.d_head), np.float32)
        return Memory(conv=np.zeros((self.d_conv - 1, self._widths[2]), np.float32), delta=delta)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        bend, d_scale = activation(self.gate_act, s.numerics), np.float32(self.d_head**-0.5)
        qkv = s.tap("linear_attn_qkv", s.linear(x, "attn_qkv"))
        z = s.tap("linear_attn_z", s.linear(x, "attn_gate"))
        beta, gate = self._beta_and_gate(x, s)  # (token, head)
        q, k, v = self._heads(qkv, s)  # (token, head, d_head)
        decay = exponential(gate, s.numerics)[:, :, None]
        y, state = delta_scan(q, k, v, decay, beta, s.state["delta"], d_scale, s.numerics)
        s.state["delta"] = s.tap("linear_attn_state", state)
        y = s.tap("linear_attn_y", y)  # (token, head, d_head)
        y = s.tap("linear_attn_norm", self.norm(y, s, "ssm_norm")).reshape(len(x), -1)
        y = s.tap("linear_attn_gated", y * bend(z))
        return s.tap(self.out, s.linear(y, "ssm_out"))

    def _beta_and_gate(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Return how far each token moves what is remembered, and the logarithm of what it keeps."""
        if self.joint:
            ba = s.tap("linear_attn_ba", s.linear(x, "ssm_ba")).reshape(len(x), self.n_key_heads, 2, -1)
            beta, alpha = ba[:, :, 0].reshape(len(x), -1), ba[:, :, 1].reshape(len(x), -1)
            beta, alpha = s.tap("linear_attn_beta_in", beta), s.tap("linear_attn_alpha", alpha)
        else:
            beta = s.tap("linear_attn_beta_in", s.linear(x, "ssm_beta"))
            alpha = s.tap("linear_attn_alpha", s.linear(x, "ssm_alpha"))
        beta = s.tap("linear_attn_beta", activation("sigmoid", s.numerics)(beta))
        alpha = activation("softplus", s.numerics)(alpha + s.vector("ssm_dt.bias"))
        alpha = s.tap("linear_attn_alpha_act", alpha)
        return beta, s.tap("linear_attn_gate", alpha * s.vector("ssm_a").reshape(-1))

    def _heads(self, qkv: np.ndarray, s: Scope) -> list[np.ndarray]:
        """Return queries, keys and values after the convolution, one of each for every head of values."""
        keys, _, _ = self._widths
        y, kept = causal_conv(qkv, s.state["conv"], s.vector("ssm_conv1d.weight"), s.numerics)
        s.state["conv"] = s.tap("linear_attn_conv_state", kept)
        y = activation("silu", s.numerics)(s.tap("linear_attn_conv", y))
        parts = np.split(s.tap("linear_attn_conv_act", y), [keys, 2 * keys], axis=1)
        q, k, v = (
            s.tap(f"linear_attn_{name}", part.copy().reshape(len(qkv), -1, self.d_head))
            for name, part in zip("qkv", parts, strict=True)
        )
        eps, length = self.norm.eps / self.d_head, np.float32(self.d_head**-0.5)
        q = s.tap("linear_attn_q_norm", rms_norm(q, None, eps) * length)
        k = s.tap("linear_attn_k_norm", rms_norm(k, None, eps) * length)
        shares = self.n_heads // self.n_key_heads
        heads = np.arange(self.n_heads)
        served = heads // shares if self.adjacent else heads % self.n_key_heads
        return [q[:, served], k[:, served], v]
