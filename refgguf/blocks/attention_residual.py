"""Attention over earlier layers: a branch reads not the stream alone but a mixture of it and of earlier ones (Kimi K3).

probs  = softmax over sources: norm(source) · w        sources: what entered every n-th layer so far, and the stream
x      = Σ over sources: probs · source                what the branch's norm reads

Where a layer's input is put by as a source, the stream starts anew from what attention gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.layer import Layer
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.attention import softmax
from refgguf.kernels.ops.norm import rms_norm
from refgguf.kernels.ops.sums import row_sums
from refgguf.taps import Tap, Word, declare

PROBS = Word("token source", "attention", "how much a branch takes from each earlier stream", "res_probs")
MIXED = Word("token d_model", "residual", "mixture of earlier streams and this one", "")
KEPT = "kept_streams"  # under which a pass keeps the sources


@dataclass(frozen=True)
class SourceMix:
    """The mixture of streams that a branch, or the head, reads.

    Attributes:
        d_model: channels of the residual stream.
        norm: norm of the sources, without weights.
        tensor: name of the tensor that scores them, a leading / for one outside the layers.
        name: what the names of its taps begin with.
        sources: full names of the taps of the streams put by so far.
    """

    d_model: int
    norm: Norm
    tensor: str
    name: str
    sources: tuple[str, ...]

    @property
    def out(self) -> str:
        """Local name of the tap of the mixture."""
        return f"{self.name}_mix"

    def needs(self) -> list[Need]:
        """Return the tensor that it works with."""
        return [Need(f"{self.tensor}.weight", (self.d_model,))]

    def taps(self, layer: int, stream: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; `stream` is the local name of the stream's."""
        inputs, probs = [*(f"/{source}" for source in self.sources), stream], f"{self.name}_probs"
        outside = self.tensor.startswith("/")
        yield declare(
            probs,
            inputs=inputs,
            weights=[f"{self.tensor}.weight"],
            formula="softmax over sources: Σ x / √(mean(x²) + ε) · w",
            layer=layer,
            word=PROBS,
            llama_cpp="/res_probs" if outside else None,
        )
        formula = "Σ over sources: probs · x"
        yield declare(self.out, inputs=[probs, *inputs], formula=formula, layer=layer, word=MIXED)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix the sources and the stream x, (token, d_model): (token, d_model) float32."""
        outside = self.tensor.startswith("/")
        weight = (
            s.weights.vector(f"{self.tensor[1:]}.weight") if outside else s.vector(f"{self.tensor}.weight")
        )
        streams = [*s.common[KEPT], x]
        scores = np.stack(
            [row_sums(rms_norm(stream, weight, self.norm.eps), s.numerics)[:, 0] for stream in streams],
            axis=1,
        )
        probs = s.tap(f"{self.name}_probs", softmax(scores, order=s.order()))  # (token, source)
        total = streams[0] * probs[:, :1]
        for number, stream in enumerate(streams[1:], 1):
            total = total + stream * probs[:, number : number + 1]
        return s.tap(self.out, total)


@dataclass(frozen=True)
class SourcedLayer(Layer):
    """A layer whose branches read mixtures of streams.

    Attributes:
        attn_mix: mixture before the token mixer; None while there is nothing to mix.
        ffn_mix: mixture before the feed-forward network.
        keeps: what enters this layer is put by as a source.
    """

    attn_mix: SourceMix | None = None
    ffn_mix: SourceMix | None = None
    keeps: bool = False

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *super().needs(),
            *(need for mix in (self.attn_mix, self.ffn_mix) if mix for need in mix.needs()),
        ]

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        inputs = [f"/{name}" for name in sources]
        formula = "what the last layer left" if layer else " + ".join(sources)
        yield declare("resid_pre", inputs=inputs, formula=formula, layer=layer)
        if self.attn_mix:
            yield from self.attn_mix.taps(layer, "resid_pre")
        yield from self.mixer.taps(layer, self.attn_mix.out if self.attn_mix else "resid_pre")
        terms = [self.mixer.out] if self.keeps else ["resid_pre", self.mixer.out]
        yield declare("resid_mid", inputs=terms, formula=" + ".join(terms), layer=layer)
        yield from self.ffn_mix.taps(layer, "resid_mid")
        yield from self.ffn.taps(layer, self.ffn_mix.out)
        terms = ["resid_mid", self.ffn.out]
        yield declare("resid_post", inputs=terms, formula=" + ".join(terms), layer=layer)
        if self.after:
            yield from self.after.taps(layer, "resid_post")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        x = s.tap("resid_pre", x)
        mixed = self.attn_mix(x, s) if self.attn_mix else x
        if self.keeps:
            s.common[KEPT] = (*s.common.get(KEPT, ()), x)
        y = self.mixer.run(self.mixer.enter(mixed, s), s.with_state(s.state[0]))
        x = s.tap("resid_mid", y if self.keeps else x + y)
        mixed = self.ffn_mix(x, s)
        y = self.ffn.run(self.ffn.enter(mixed, s), s.with_state(s.state[1]))
        x = s.tap("resid_post", x + y)
        return self.after(x, s) if self.after else x
