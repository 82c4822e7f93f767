"""Experts that work in fewer channels than the residual stream has (Nemotron 3: NVIDIA 2025).

y = experts(x Wdown) Wup        the router reads x itself; in Kimi K3, Wup what a norm gives
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.moe import MixtureOfExperts
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.taps import Tap, Word, declare

WORDS = {
    "ffn_latent": Word("token d_latent", "ffn", "what the experts read: fewer channels", ""),
    "ffn_latent_norm": Word("token d_latent", "norm", "what the experts give, normed", ""),
    "ffn_latent_out": Word("token d_model", "ffn", "what the experts give, in all channels", ""),
}


@dataclass(frozen=True)
class LatentExperts(Block):
    """A mixture of experts between two matrices.

    Attributes:
        d_model: channels of the residual stream.
        experts: the experts; their `d_model` is the number of fewer channels, that of their router all channels.
        source: local name of the tap that the block reads.
        tensors: what the names of its tensors begin with.
        norm: norm of what the experts give, or None.
        out: name of the result's tap.
    """

    d_model: int
    experts: MixtureOfExperts
    source: str = "ffn_norm"
    tensors: str = "ffn_latent"
    norm: Norm | None = None
    out: str = "ffn_latent_out"

    @property
    def _inner(self) -> MixtureOfExperts:
        return replace(self.experts, router=replace(self.experts.router, reads=self.source))

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d, latent = self.d_model, self.experts.d_model
        needs = linear_needs(f"{self.tensors}_down", latent, d) + linear_needs(
            f"{self.tensors}_up", d, latent
        )
        needs += self.norm.needs(f"{self.tensors}_norm", latent) if self.norm else []
        return needs + self._inner.needs()

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield declare(
            "ffn_latent",
            inputs=[source],
            weights=linear_weights(f"{self.tensors}_down"),
            formula="x · Wdownᵀ",
            layer=layer,
            word=WORDS["ffn_latent"],
        )
        yield from self._inner.taps(layer, "ffn_latent")
        given = self.experts.out
        if self.norm:
            weights, word = self.norm.weights(f"{self.tensors}_norm"), WORDS["ffn_latent_norm"]
            normed = {"weights": weights, "formula": self.norm.formula, "word": word}
            yield declare("ffn_latent_norm", inputs=[given], layer=layer, **normed)
            given = "ffn_latent_norm"
        yield declare(
            self.out,
            inputs=[given],
            weights=linear_weights(f"{self.tensors}_up"),
            formula="y · Wupᵀ",
            layer=layer,
            word=WORDS["ffn_latent_out"],
        )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Send each token to its experts: (token, d_model) → (token, d_model) float32."""
        s.common[self.source] = x
        latent = s.tap("ffn_latent", s.linear(x, f"{self.tensors}_down"))  # (token, d_latent)
        y = self._inner(latent, s)
        if self.norm:
            y = s.tap("ffn_latent_norm", self.norm(y, s, f"{self.tensors}_norm"))
        return s.tap(self.out, s.linear(y, f"{self.tensors}_up"))
