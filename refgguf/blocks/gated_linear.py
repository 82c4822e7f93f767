"""Gated linear attention as RWKV-6 mixes over time, in layers that attended before (QRWKV6: Goldstein et al. 2025).

Mixtures, receptance and decay as in RWKV-6, then
k   = xk Wk (1 − w),  v = xv Wv,  g = σ(xg Wg)          a head of k and v may serve several of r
S   ← w S + k vᵀ;   y = Sᵀ r / √d_head
out = (y g) Wo
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.rwkv import mix_tap, time_mixed_tap
from refgguf.blocks.rwkv6 import TimeMix6
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.kernels.ops.scan import wkv7
from refgguf.taps import Tap


@dataclass(frozen=True)
class GatedLinearMix(TimeMix6):
    """RWKV-6's mixing over time without a bonus and without norms of the heads.

    Attributes:
        n_kv_heads: heads of keys and values.
    """

    n_kv_heads: int = 1

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        gone = {f"time_mix_{name}" for name in ("first.weight", "ln.weight", "ln.bias")}
        narrow = ("time_mix_key.", "time_mix_value.")
        kept = [n for n in super().needs() if n.name not in gone and not n.name.startswith(narrow)]
        d = self.n_kv_heads * self.d_head
        return [*kept, *(need for name in narrow for need in linear_needs(name[:-1], d, self.d_model))]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str, axes: str = "") -> Tap:
            weights = [f"time_mix_{w}" for w in weights]
            found = mix_tap("time_mix_", name, name, layer, inputs, formula, *weights)
            return replace(found, axes=tuple(axes.split())) if axes else found

        for found in super().taps(layer, source):
            if found.name.endswith("time_mix_r"):
                break
            yield found
        times = self._n_heads // self.n_kv_heads
        formula = "x · Wvᵀ, split into heads" + (f", each {times} times" if times > 1 else "")
        yield tap("r", "xr", "x · Wrᵀ, split into heads", *linear_weights("receptance"))
        yield tap("k_in", "xk", "x · Wkᵀ", *linear_weights("key"), axes="token channel")
        yield tap("v", "xv", formula, *linear_weights("value"))
        yield tap("g_in", "xg", "x · Wgᵀ", *linear_weights("gate"))
        yield tap("g", "g_in", "σ(g)")
        yield tap("w_in", "xw", "tanh(x · Waᵀ)", "decay_w1.weight")
        yield tap("w", "w_in", "exp(−exp(w₀ + w · Wbᵀ))", "decay.weight", "decay_w2.weight")
        yield tap("k", "k_in w", "k · (1 − w), k as v split into heads")
        yield tap("state", "w k v", "state ← w · state + v · kᵀ")
        yield tap("wkv", "r w k v", f"state · r · {self.d_head**-0.5:.4g}, token after token")
        yield tap("gated", "wkv g", "y · g")
        yield time_mixed_tap(self.out, layer)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        heads = (len(x), self._n_heads, self.d_head)
        xw, xk, xv, xr, xg = self._mixtures(x, s)
        r = s.tap("time_mix_r", s.linear(xr, "time_mix_receptance").reshape(heads))
        k = self._repeated(s.tap("time_mix_k_in", s.linear(xk, "time_mix_key")))
        v = s.tap("time_mix_v", self._repeated(s.linear(xv, "time_mix_value")))
        g = s.tap("time_mix_g_in", s.linear(xg, "time_mix_gate"))
        g = s.tap("time_mix_g", activation("sigmoid", s.numerics)(g))
        w = s.tap("time_mix_w_in", np.tanh(s.linear(xw, "time_mix_decay_w1")))
        w = s.linear(w, "time_mix_decay_w2") + s.vector("time_mix_decay.weight").reshape(-1)
        w = s.tap("time_mix_w", np.exp(-np.exp(w)).reshape(heads))
        k = s.tap("time_mix_k", k - k * w)
        nothing = np.zeros_like(k)  # is removed before a token writes
        y, state = wkv7(r * np.float32(self.d_head**-0.5), w, k, v, nothing, nothing, s.state["wkv"])
        s.state["wkv"] = s.tap("time_mix_state", state)
        y = s.tap("time_mix_wkv", y).reshape(len(x), -1)
        return s.tap(self.out, s.linear(s.tap("time_mix_gated", y * g), "time_mix_output"))

    def _repeated(self, x: np.ndarray) -> np.ndarray:
        """Return a head of keys or values for each head of the receptance, (token, head, d_head)."""
        x = x.reshape(len(x), self.n_kv_heads, self.d_head)
        return np.repeat(x, self._n_heads // self.n_kv_heads, axis=1)
