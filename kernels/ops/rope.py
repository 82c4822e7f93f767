"""Rotary position embedding (RoPE): each pair of channels turns by an angle that grows with the position.

    angle(p, i) = p · base^(-2i/n_rot) / factor_i · scale          i = 0 … n_rot/2 - 1
    (a, b) → (a·cos - b·sin, a·sin + b·cos)

Pairs are (2i, 2i+1) in the `interleaved` style (llama.cpp: norm) and (i, i + n_rot/2) in the `split` style
(llama.cpp: neox). Channels from n_rot on stay as they are. The angle is multiplied up step by step in float32, as
ggml does; computing the power anew for each i gives other bits and, far into a text, other values.

In llama.cpp numerics sums of two products are what GCC makes of ggml's source for processors with FMA: the product with
b is rounded, the one with a is not. GCC takes neighbouring pairs two at a time, and a last single one without any FMA.

Source: Su et al. 2021 (RoPE), Peng et al. 2023 (YaRN); order of operations from ggml/src/ggml-cpu/ops.cpp,
ggml_rope_cache_init, rope_yarn and rotate_pairs, FMAs from GCC 12's code for x86-64-v3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refgguf.kernels.dots.tiles import fma_plain
from refgguf.kernels.jit import inline, kernel
from refgguf.kernels.simd import fma


@dataclass(frozen=True)
class RopeScaling:
    """How angles are stretched for contexts longer than the model was first trained on.

    Attributes:
        scale: angles are multiplied by this (1 / the metadata's scaling factor).
        yarn: weight of YaRN's mix of stretched and unstretched angles; 0 stretches all alike.
        attention_factor: multiplies cosine and sine.
        beta_fast, beta_slow: number of turns over the original context at which the mix begins and ends.
        original_context: context length of the first training, in tokens.
    """

    scale: float = 1.0
    yarn: float = 0.0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    original_context: int = 0

    def ramp_limits(self, n_rot: int, base: float) -> tuple[float, float]:
        """Return the channel numbers between which YaRN's mix goes from unstretched to stretched."""

        def channel(turns: float) -> float:
            return n_rot * math.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

        if self.yarn == 0:
            return 0.0, 0.0
        return max(0.0, math.floor(channel(self.beta_fast))), min(
            n_rot - 1.0, math.ceil(channel(self.beta_slow))
        )


@inline
def _unstretched_share(pair, low, high):
    """Return how much of a pair's angle YaRN leaves unstretched: 1 before the ramp, 0 behind it."""
    one = np.float32(1)
    y = (np.float32(pair) - low) / max(np.float32(0.001), high - low)
    return one - min(one, max(np.float32(0), y))


@kernel
def _angles(positions, factors, theta_step, scale, yarn, mscale, low, high, cos, sin):
    n_tokens, n_pairs = cos.shape
    one = np.float32(1)
    for t in range(n_tokens):
        theta = np.float32(positions[t])
        for i in range(n_pairs):
            unstretched = theta / factors[i]
            angle = scale * unstretched
            if yarn != 0:
                mix = _unstretched_share(i, low, high) * yarn
                angle = angle * (one - mix) + unstretched * mix
            cos[t, i] = np.float32(math.cos(angle)) * mscale
            sin[t, i] = np.float32(math.sin(angle)) * mscale
            theta = theta * theta_step


@kernel
def _fused_angles(positions, factors, base, scale, yarn, mscale, low, high, cos, sin):
    n_tokens, n_pairs = cos.shape
    one = np.float32(1)
    theta_step = base ** (np.float32(-2) / np.float32(2 * n_pairs))
    if yarn != 0:
        mscale = mscale * fma(np.float32(0.1), np.float32(math.log(one / scale)), one)
    for t in range(n_tokens):
        theta = np.float32(positions[t])
        for i in range(n_pairs):
            unstretched = theta / factors[i]
            angle = scale * unstretched
            if yarn != 0:
                mix = _unstretched_share(i, low, high) * yarn
                angle = fma(angle, one - mix, unstretched * mix)
            cos[t, i] = np.float32(math.cos(angle)) * mscale
            sin[t, i] = np.float32(math.sin(angle)) * mscale
            theta = theta * theta_step


@kernel
def _rotate(x, cos, sin, first_stride, partner, n_rot, out):
    n_tokens, n_heads, d = x.shape
    for t in range(n_tokens):
        for h in range(n_heads):
            for i in range(n_rot // 2):
                j = i * first_stride
                a = x[t, h, j]
                b = x[t, h, j + partner]
                out[t, h, j] = a * cos[t, i] - b * sin[t, i]
                out[t, h, j + partner] = a * sin[t, i] + b * cos[t, i]
            for j in range(n_rot, d):
                out[t, h, j] = x[t, h, j]


@kernel
def _fused_rotate(x, cos, sin, first_stride, partner, n_rot, out):
    n_tokens, n_heads, d = x.shape
    n_pairs = n_rot // 2
    n_fused = n_pairs if first_stride == 1 else n_pairs // 2 * 2
    for t in range(n_tokens):
        for h in range(n_heads):
            for i in range(n_pairs):
                j = i * first_stride
                a, b, c, s = x[t, h, j], x[t, h, j + partner], cos[t, i], sin[t, i]
                if i >= n_fused:
                    out[t, h, j], out[t, h, j + partner] = a * c - b * s, a * s + b * c
                else:
                    out[t, h, j] = fma(a, c, -(b * s))
                    out[t, h, j + partner] = fma(a, s, b * c)
            for j in range(n_rot, d):
                out[t, h, j] = x[t, h, j]


def rope_angles(
    positions: np.ndarray,
    n_rot: int,
    base: float,
    factors: np.ndarray | None = None,
    scaling: RopeScaling | None = None,
    numerics: str = "exact",
) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosine and sine of every angle.

    Args:
        positions: (token,) integers.
        n_rot: how many channels turn; even.
        base: the frequency base, such as 10000.
        factors: (n_rot / 2,) float32 that divide the angles, or None.
        scaling: context extension, or None.
        numerics: "exact" or "llama.cpp".

    Returns:
        Two (token, n_rot / 2) float32 arrays.
    """
    scaling = scaling or RopeScaling()
    low, high = scaling.ramp_limits(n_rot, base)
    mscale = np.float32(scaling.attention_factor)
    cos = np.empty((len(positions), n_rot // 2), np.float32)
    sin = np.empty_like(cos)
    positions = np.ascontiguousarray(positions, np.int64)
    ones = np.ones(n_rot // 2, np.float32) if factors is None else np.ascontiguousarray(factors, np.float32)
    scale, yarn, low, high = (np.float32(x) for x in (scaling.scale, scaling.yarn, low, high))
    if numerics == "llama.cpp":
        _fused_angles(positions, ones, np.float32(base), scale, yarn, mscale, low, high, cos, sin)
        return cos, sin
    if scaling.yarn:
        mscale = np.float32(mscale * np.float32(1.0 + 0.1 * math.log(1.0 / scaling.scale)))
    step = np.power(np.float32(base), np.float32(-2.0 / n_rot))
    _angles(positions, ones, np.float32(step), scale, yarn, mscale, low, high, cos, sin)
    return cos, sin


def rotate(
    x: np.ndarray, cos: np.ndarray, sin: np.ndarray, style: str, numerics: str = "exact"
) -> np.ndarray:
    """Turn each pair of channels by its angle.

    Args:
        x: (token, head, d_head) float32.
        cos: (token, n_rot / 2) float32 from `rope_angles`.
        sin: the same for the sine.
        style: "interleaved" or "split".
        numerics: "exact" or "llama.cpp".

    Returns:
        A new array of x's shape.

    Exactness: bit-equal to rotate_plain.
    """
    n_rot = 2 * cos.shape[1]
    out = np.empty(x.shape, np.float32)
    stride, partner = (2, 1) if style == "interleaved" else (1, n_rot // 2)
    run = _fused_rotate if numerics == "llama.cpp" else _rotate
    run(np.ascontiguousarray(x, np.float32), cos, sin, stride, partner, n_rot, out)
    return out


def rotate_plain(
    x: np.ndarray, cos: np.ndarray, sin: np.ndarray, style: str, numerics: str = "exact"
) -> np.ndarray:
    """Do what `rotate` does, in NumPy."""
    n_rot = 2 * cos.shape[1]
    first = slice(0, n_rot, 2) if style == "interleaved" else slice(0, n_rot // 2)
    second = slice(1, n_rot, 2) if style == "interleaved" else slice(n_rot // 2, n_rot)
    a, b = x[:, :, first], x[:, :, second]
    c, s = cos[:, None, :], sin[:, None, :]
    out = x.copy()
    out[:, :, first] = a * c - b * s
    out[:, :, second] = a * s + b * c
    if numerics == "llama.cpp":
        n = n_rot // 2 if style == "split" else n_rot // 4 * 2
        out[:, :, first][..., :n] = fma_plain(a, c, -(b * s))[..., :n]
        out[:, :, second][..., :n] = fma_plain(a, s, b * c)[..., :n]
    return out
