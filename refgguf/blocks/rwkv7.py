"""RWKV-7's mixing over time, a delta rule whose every channel decays by itself (Peng et al. 2025).

xᵢ  = x + (x₋₁ − x) λᵢ
r   = xr Wr,  w = exp(−0.6065 σ(w₀ + tanh(xw W₁) W₂)),  g = σ(xg G₁) G₂
a   = σ(a₀ + xa A₁ A₂)
v   = xv Wv,  then  v + (v⁰ − v) σ(v₀ + xv V₁ V₂)         v⁰: the first layer's
k   = xk Wk;  κ = k ξ / |k ξ|;  k ← k (1 + (a − 1) α)
S   ← S diag(w) − (S κ)(a κ)ᵀ + v kᵀ;   y = S r
out = ((norm(y) + Σ(r k ρ) v) g) Wo
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.memory import Memory
from refgguf.blocks.rwkv import head_norm, mix_tap, new_memory, shift, shift_taps, time_mixed_tap
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation, exponential, tanh
from refgguf.kernels.ops.norm import l2_norm
from refgguf.kernels.ops.scan import wkv7
from refgguf.kernels.ops.sums import row_sums
from refgguf.taps import Tap

SLOWEST_DECAY = -0.606531  # −exp(−1/2): RWKV-7 keeps at least exp of this share of a state at each token
KEY_EPS = 1e-12  # below which a key's length counts as this


@dataclass(frozen=True)
class TimeMix7(Block):
    """RWKV-7's mixing over time.

    Attributes:
        d_model: channels of the residual stream.
        d_head: channels of a head.
        d_decay: hidden channels of the decay.
        d_rate: hidden channels of the learning rate.
        d_value: hidden channels of the share of the first layer's values; 0 in the first layer.
        d_gate: hidden channels of the gate; 0 for no gate.
        normed: each head of what is read is normed.
        out: name of the result's tap.
    """

    d_model: int
    d_head: int
    d_decay: int
    d_rate: int
    d_value: int
    d_gate: int
    normed: bool = True
    out: str = "time_mix_out"

    @property
    def _parts(self) -> str:
        """Order of the mixtures."""
        return "rwkvag" if self.d_gate else "rwkva"

    @property
    def _n_heads(self) -> int:
        return self.d_model // self.d_head

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, p = self.d_model, "time_mix_"
        ranks = {"w": self.d_decay, "a": self.d_rate, "v": self.d_value, "g": self.d_gate}
        ranks = {part: rank for part, rank in ranks.items() if rank}
        needs = [Need(f"{p}{part}0.weight", (d,)) for part in ranks if part != "g"]
        for part, rank in ranks.items():
            needs += [Need(f"{p}{part}1.weight", (rank, d)), Need(f"{p}{part}2.weight", (d, rank))]
        needs += [Need(f"{p}lerp_fused.weight", (len(self._parts), 1, 1, d))]
        needs += [Need(f"{p}{name}.weight", (d,)) for name in ("k_k", "k_a", "r_k")]
        needs += [Need(f"{p}ln.{part}", (d,)) for part in ("weight", "bias") if self.normed]
        for name in ("key", "value", "receptance", "output"):
            needs += linear_needs(p + name, d, d)
        return needs

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str, word: str = "") -> Tap:
            weights = [f"time_mix_{w}" for w in weights]
            return mix_tap("time_mix_", name, word or name, layer, inputs, formula, *weights)

        yield from shift_taps("time_mix_", layer, source)
        for part in self._parts:
            yield tap(f"x{part}", f">{source} sx", "x + sx · λ", "lerp_fused.weight", word="x")
        yield tap("r", "xr", "x · Wrᵀ, split into heads", *linear_weights("receptance"))
        yield tap("w_in", "xw", "tanh(x · W₁ᵀ)", "w1.weight")
        yield tap("w", "w_in", "exp(−0.6065 · σ(w₀ + w · W₂ᵀ))", "w0.weight", "w2.weight")
        yield tap("k_in", "xk", "x · Wkᵀ", *linear_weights("key"))
        if self.d_value:
            yield tap("v_in", "xv", "x · Wvᵀ", *linear_weights("value"))
            yield tap("v_rank", "xv", "x · W₁ᵀ", "v1.weight")
            yield tap("v_share", "v_rank", "σ(v₀ + v · W₂ᵀ)", "v0.weight", "v2.weight")
            first = "/blk.0.time_mix_v"
            yield tap("v", f"v_in v_share {first}", "v + (the first layer's v − v) · share, split into heads")
        else:
            yield tap("v", "xv", "x · Wvᵀ, split into heads", *linear_weights("value"))
        if self.d_gate:
            yield tap("g_in", "xg", "σ(x · W₁ᵀ)", "g1.weight")
            yield tap("g", "g_in", "g · W₂ᵀ", "g2.weight")
        yield tap("a_in", "xa", "x · W₁ᵀ", "a1.weight")
        yield tap("a", "a_in", "σ(a₀ + a · W₂ᵀ)", "a0.weight", "a2.weight")
        yield tap("kk", "k_in", "k · ξ, each head of length 1", "k_k.weight")
        yield tap("k", "k_in a", "k · (1 + (a − 1) · α), split into heads", "k_a.weight")
        yield tap("state", "w k v kk a", "state ← state · w − (state · κ) · (a · κ)ᵀ + v · kᵀ")
        yield tap("wkv", "r w k v kk a", "state · r, token after token")
        if self.normed:
            yield tap("ln", "wkv", "(y − mean) / √(var + ε) · w + b", "ln.weight", "ln.bias")
        yield tap("bonus", "r k v", "each head: Σ(r · k · ρ) · v", "r_k.weight")
        gate, factor = (" g", " · g") if self.d_gate else ("", "")
        yield tap("gated", ("ln" if self.normed else "wkv") + " bonus" + gate, "(y + bonus)" + factor)
        yield time_mixed_tap(self.out, layer)

    def new_state(self) -> Memory:
        """Return an empty memory."""
        return new_memory(self.d_model, self.d_head)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        sigmoid, heads = activation("sigmoid", s.numerics), (len(x), self._n_heads, self.d_head)
        sx, shares = shift(x, s, "time_mix_"), s.vector("time_mix_lerp_fused.weight")
        xr, xw, xk, xv, xa, *xg = (
            s.tap(f"time_mix_x{part}", x + sx * share.reshape(-1))
            for part, share in zip(self._parts, shares, strict=True)
        )
        r = s.tap("time_mix_r", s.linear(xr, "time_mix_receptance").reshape(heads))
        w = s.tap("time_mix_w_in", tanh(s.linear(xw, "time_mix_w1"), s.numerics))
        w = sigmoid(s.linear(w, "time_mix_w2") + s.vector("time_mix_w0.weight"))
        w = s.tap("time_mix_w", exponential(w * np.float32(SLOWEST_DECAY), s.numerics).reshape(heads))
        k = s.tap("time_mix_k_in", s.linear(xk, "time_mix_key"))
        v = self._values(xv, s).reshape(heads)
        if self.d_gate:
            g = s.tap("time_mix_g_in", sigmoid(s.linear(xg[0], "time_mix_g1")))
            g = s.tap("time_mix_g", s.linear(g, "time_mix_g2"))
        a = s.linear(s.tap("time_mix_a_in", s.linear(xa, "time_mix_a1")), "time_mix_a2")
        a = s.tap("time_mix_a", sigmoid(a + s.vector("time_mix_a0.weight")).reshape(heads))
        kk = s.tap("time_mix_kk", l2_norm((k * s.vector("time_mix_k_k.weight")).reshape(heads), KEY_EPS))
        ka = (k * s.vector("time_mix_k_a.weight")).reshape(heads)
        k = s.tap("time_mix_k", k.reshape(heads) + (a * ka - ka))
        y, state = wkv7(r, w, k, v, -kk, kk * a, s.state["wkv"], s.numerics)
        s.state["wkv"] = s.tap("time_mix_state", state)
        y = s.tap("time_mix_wkv", y)
        y = head_norm(y, s) if self.normed else y.reshape(len(x), -1)
        rk = k * r * s.vector("time_mix_r_k.weight").reshape(heads[1:])
        bonus = s.tap("time_mix_bonus", (v * row_sums(rk, s.numerics)).reshape(len(x), -1))
        y = s.tap("time_mix_gated", (y + bonus) * g if self.d_gate else y + bonus)
        return s.tap(self.out, s.linear(y, "time_mix_output"))

    def _values(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return the values, (token, d_model), after the first layer drawn towards its own."""
        v = s.linear(x, "time_mix_value")
        if not self.d_value:
            heads = (len(x), self._n_heads, self.d_head)
            first = s.common["first_values"] = s.tap("time_mix_v", v.reshape(heads))
            return first
        v = s.tap("time_mix_v_in", v)
        share = s.tap("time_mix_v_rank", s.linear(x, "time_mix_v1"))
        share = s.linear(share, "time_mix_v2") + s.vector("time_mix_v0.weight")
        share = s.tap("time_mix_v_share", activation("sigmoid", s.numerics)(share))
        first = s.common["first_values"].reshape(v.shape)
        return s.tap("time_mix_v", (v + (first - v) * share).reshape(len(x), self._n_heads, self.d_head))
