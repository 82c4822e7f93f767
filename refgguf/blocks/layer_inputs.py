"""An embedding of its own for every layer (Gemma 3n): what each layer is told of its tokens once more.

once, before the layers:     p = (norm(embed Wmodel / √d_model) + row · √d) / √2      row: the token's, of all layers
at the end of layer l:       x ← x + norm((gelu(x Wgate) · p[l]) Wproj)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.blocks.step import Step
from refgguf.kernels.ops.activation import activation
from refgguf.taps import Tap, Word, declare

TABLE, MATRIX, NORM = "per_layer_token_embd", "per_layer_model_proj", "per_layer_proj_norm"
WORDS = {
    "layer_embed": Word(
        "token layer channel", "norm", "the token's rows of the layers' tables", "inp_per_layer_selected"
    ),
    "layer_proj": Word(
        "token layer channel", "norm", "the embedding, as each layer sees it", "per_layer_proj"
    ),
    "layer_inputs": Word(
        "token layer channel", "norm", "what each layer is told of its tokens", "inp_per_layer"
    ),
    "layer_gate": Word(
        "token channel", "norm", "how much of each channel of its own input a layer wants", ""
    ),
    "layer_gated": Word("token channel", "norm", "a layer's own input, gated", ""),
}


@dataclass(frozen=True)
class LayerInputs(Step):
    """What all layers are told, computed once; left in `Scope.common` as "layer_inputs".

    Attributes:
        d_model: channels of the residual stream.
        n_vocab: vocabulary size.
        n_layers: how many layers there are.
        d: channels of a layer's input.
        norm: norm of the projected embedding.
    """

    d_model: int
    n_vocab: int
    n_layers: int
    d: int
    norm: Norm

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        width = self.n_layers * self.d
        return [
            Need(f"{TABLE}.weight", (self.n_vocab, width)),
            Need(f"{MATRIX}.weight", (width, self.d_model)),
            *self.norm.needs(NORM, self.d),
        ]

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: list[str], formula: str, *weights: str) -> Tap:
            return declare(name, inputs=inputs, formula=formula, weights=weights, word=WORDS[name])

        yield tap("layer_embed", [], f"the token's row · {self.d**0.5:.4g}", f"{TABLE}.weight")
        weights = (f"{MATRIX}.weight", *self.norm.weights(NORM))
        yield tap("layer_proj", sources, f"x = embed · Wᵀ / √d_model; {self.norm.formula}", *weights)
        yield tap("layer_inputs", ["layer_proj", "layer_embed"], "(layer_proj + layer_embed) / √2")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Compute the inputs of all layers; returns the stream as it is."""
        shape = (len(x), self.n_layers, self.d)
        rows = s.weights.rows(f"{TABLE}.weight", s.tokens).reshape(shape) * np.float32(self.d**0.5)
        rows = s.tap("layer_embed", rows)
        y = s.weights.linear(x, f"{MATRIX}.weight") * np.float32(self.d_model**-0.5)
        y = s.tap("layer_proj", self.norm(y.reshape(shape), s, NORM))  # (token, layer, channel)
        s.common["layer_inputs"] = s.tap("layer_inputs", (y + rows) * np.float32(2**-0.5))
        return x


@dataclass(frozen=True)
class LayerInput(Block):
    """What one layer makes of its own input.

    Attributes:
        d_model: channels of the residual stream.
        d: channels of a layer's input.
        layer: number of the layer.
        act: activation function of the gate.
        out: name of the result's tap.
    """

    d_model: int
    d: int
    layer: int
    act: str = "gelu"
    out: str = "layer_embd"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return linear_needs("inp_gate", self.d, self.d_model) + linear_needs("proj", self.d_model, self.d)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""

        def tap(name: str, inputs: list[str], formula: str, *tensors: str) -> Tap:
            weights = linear_weights(*tensors)
            return declare(
                name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=WORDS.get(name)
            )

        yield tap("layer_gate", [source], f"{self.act}(x · Wgateᵀ)", "inp_gate")
        yield tap("layer_gated", ["layer_gate", "/layer_inputs"], "gate · layer_inputs[layer]")
        yield tap(self.out, ["layer_gated"], "y · Wprojᵀ", "proj")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Gate the layer's input and project it: (token, d_model) → (token, d_model) float32."""
        gate = s.tap(
            "layer_gate", activation(self.act, s.numerics)(s.linear(x, "inp_gate"))
        )  # (token, channel)
        gated = s.tap("layer_gated", gate * s.common["layer_inputs"][:, self.layer])
        return s.tap(self.out, s.linear(gated, "proj"))
