"""A transformer layer: attention and feed-forward network around the residual stream.

    pre-norm      x ← x + attention(norm(x));         x ← x + ffn(norm(x))
    sandwich      x ← x + norm(attention(norm(x)));   x ← x + norm(ffn(norm(x)))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare

# names of a norm's tensors in the file, by the tap that it follows
POST_NORMS = {"attn_out": ("attn_output", "post_attention_norm"), "ffn_out": ("ffn_down", "post_ffw_norm")}


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        d_model: channels of the residual stream.
        attention: the block that mixes tokens.
        ffn: the block that works on each token alone.
        norm: the norm before each of them.
        post_norm: the norm after each of them, or None.
    """

    d_model: int
    attention: Any
    ffn: Any
    norm: Norm
    post_norm: Norm | None = None

    def _parts(self) -> tuple[Any, Any]:
        """Return attention and feed-forward network, their results named for what follows."""
        if self.post_norm is None:
            return self.attention, self.ffn
        return replace(self.attention, out="attn_output"), replace(self.ffn, out="ffn_down")

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        needs = self.norm.needs("attn_norm", self.d_model) + self.norm.needs("ffn_norm", self.d_model)
        if self.post_norm:
            for _, tensor in POST_NORMS.values():
                needs += self.post_norm.needs(tensor, self.d_model)
        return needs + self.attention.needs() + self.ffn.needs()

    def taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: its number.
            sources: full names of the taps whose sum enters it.
        """
        attention, ffn = self._parts()
        yield declare(
            "resid_pre",
            inputs=[f"/{name}" for name in sources],
            formula="what the last layer left" if layer else " + ".join(sources),
            llama_cpp="/inpL" if len(sources) > 1 else None,
            layer=layer,
        )
        yield self._norm_tap("attn_norm", "resid_pre", layer)
        yield from attention.taps(layer, "attn_norm")
        if self.post_norm:
            yield self._post_norm_tap("attn_out", "attn_post_norm", layer)
        yield declare(
            "resid_mid",
            inputs=["resid_pre", "attn_out"],
            formula="resid_pre + attn_out",
            llama_cpp="sa_out" if self.post_norm else None,
            layer=layer,
        )
        yield self._norm_tap("ffn_norm", "resid_mid", layer)
        yield from ffn.taps(layer, "ffn_norm")
        if self.post_norm:
            yield self._post_norm_tap("ffn_out", "ffn_post_norm", layer)
        yield declare("resid_post", inputs=["resid_mid", "ffn_out"], formula="resid_mid + ffn_out", layer=layer)

    def _norm_tap(self, name: str, source: str, layer: int) -> Tap:
        weights = self.norm.weights(name)
        return declare(name, inputs=[source], weights=weights, formula=self.norm.formula, layer=layer)

    def _post_norm_tap(self, name: str, llama_cpp: str, layer: int) -> Tap:
        source, tensor = POST_NORMS[name]
        return declare(
            name,
            inputs=[source],
            weights=self.post_norm.weights(tensor),
            formula=self.post_norm.formula,
            llama_cpp=llama_cpp,
            layer=layer,
        )

    def new_state(self) -> Any:
        """Return what attention keeps between calls."""
        return self.attention.new_state()

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        attention, ffn = self._parts()
        x = s.tap("resid_pre", x)
        y = attention(s.tap("attn_norm", self.norm(x, s, "attn_norm")), s)
        if self.post_norm:
            y = s.tap("attn_out", self.post_norm(y, s, "post_attention_norm"))
        x = s.tap("resid_mid", x + y)
        y = ffn(s.tap("ffn_norm", self.norm(x, s, "ffn_norm")), s)
        if self.post_norm:
            y = s.tap("ffn_out", self.post_norm(y, s, "post_ffw_norm"))
        return s.tap("resid_post", x + y)
