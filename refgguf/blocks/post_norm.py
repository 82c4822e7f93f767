"""A transformer layer that norms the residual stream itself after each addition (Vaswani et al. 2017; BERT).

x ← norm(x + mixer(x));                        x ← norm(x + ffn(x))
x ← norm'(x + norm(x + mixer(x)))              for the first half, where the stream is added once more
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.layer import Layer
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, Word, declare

WORDS = {
    "resid_mid_sum": Word("token d_model", "residual", "residual stream and attention together, before the norm"),
    "attn_out_norm": Word("token d_model", "norm", "the same, normed, before the stream is added once more"),
    "resid_mid_sum_2": Word("token d_model", "residual", "normed attention and the residual stream together"),
    "resid_post_sum": Word("token d_model", "residual", "residual stream and neurons together, before the norm"),
}  # fmt: skip


@dataclass(frozen=True)
class PostNormLayer(Layer):
    """One layer whose norms stand on the stream; both branches are there, without norms of their own.

    Attributes:
        norm: the norms.
        again: the stream is added, and the sum normed, once more after attention (tensors `attn_norm_2`).
    """

    norm: Norm | None = None
    again: bool = False

    @property
    def _norms(self) -> dict[str, str]:
        """Tensors of each norm by the tap of its result."""
        if self.again:
            return {
                "attn_out_norm": "attn_output_norm",
                "resid_mid": "attn_norm_2",
                "resid_post": "layer_output_norm",
            }
        return {"resid_mid": "attn_output_norm", "resid_post": "layer_output_norm"}

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        norms = [self.norm.needs(tensor, self.mixer.d_model) for tensor in self._norms.values()]
        return super().needs() + [need for needs in norms for need in needs]

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        formula = "what the last layer left" if layer else " + ".join(sources)
        inputs = [f"/{name}" for name in sources]
        yield declare("resid_pre", inputs=inputs, formula=formula, layer=layer)
        yield from self.mixer.taps(layer, "resid_pre")
        yield _sum("resid_mid_sum", ["resid_pre", self.mixer.out], layer)
        if self.again:
            yield self._normed("attn_out_norm", "resid_mid_sum", layer)
            yield _sum("resid_mid_sum_2", ["attn_out_norm", "resid_pre"], layer)
        yield self._normed("resid_mid", "resid_mid_sum_2" if self.again else "resid_mid_sum", layer)
        yield from self.ffn.taps(layer, "resid_mid")
        yield _sum("resid_post_sum", [self.ffn.out, "resid_mid"], layer)
        yield self._normed("resid_post", "resid_post_sum", layer)

    def _normed(self, name: str, source: str, layer: int) -> Tap:
        weights = self.norm.weights(self._norms[name])
        word, formula = WORDS.get(name), self.norm.formula
        return declare(name, inputs=[source], weights=weights, formula=formula, layer=layer, word=word)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        x = s.tap("resid_pre", x)
        mixed = self.mixer.run(x, s.with_state(s.state[0]))
        middle = s.tap("resid_mid_sum", mixed + x)
        if self.again:
            middle = s.tap("attn_out_norm", self._norm_to("attn_out_norm", middle, s))
            middle = s.tap("resid_mid_sum_2", middle + x)
        x = s.tap("resid_mid", self._norm_to("resid_mid", middle, s))
        worked = self.ffn.run(x, s.with_state(s.state[1]))
        total = s.tap("resid_post_sum", worked + x)
        return s.tap("resid_post", self._norm_to("resid_post", total, s))

    def _norm_to(self, name: str, x: np.ndarray, s: Scope) -> np.ndarray:
        return self.norm(x, s, self._norms[name])


def _sum(name: str, terms: list[str], layer: int) -> Tap:
    return declare(name, inputs=terms, formula=" + ".join(terms), layer=layer, word=WORDS[name])
