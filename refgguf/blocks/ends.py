"""Both ends of a model: tokens → residual stream, residual stream → scores of the next token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Embedding:
    """Token embedding, with learned positions where the model has them.

    Attributes:
        n_vocab: vocabulary size.
        d_model: channels.
        scale: multiplies the token embedding.
        n_positions: how many learned positions there are; 0 for none.
    """

    n_vocab: int
    d_model: int
    scale: float = 1.0
    n_positions: int = 0

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        needs = [Need("token_embd.weight", (self.n_vocab, self.d_model))]
        if self.n_positions:
            needs.append(Need("position_embd.weight", (self.n_positions, self.d_model)))
        return needs

    def taps(self) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        table = ["token_embd.weight"]
        if self.scale == 1:
            yield declare("embed", inputs=[], weights=table, formula="the token's row of the table")
        else:
            yield declare("token_embd", inputs=[], weights=table, formula="the token's row of the table")
            yield declare("embed", inputs=["token_embd"], formula=f"row · {self.scale:.5g}", llama_cpp="inp_scaled")
        if self.n_positions:
            yield declare(
                "pos_embed", inputs=[], weights=["position_embd.weight"], formula="the position's row of the table"
            )

    @property
    def outputs(self) -> list[str]:
        """Names of the taps whose sum enters the first layer."""
        return ["embed", "pos_embed"] if self.n_positions else ["embed"]

    def __call__(self, s: Scope) -> np.ndarray:
        """Look the tokens up: (token, d_model) float32."""
        x = s.weights.rows("token_embd.weight", s.tokens)
        if self.scale != 1:
            x = s.tap("token_embd", x) * np.float32(self.scale)
        x = s.tap("embed", x)
        if self.n_positions:
            x = x + s.tap("pos_embed", s.weights.rows("position_embd.weight", s.positions))
        return x


@dataclass(frozen=True)
class Head:
    """Final norm and output matrix.

    Attributes:
        n_vocab: vocabulary size.
        d_model: channels.
        norm: the final norm.
        matrix: name of the output matrix without ".weight"; "token_embd" where the embedding serves as such.
        softcap: logits are bent to softcap · tanh(logits / softcap); 0 for not at all.
        scale: multiplies the logits.
    """

    n_vocab: int
    d_model: int
    norm: Norm
    matrix: str = "output"
    softcap: float = 0.0
    scale: float = 1.0

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.norm.needs("output_norm", self.d_model) + linear_needs(self.matrix, self.n_vocab, self.d_model)

    def taps(self, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        yield declare(
            "final_norm", inputs=[source], weights=self.norm.weights("output_norm"), formula=self.norm.formula
        )
        weights = linear_weights(self.matrix)
        if self.softcap or self.scale != 1:
            formula = "raw" if self.scale == 1 else f"raw · {self.scale:.4g}"
            formula = f"{self.softcap:g} · tanh({formula} / {self.softcap:g})" if self.softcap else formula
            yield declare("logits_raw", inputs=["final_norm"], weights=weights, formula="x · Woutputᵀ")
            yield declare("logits", inputs=["logits_raw"], formula=formula)
        else:
            yield declare("logits", inputs=["final_norm"], weights=weights, formula="x · Woutputᵀ")

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Score every vocabulary entry: (token, d_model) → (token, vocab) float32."""
        x = s.tap("final_norm", self.norm(x, s, "output_norm"))
        logits = s.linear(x, self.matrix)
        if self.softcap or self.scale != 1:
            logits = s.tap("logits_raw", logits) * np.float32(self.scale)
        if self.softcap:
            cap = np.float32(self.softcap)
            logits = cap * np.tanh(logits / cap)
        return s.tap("logits", logits)
