"""One branch of a layer: a block with what stands before and after it.

y = scale · post_norm(block(norm(x)))        each of the three only where the model has it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare

# what a block's result is called while a norm or a scale still follows
RAW_NAMES = {"attn_out": "attn_output", "ffn_out": "ffn_down", "ffn_exps": "ffn_moe_out"}


@dataclass(frozen=True)
class Branch:
    """A block between norms.

    Attributes:
        d_model: channels of the residual stream.
        block: the block.
        normed: name of the tap of what the block reads, such as "attn_norm".
        norm: the norm before the block, or None.
        tensor: name of that norm's tensors.
        post_norm: the norm after the block, or None.
        post_tensor: name of that norm's tensors.
        scale: multiplies the result.
    """

    d_model: int
    block: Block
    normed: str
    norm: Norm | None
    tensor: str
    post_norm: Norm | None = None
    post_tensor: str = ""
    scale: float = 1.0

    @property
    def out(self) -> str:
        """Local name of the tap of its result."""
        return self.block.out

    @property
    def source(self) -> str | None:
        """Local name of the tap of what the block reads; None if that is the stream itself."""
        return self.normed if self.norm else None

    @cached_property
    def _block(self) -> Block:
        """The block, its result named for what follows."""
        if self.post_norm is None and self.scale == 1:
            return self.block
        return replace(self.block, out=self._raw)

    @property
    def _raw(self) -> str:
        return RAW_NAMES.get(self.out, f"{self.out}_raw")

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        needs = self.norm.needs(self.tensor, self.d_model) if self.norm else []
        needs += self.post_norm.needs(self.post_tensor, self.d_model) if self.post_norm else []
        return needs + self.block.needs()

    def taps(self, layer: int, stream: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: number of the layer.
            stream: local name of the tap that it reads.
        """
        if self.norm:
            yield declare(
                self.normed,
                inputs=[stream],
                weights=self.norm.weights(self.tensor),
                formula=self.norm.formula,
                layer=layer,
                llama_cpp=None
                if self.tensor == self.normed
                else self.tensor.replace("post_attention", "attn_post"),
            )
        yield from self._block.taps(layer, self.source or stream)
        if self._block.out != self.out:
            formula = self.post_norm.formula if self.post_norm else "x"
            weights = self.post_norm.weights(self.post_tensor) if self.post_norm else ()
            yield declare(
                self.out,
                inputs=[self._raw],
                weights=weights,
                formula=formula if self.scale == 1 else f"{formula} · {self.scale:.4g}",
                layer=layer,
                llama_cpp=self.out.replace("_out", "_post_norm") if self.post_norm else "",
            )

    def new_state(self) -> Any:
        """Return what its block keeps between calls, empty."""
        return self.block.new_state()

    def enter(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return what the block reads, (token, d_model) float32."""
        return s.tap(self.normed, self.norm(x, s, self.tensor)) if self.norm else x

    def run(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the block on what it reads, and what follows it: (token, d_model) float32."""
        y = self._block(x, s)
        if self._block.out == self.out:
            return y
        y = self.post_norm(y, s, self.post_tensor) if self.post_norm else y
        return s.tap(self.out, y if self.scale == 1 else y * np.float32(self.scale))
