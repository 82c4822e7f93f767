"""Mamba with heads: Mamba-1's choice by a matrix, Mamba-2's states that fade alike (PLaMo 2: PFN 2025).

z, x    = u Win, head by head
x       = silu(conv(x))
B, C, Δ = norm(x Wx)
Δ       = softplus(Δ Wdt + b)
S       ← exp(Δ A) S + Δ x Bᵀ          A one number a head; B and C shared by all heads
y       = S C + D x
out     = (y · silu(z)) Wout
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.mamba import conv, conv_taps, mamba_tap, scan, scan_taps
from refgguf.blocks.memory import Memory
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.activation import activation
from refgguf.taps import Tap

NORMED = {"ssm_B": "ssm_b_norm", "ssm_C": "ssm_c_norm", "ssm_dt_in": "ssm_dt_norm"}


@dataclass(frozen=True)
class MambaHeads(Block):
    """A state-space model of heads that share what they choose.

    Attributes:
        d_model: channels of the residual stream.
        d_inner: channels of all heads.
        d_conv: tokens that the convolution sees.
        d_state: states of a channel.
        n_heads: heads.
        dt_rank: channels of the step size before its matrix.
        norm: norm of step size, way in and way out.
        out: name of the result's tap.
    """

    d_model: int
    d_inner: int
    d_conv: int
    d_state: int
    n_heads: int
    dt_rank: int
    norm: Norm
    out: str = "ssm_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        inner, heads, state, rank = self.d_inner, self.n_heads, self.d_state, self.dt_rank
        return [
            *linear_needs("ssm_in", 2 * inner, self.d_model),
            Need("ssm_conv1d.weight", (inner, self.d_conv)),
            Need("ssm_conv1d.bias", (inner,), optional=True),
            *linear_needs("ssm_x", rank + 2 * state, inner),
            *self.norm.needs("ssm_dt_norm", rank),
            *self.norm.needs("ssm_b_norm", state),
            *self.norm.needs("ssm_c_norm", state),
            *(Need("ssm_dt.weight", (heads, rank)), Need("ssm_dt.bias", (heads,))),
            *(Need("ssm_a", (heads,)), Need("ssm_d", (heads,))),
            *linear_needs("ssm_out", self.d_model, inner),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield mamba_tap("ssm_in", layer, [source], "x · Winᵀ", *linear_weights("ssm_in"))
        yield mamba_tap("ssm_z", layer, ["ssm_in"], "first half of each head of ssm_in")
        yield mamba_tap("ssm_conv_in", layer, ["ssm_in"], "second half of each head of ssm_in")
        yield from conv_taps(layer)
        yield mamba_tap("ssm_x", layer, ["ssm_conv_act"], "x · Wxᵀ", *linear_weights("ssm_x"))
        for name, normed in NORMED.items():
            sign = name.removeprefix("ssm_")[:2]
            yield mamba_tap(name, layer, ["ssm_x"], f"the {sign} columns of ssm_x")
            yield mamba_tap(normed, layer, [name], self.norm.formula, *self.norm.weights(normed))
        yield mamba_tap("ssm_dt", layer, ["ssm_dt_norm"], "dt · Wdtᵀ + b", *linear_weights("ssm_dt"))
        yield mamba_tap("ssm_delta", layer, ["ssm_dt"], "softplus(dt)")
        # a head is d_inner / n_heads channels side by side
        yield from scan_taps(layer, "ssm_conv_act", "ssm_b_norm", "ssm_c_norm")
        yield mamba_tap("ssm_gated", layer, ["ssm_skip", "ssm_z"], "y · silu(z)")
        yield mamba_tap(self.out, layer, ["ssm_gated"], "y · Woutᵀ", *linear_weights("ssm_out"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        ssm = np.zeros((self.n_heads, self.d_inner // self.n_heads, self.d_state), np.float32)
        return Memory(conv=np.zeros((self.d_conv - 1, self.d_inner), np.float32), ssm=ssm)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        n, silu, softplus = len(x), activation("silu", s.numerics), activation("softplus", s.numerics)
        zx = s.tap("ssm_in", s.linear(x, "ssm_in")).reshape(n, self.n_heads, 2, -1)
        z = s.tap("ssm_z", zx[:, :, 0].reshape(n, -1))  # (token, d_inner)
        x = conv(s.tap("ssm_conv_in", zx[:, :, 1].reshape(n, -1)), s)
        b, c, dt = (
            s.tap(normed, self.norm(s.tap(name, part), s, normed))
            for (name, normed), part in zip(NORMED.items(), self._chosen(x, s), strict=True)
        )
        delta = s.tap("ssm_delta", softplus(s.tap("ssm_dt", s.linear(dt, "ssm_dt"))))  # (token, head)
        y = scan(x.reshape(n, self.n_heads, -1), delta, b, c, s).reshape(n, -1)
        y = s.tap("ssm_gated", y * silu(z))
        return s.tap(self.out, s.linear(y, "ssm_out"))

    def _chosen(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return way in and way out, (token, 1, d_state), and step size, (token, rank), before their norms."""
        fused = s.tap("ssm_x", s.linear(x, "ssm_x"))
        b, c, dt = np.split(fused, [self.d_state, 2 * self.d_state], axis=1)
        return b.copy()[:, None], c.copy()[:, None], dt.copy()
