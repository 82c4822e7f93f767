"""Mamba: state-space models that choose what to keep (Gu & Dao 2023; Dao & Gu 2024).

Mamba-1                                            Mamba-2
x, z    = u Win                                    z, xBC, Δ = u Win
x       = silu(conv(x))                            x, B, C   = silu(conv(xBC)), split into heads and groups
Δ, B, C = x Wx                                     Δ         = softplus(Δ + b)
Δ       = softplus(Δ Wdt + b)
S       ← exp(Δ A) S + Δ x Bᵀ                      the same, A one number a head
y       = S C + D x                                y = S C + D x
out     = (y · silu(z)) Wout                       out = norm(y · silu(z)) Wout
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
from refgguf.kernels.ops.scan import causal_conv, ssm_scan
from refgguf.taps import Tap, Word, declare

WORDS = {
    "ssm_in": Word("token channel", "qkv", "all that the state-space model works with, from one matrix"),
    "ssm_z": Word("token channel", "qkv", "gate of the result, before its bend"),
    "ssm_conv_in": Word("token channel", "qkv", "what the convolution reads"),
    "ssm_conv_state": Word("slot channel", "state", "the last tokens, for the next convolution"),
    "ssm_conv1d": Word("token channel", "qkv", "each channel mixed with the tokens just before"),
    "ssm_conv_act": Word("token channel", "qkv", "convolution, bent"),
    "ssm_x": Word("token channel", "qkv", "step size, way in and way out, from one matrix"),
    "ssm_u": Word("token head d_head", "qkv", "what is written into the state"),
    "ssm_B": Word("token group d_state", "qkv", "way in: which of the states each token writes to"),
    "ssm_C": Word("token group d_state", "qkv", "way out: which of the states each token reads"),
    "ssm_dt_in": Word("token rank", "qkv", "step size before its matrix"),
    "ssm_dt_norm": Word("token rank", "qkv", "step size before its matrix, normed"),
    "ssm_b_norm": Word("token group d_state", "qkv", "way in, normed"),
    "ssm_c_norm": Word("token group d_state", "qkv", "way out, normed"),
    "ssm_dt": Word("token head", "qkv", "step size before softplus"),
    "ssm_delta": Word(
        "token head", "qkv", "step size: how much each token writes, and how much is forgotten"
    ),
    "ssm_state": Word("head d_head d_state", "state", "what is remembered after the last token"),
    "ssm_scan": Word("token head d_head", "qkv", "what each token reads from the state"),
    "ssm_skip": Word("token head d_head", "qkv", "what is read, and the input itself", "mamba2_y_add_d"),
    "ssm_gated": Word("token channel", "qkv", "what is read, gated"),
    "ssm_norm": Word("token channel", "qkv", "what is read, gated and normed"),
}


def mamba_tap(name: str, layer: int, inputs: list[str], formula: str, *weights: str, **kwargs) -> Tap:
    """Declare a tap of a state-space model by its local name; the rest as in `declare`."""
    word = kwargs.pop("word", None) or WORDS.get(name)
    return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word, **kwargs)


def conv_taps(layer: int) -> Iterator[Tap]:
    """Declare the taps of `conv`."""
    yield mamba_tap("ssm_conv_state", layer, ["ssm_conv_in"], "the last tokens of what the convolution reads")
    weights = ("ssm_conv1d.weight", "ssm_conv1d.bias")
    yield mamba_tap("ssm_conv1d", layer, ["ssm_conv_in"], "Σ over the last tokens: x · w, + b", *weights)
    yield mamba_tap("ssm_conv_act", layer, ["ssm_conv1d"], "silu(conv)")


def conv(x: np.ndarray, s: Scope) -> np.ndarray:
    """Mix each channel with the tokens just before: (token, channel) → (token, channel)."""
    y, kept = causal_conv(x, s.state["conv"], s.vector("ssm_conv1d.weight"), s.numerics)
    s.state["conv"] = s.tap("ssm_conv_state", kept)
    bias = s.optional("ssm_conv1d.bias")
    y = s.tap("ssm_conv1d", y if bias is None else y + bias)
    return s.tap("ssm_conv_act", activation("silu", s.numerics)(y))


def scan_taps(layer: int, x: str, b: str, c: str) -> Iterator[Tap]:
    """Declare the taps of `scan`, which reads these."""
    formula = "state ← exp(Δ · A) · state + Δ · x · Bᵀ"
    yield mamba_tap("ssm_state", layer, [x, "ssm_delta", b], formula, "ssm_a")
    yield mamba_tap("ssm_scan", layer, [x, "ssm_delta", b, c], "state · C, token after token", "ssm_a")
    yield mamba_tap("ssm_skip", layer, ["ssm_scan", x], "y + D · x", "ssm_d")


def scan(x: np.ndarray, delta: np.ndarray, b: np.ndarray, c: np.ndarray, s: Scope) -> np.ndarray:
    """Write every token into the state and read from it: (token, head, d_head) → (token, head, d_head)."""
    a = s.vector("ssm_a").reshape(x.shape[1], -1)  # (head, d_state) or (head, 1)
    y, state = ssm_scan(x, delta, a, b, c, s.state["ssm"], s.numerics)
    s.state["ssm"] = s.tap("ssm_state", state)
    y = s.tap("ssm_scan", y)
    return s.tap("ssm_skip", y + x * s.vector("ssm_d").reshape(-1, 1))


@dataclass(frozen=True)
class Mamba(Block):
    """Mamba-1: every channel has a state of its own.

    Attributes:
        d_model: channels of the residual stream.
        d_inner: channels of the state-space model.
        d_conv: tokens that the convolution sees.
        d_state: states of a channel.
        dt_rank: channels of the step size before its matrix.
        norm: norm of step size, way in and way out, or None.
        out: name of the result's tap.
    """

    d_model: int
    d_inner: int
    d_conv: int
    d_state: int
    dt_rank: int
    norm: Norm | None = None
    out: str = "ssm_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, inner, state, rank = self.d_model, self.d_inner, self.d_state, self.dt_rank
        needs = linear_needs("ssm_in", 2 * inner, d) + linear_needs("ssm_x", rank + 2 * state, inner)
        needs += [Need("ssm_conv1d.weight", (inner, self.d_conv)), Need("ssm_conv1d.bias", (inner,))]
        needs += [Need("ssm_dt.weight", (inner, rank)), Need("ssm_dt.bias", (inner,))]
        if self.norm:
            needs += self.norm.needs("ssm_dt_norm", rank)
            needs += self.norm.needs("ssm_b_norm", state) + self.norm.needs("ssm_c_norm", state)
        return [
            *needs,
            Need("ssm_a", (inner, state)),
            Need("ssm_d", (inner,)),
            *linear_needs("ssm_out", d, inner),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield mamba_tap("ssm_in", layer, [source], "x · Winᵀ", *linear_weights("ssm_in"))
        yield mamba_tap("ssm_conv_in", layer, ["ssm_in"], "first half of ssm_in")
        yield mamba_tap("ssm_z", layer, ["ssm_in"], "second half of ssm_in")
        yield from conv_taps(layer)
        yield mamba_tap("ssm_x", layer, ["ssm_conv_act"], "x · Wxᵀ", *linear_weights("ssm_x"))
        for name in (names := ["ssm_dt_in", "ssm_B", "ssm_C"]):
            yield mamba_tap(name, layer, ["ssm_x"], f"the {name.removeprefix('ssm_')[:2]} columns of ssm_x")
        if self.norm:
            for i, name in enumerate(["ssm_dt_norm", "ssm_b_norm", "ssm_c_norm"]):
                yield mamba_tap(name, layer, [names[i]], self.norm.formula, *self.norm.weights(name))
                names[i] = name
        yield mamba_tap("ssm_dt", layer, [names[0]], "dt · Wdtᵀ + b", *linear_weights("ssm_dt"))
        yield mamba_tap("ssm_delta", layer, ["ssm_dt"], "softplus(dt)")
        # every channel is a head of its own here
        yield from scan_taps(layer, "ssm_conv_act", *names[1:])
        yield mamba_tap("ssm_gated", layer, ["ssm_skip", "ssm_z"], "y · silu(z)")
        yield mamba_tap(self.out, layer, ["ssm_gated"], "y · Woutᵀ", *linear_weights("ssm_out"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        conv = np.zeros((self.d_conv - 1, self.d_inner), np.float32)
        return Memory(conv=conv, ssm=np.zeros((self.d_inner, 1, self.d_state), np.float32))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        silu, softplus = activation("silu", s.numerics), activation("softplus", s.numerics)
        x, z = np.split(s.tap("ssm_in", s.linear(x, "ssm_in")), 2, axis=1)
        x, z = s.tap("ssm_conv_in", x.copy()), s.tap("ssm_z", z.copy())  # (token, d_inner)
        x = conv(x, s)
        dt, b, c = self._selection(x, s)
        delta = s.tap("ssm_delta", softplus(s.tap("ssm_dt", s.linear(dt, "ssm_dt"))))  # (token, d_inner)
        y = scan(x[:, :, None], delta, b, c, s)[:, :, 0]
        y = s.tap("ssm_gated", y * silu(z))
        return s.tap(self.out, s.linear(y, "ssm_out"))

    def _selection(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return step size (token, rank), way in and way out (token, 1, d_state) that x chooses."""
        fused = s.tap("ssm_x", s.linear(x, "ssm_x"))
        dt, b, c = np.split(fused, [self.dt_rank, self.dt_rank + self.d_state], axis=1)
        dt = s.tap("ssm_dt_in", dt.copy())
        b, c = s.tap("ssm_B", b.copy()[:, None]), s.tap("ssm_C", c.copy()[:, None])
        if self.norm:
            dt = s.tap("ssm_dt_norm", self.norm(dt, s, "ssm_dt_norm"))
            b = s.tap("ssm_b_norm", self.norm(b, s, "ssm_b_norm"))
            c = s.tap("ssm_c_norm", self.norm(c, s, "ssm_c_norm"))
        return dt, b, c


@dataclass(frozen=True)
class Mamba2(Block):
    """Mamba-2: heads of channels whose states fade alike.

    Attributes:
        d_model: channels of the residual stream.
        d_inner: channels of all heads.
        d_conv: tokens that the convolution sees.
        d_state: states of a channel.
        n_heads: heads.
        n_groups: groups of heads that share way in and way out.
        norm: norm of what is read, each group by itself, or None.
        out: name of the result's tap.
    """

    d_model: int
    d_inner: int
    d_conv: int
    d_state: int
    n_heads: int
    n_groups: int
    norm: Norm | None = None
    out: str = "ssm_out"

    @property
    def _widths(self) -> tuple[int, int, int]:
        """Channels of the heads, of the convolution, and of way in or way out."""
        shared = self.n_groups * self.d_state
        return self.d_inner, self.d_inner + 2 * shared, shared

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        inner, mixed, _ = self._widths
        needs = linear_needs("ssm_in", inner + mixed + self.n_heads, self.d_model)
        needs += [Need("ssm_conv1d.weight", (mixed, self.d_conv)), Need("ssm_conv1d.bias", (mixed,), True)]
        needs += [Need("ssm_dt.bias", (self.n_heads,))]
        needs += [Need("ssm_a", (self.n_heads, 1)), Need("ssm_d", (self.n_heads, 1))]
        if self.norm:
            needs += self.norm.needs("ssm_norm", self.n_groups, inner // self.n_groups)
        return needs + linear_needs("ssm_out", self.d_model, inner)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield mamba_tap("ssm_in", layer, [source], "x · Winᵀ", *linear_weights("ssm_in"))
        yield mamba_tap("ssm_z", layer, ["ssm_in"], "the z columns of ssm_in")
        yield mamba_tap("ssm_conv_in", layer, ["ssm_in"], "the x, B and C columns of ssm_in")
        yield mamba_tap("ssm_dt", layer, ["ssm_in"], "the Δ columns of ssm_in + b", "ssm_dt.bias")
        yield from conv_taps(layer)
        yield mamba_tap("ssm_u", layer, ["ssm_conv_act"], "the x columns, split into heads")
        yield mamba_tap("ssm_B", layer, ["ssm_conv_act"], "the B columns, split into groups")
        yield mamba_tap("ssm_C", layer, ["ssm_conv_act"], "the C columns, split into groups")
        yield mamba_tap("ssm_delta", layer, ["ssm_dt"], "softplus(dt)")
        yield from scan_taps(layer, "ssm_u", "ssm_B", "ssm_C")
        yield mamba_tap("ssm_gated", layer, ["ssm_skip", "ssm_z"], "y · silu(z)")
        y = "ssm_gated"
        if self.norm:
            formula = f"each group: {self.norm.formula}"
            yield mamba_tap("ssm_norm", layer, [y], formula, *self.norm.weights("ssm_norm"))
            y = "ssm_norm"
        yield mamba_tap(self.out, layer, [y], "y · Woutᵀ", *linear_weights("ssm_out"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        inner, mixed, _ = self._widths
        ssm = np.zeros((self.n_heads, inner // self.n_heads, self.d_state), np.float32)
        return Memory(conv=np.zeros((self.d_conv - 1, mixed), np.float32), ssm=ssm)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        n, (inner, mixed, shared) = len(x), self._widths
        silu, softplus = activation("silu", s.numerics), activation("softplus", s.numerics)
        z, x, dt = np.split(s.tap("ssm_in", s.linear(x, "ssm_in")), [inner, inner + mixed], axis=1)
        z, x = s.tap("ssm_z", z.copy()), s.tap("ssm_conv_in", x.copy())
        dt = s.tap("ssm_dt", dt + s.vector("ssm_dt.bias"))  # (token, head)
        u, b, c = np.split(conv(x, s), [inner, inner + shared], axis=1)
        u = s.tap("ssm_u", u.copy().reshape(n, self.n_heads, -1))  # (token, head, d_head)
        b = s.tap("ssm_B", b.copy().reshape(n, self.n_groups, -1))  # (token, group, d_state)
        c = s.tap("ssm_C", c.copy().reshape(n, self.n_groups, -1))
        y = scan(u, s.tap("ssm_delta", softplus(dt)), b, c, s).reshape(n, -1)
        y = s.tap("ssm_gated", y * silu(z))  # (token, d_inner)
        if self.norm:
            grouped = y.reshape(n, self.n_groups, -1)
            y = s.tap("ssm_norm", self.norm(grouped, s, "ssm_norm").reshape(n, -1))
        return s.tap(self.out, s.linear(y, "ssm_out"))
