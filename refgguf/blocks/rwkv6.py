"""RWKV-6's mixing over time (Peng et al. 2024).

μᵢ  = λᵢ + tanh((x + (x₋₁ − x) λ) W₁) W₂ᵢ       of decay, key, value, receptance, gate
xᵢ  = x + (x₋₁ − x) μᵢ
r   = xr Wr,  k = xk Wk,  v = xv Wv,  g = silu(xg Wg)
w   = exp(−exp(w₀ + tanh(xw Wa) Wb))
y   = (S + u k vᵀ)ᵀ r;   S ← w S + k vᵀ
out = (norm(y) g) Wo
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
from refgguf.kernels.ops.scan import wkv6
from refgguf.taps import Tap


@dataclass(frozen=True)
class TimeMix6(Block):
    """RWKV-6's mixing over time.

    Attributes:
        d_model: channels of the residual stream.
        d_head: channels of a head.
        d_mix: hidden channels of each mixture.
        d_decay: hidden channels of the decay.
        fused: the file has one tensor for the five fixed parts of the mixtures.
        out: name of the result's tap.
    """

    d_model: int
    d_head: int
    d_mix: int
    d_decay: int
    fused: bool
    out: str = "time_mix_out"

    PARTS = "wkvrg"  # order of the mixtures

    @property
    def _n_heads(self) -> int:
        return self.d_model // self.d_head

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, p = self.d_model, "time_mix_"
        lerps = [Need(f"{p}lerp_{part}.weight", (d,)) for part in self.PARTS]
        return [
            Need(f"{p}lerp_x.weight", (d,)),
            Need(f"{p}w1.weight", (5 * self.d_mix, d)),
            Need(f"{p}w2.weight", (5, d, self.d_mix)),
            *([Need(f"{p}lerp_fused.weight", (5, 1, 1, d))] if self.fused else lerps),
            Need(f"{p}first.weight", (self._n_heads, self.d_head)),
            Need(f"{p}decay.weight", (d,)),
            Need(f"{p}decay_w1.weight", (self.d_decay, d)),
            Need(f"{p}decay_w2.weight", (d, self.d_decay)),
            *(n for name in ("key", "value", "receptance", "gate") for n in linear_needs(p + name, d, d)),
            *(Need(f"{p}ln.{part}", (d,)) for part in ("weight", "bias")),
            *linear_needs(f"{p}output", d, d),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str, word: str = "") -> Tap:
            weights = [f"time_mix_{w}" for w in weights]
            return mix_tap("time_mix_", name, word or name, layer, inputs, formula, *weights)

        yield from shift_taps("time_mix_", layer, source)
        yield tap("xx", f">{source} sx", "x + sx · λ", "lerp_x.weight")
        yield tap("mix", "xx", "tanh(x · W₁ᵀ)", "w1.weight")
        for part in self.PARTS:
            lerp = "lerp_fused.weight" if self.fused else f"lerp_{part}.weight"
            formula = "x + sx · (mix · W₂ᵀ + λ)"
            yield tap(f"x{part}", f">{source} sx mix", formula, "w2.weight", lerp, word="x")
        yield tap("r", "xr", "x · Wrᵀ, split into heads", *linear_weights("receptance"))
        yield tap("k", "xk", "x · Wkᵀ, split into heads", *linear_weights("key"))
        yield tap("v", "xv", "x · Wvᵀ, split into heads", *linear_weights("value"))
        yield tap("g_in", "xg", "x · Wgᵀ", *linear_weights("gate"))
        yield tap("g", "g_in", "silu(g)")
        yield tap("w_in", "xw", "tanh(x · Waᵀ)", "decay_w1.weight")
        yield tap("w", "w_in", "exp(−exp(w₀ + w · Wbᵀ))", "decay.weight", "decay_w2.weight")
        yield tap("state", "w k v", "state ← w · state + k · vᵀ")
        yield tap("wkv", "r w k v", "(state + u · k · vᵀ)ᵀ · r, token after token", "first.weight")
        yield tap("ln", "wkv", "(y − mean) / √(var + ε) · w + b", "ln.weight", "ln.bias")
        yield tap("gated", "ln g", "y · g")
        yield time_mixed_tap(self.out, layer)

    def new_state(self) -> Memory:
        """Return an empty memory."""
        return new_memory(self.d_model, self.d_head)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        heads = (len(x), self._n_heads, self.d_head)
        xw, xk, xv, xr, xg = self._mixtures(x, s)
        r = s.tap("time_mix_r", s.linear(xr, "time_mix_receptance").reshape(heads))
        k = s.tap("time_mix_k", s.linear(xk, "time_mix_key").reshape(heads))
        v = s.tap("time_mix_v", s.linear(xv, "time_mix_value").reshape(heads))
        g = s.tap("time_mix_g_in", s.linear(xg, "time_mix_gate"))
        g = s.tap("time_mix_g", activation("silu", s.numerics)(g))
        w = s.tap("time_mix_w_in", tanh(s.linear(xw, "time_mix_decay_w1"), s.numerics))
        w = s.linear(w, "time_mix_decay_w2") + s.vector("time_mix_decay.weight").reshape(-1)
        w = s.tap("time_mix_w", exponential(-exponential(w, s.numerics), s.numerics).reshape(heads))
        y, state = wkv6(r, w, k, v, s.vector("time_mix_first.weight"), s.state["wkv"], s.numerics)
        s.state["wkv"] = s.tap("time_mix_state", state)
        y = head_norm(s.tap("time_mix_wkv", y), s)
        y = s.tap("time_mix_gated", y * g)
        return s.tap(self.out, s.linear(y, "time_mix_output"))

    def _mixtures(self, x: np.ndarray, s: Scope) -> list[np.ndarray]:
        """Return the mixtures of each token and the one before for decay, key, value, receptance and gate."""
        sx = shift(x, s, "time_mix_")
        xx = s.tap("time_mix_xx", x + sx * s.vector("time_mix_lerp_x.weight").reshape(-1))
        mix = s.tap("time_mix_mix", tanh(s.linear(xx, "time_mix_w1"), s.numerics))
        mixtures = []
        for i, (part, hidden) in enumerate(zip(self.PARTS, np.split(mix, 5, axis=1), strict=True)):
            if self.fused:
                fixed = s.vector("time_mix_lerp_fused.weight")[i]
            else:
                fixed = s.vector(f"time_mix_lerp_{part}.weight")
            share = s.linear(hidden, "time_mix_w2", i, alone=True) + fixed.reshape(-1)
            mixtures.append(s.tap(f"time_mix_x{part}", x + sx * share))
        return mixtures
