"""A short convolution between two gates (LFM2: Liquid AI 2025).

b, c, x = u Win
y       = c · conv(b · x)        each channel over the last few tokens
out     = y Wout
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.memory import Memory
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.scan import causal_conv
from refgguf.taps import Tap, Word, declare

NAMES = "model.layers.{}.conv."  # what llama.cpp writes before its own, braces and all
WORDS = {
    "in_proj": Word("token channel", "qkv", "both gates and the input, from one matrix", f"{NAMES}in_proj"),
    "b": Word("token d_model", "qkv", "gate before the convolution"),
    "c": Word("token d_model", "qkv", "gate after the convolution"),
    "x": Word("token d_model", "qkv", "input of the convolution before its gate"),
    "bx": Word("token d_model", "qkv", "what the convolution reads"),
    "state": Word("slot d_model", "state", "the last tokens, for the next convolution"),
    "conv": Word("token d_model", "qkv", "each channel mixed with the tokens just before", f"{NAMES}conv"),
    "gated": Word("token d_model", "qkv", "convolution, gated"),
    "out": Word("token d_model", "residual", "what the convolution adds", f"{NAMES}out_proj"),
}


@dataclass(frozen=True)
class ShortConv(Block):
    """A convolution over a few tokens, gated on both sides.

    Attributes:
        d_model: channels of the residual stream.
        d_conv: tokens that the convolution sees.
        out: name of the result's tap.
    """

    d_model: int
    d_conv: int
    out: str = "shortconv.out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d = self.d_model
        needs = [
            *linear_needs("shortconv.in_proj", 3 * d, d),
            Need("shortconv.conv.weight", (d, self.d_conv)),
        ]
        return needs + linear_needs("shortconv.out_proj", d, d)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: str, formula: str, *weights: str) -> Tap:
            names = [f"shortconv.{i}" for i in inputs.split()] or [source]
            full = self.out if name == "out" else f"shortconv.{name}"
            word = WORDS[name]
            return declare(full, inputs=names, formula=formula, weights=weights, layer=layer, word=word)

        yield tap("in_proj", "", "x · Winᵀ", *linear_weights("shortconv.in_proj"))
        for name, which in zip("bcx", ("first", "second", "last"), strict=True):
            yield tap(name, "in_proj", f"{which} third of in_proj")
        yield tap("bx", "b x", "b · x")
        yield tap("state", "bx", "the last tokens of what the convolution reads")
        yield tap("conv", "bx", "Σ over the last tokens: bx · w", "shortconv.conv.weight")
        yield tap("gated", "c conv", "c · conv")
        yield tap("out", "gated", "y · Woutᵀ", *linear_weights("shortconv.out_proj"))

    def new_state(self) -> Memory:
        """Return an empty memory."""
        return Memory(conv=np.zeros((self.d_conv - 1, self.d_model), np.float32))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix tokens: (token, d_model) → (token, d_model) float32."""
        parts = np.split(s.tap("shortconv.in_proj", s.linear(x, "shortconv.in_proj")), 3, axis=1)
        b, c, x = (s.tap(f"shortconv.{name}", part.copy()) for name, part in zip("bcx", parts, strict=True))
        bx = s.tap("shortconv.bx", b * x)  # (token, d_model)
        y, kept = causal_conv(bx, s.state["conv"], s.vector("shortconv.conv.weight"), s.numerics)
        s.state["conv"] = s.tap("shortconv.state", kept)
        y = s.tap("shortconv.gated", c * s.tap("shortconv.conv", y))
        return s.tap(self.out, s.linear(y, "shortconv.out_proj"))
