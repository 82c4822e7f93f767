"""Both ends of a model: tokens → residual stream, residual stream → scores of the next token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_weights
from refgguf.kernels.ops.activation import softcap
from refgguf.taps import Tap, declare


@dataclass(frozen=True)
class Embedding:
    """Token embedding, with learned positions where the model has them.

    Attributes:
        n_vocab: vocabulary size.
        d_model: channels.
        scale: multiplies the token embedding.
        norm: norm of the token embedding, or None.
        n_positions: how many learned positions there are; 0 for none.
        table: name of the embedding matrix without ".weight".
        substitutes: tokens that are looked up as others.
    """

    n_vocab: int
    d_model: int
    scale: float = 1.0
    norm: Norm | None = None
    n_positions: int = 0
    table: str = "token_embd"
    substitutes: Mapping[int, int] = field(default_factory=dict)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        needs = [Need(f"{self.table}.weight", (self.n_vocab, self.d_model))]
        needs += self.norm.needs("token_embd_norm", self.d_model) if self.norm else []
        if self.n_positions:
            needs.append(Need("position_embd.weight", (self.n_positions, self.d_model)))
        return needs

    def taps(self) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        table, row = [f"{self.table}.weight"], "the token's row of the table"
        row += ", or that of the token it is read as" if self.substitutes else ""
        if self.norm is None and self.scale == 1:
            yield declare("embed", inputs=[], weights=table, formula=row)
        else:
            yield declare("token_embd", inputs=[], weights=table, formula=row)
            scaled = "row" if self.scale == 1 else f"row · {self.scale:.5g}"
            yield declare(
                "embed",
                inputs=["token_embd"],
                weights=self.norm.weights("token_embd_norm") if self.norm else (),
                formula=f"x = {scaled}; {self.norm.formula}" if self.norm else scaled,
                llama_cpp="inp_norm" if self.norm else "inp_scaled",
            )
        if self.n_positions:
            yield declare(
                "pos_embed",
                inputs=[],
                weights=["position_embd.weight"],
                formula="the position's row of the table",
            )

    @property
    def outputs(self) -> list[str]:
        """Names of the taps whose sum enters the first layer."""
        return ["embed", "pos_embed"] if self.n_positions else ["embed"]

    def __call__(self, s: Scope) -> np.ndarray:
        """Look the tokens up: (token, d_model) float32."""
        tokens = s.tokens
        if self.substitutes:
            tokens = np.array([self.substitutes.get(int(token), int(token)) for token in tokens])
        x = s.weights.rows(f"{self.table}.weight", tokens)
        if self.norm is not None or self.scale != 1:
            x = s.tap("token_embd", x)
            x = x if self.scale == 1 else x * np.float32(self.scale)
            x = self.norm(x, s, "token_embd_norm") if self.norm else x
        x = s.tap("embed", x)
        if self.n_positions:
            x = x + s.tap("pos_embed", s.weights.rows("position_embd.weight", s.positions))
        return x


@dataclass(frozen=True)
class Head:
    """Final norm and output matrix.

    Attributes:
        n_outputs: rows of the output matrix.
        d_model: channels.
        norm: the final norm; None where the stream comes normed.
        matrix: name of the output matrix without ".weight"; "token_embd" where the embedding serves as such.
        softcap: logits are bent to softcap · tanh(logits / softcap); 0 for not at all.
        scale: multiplies the logits.
        n_unscored: entries of the vocabulary that come before those of the output matrix and never follow.
        silent: numbers of the first vocabulary entry whose score is put below all others, and of the one behind the
            last such.
        norm_tensor: name of the final norm's tensors.
    """

    n_outputs: int
    d_model: int
    norm: Norm | None
    matrix: str = "output"
    softcap: float = 0.0
    scale: float = 1.0
    n_unscored: int = 0
    silent: tuple[int, int] = (0, 0)
    norm_tensor: str = "output_norm"

    scores_vocabulary: ClassVar[bool] = True

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *(self.norm.needs(self.norm_tensor, self.d_model) if self.norm else ()),
            Need(f"{self.matrix}.weight", (self.n_outputs, self.d_model)),
            Need("output.bias", (self.n_outputs,), optional=True),
            Need("output.scale", (1,), optional=True),
        ]

    @property
    def _bends(self) -> bool:
        return bool(self.softcap or self.scale != 1 or self.n_unscored or any(self.silent))

    def taps(self, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        if self.norm:
            weights = self.norm.weights(self.norm_tensor)
            yield declare("final_norm", inputs=[source], weights=weights, formula=self.norm.formula)
        weights = [f"{self.matrix}.weight", *linear_weights("output")[1:]]
        matrix = "x · Woutputᵀ"
        if not self._bends:
            yield declare("logits", inputs=["final_norm"], weights=weights, formula=matrix)
            return
        yield declare("logits_raw", inputs=["final_norm"], weights=weights, formula=matrix)
        formula = "raw" if self.scale == 1 else f"raw · {self.scale:.4g}"
        formula = f"{self.softcap:g} · tanh({formula} / {self.softcap:g})" if self.softcap else formula
        formula += f" after {self.n_unscored} × −∞" if self.n_unscored else ""
        formula += " but {} … {}: the least number".format(*self.silent) if any(self.silent) else ""
        yield declare("logits", inputs=["logits_raw"], formula=formula)

    def final(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return each token's vector, (token, d_model) float32."""
        return s.tap("final_norm", self.norm(x, s, self.norm_tensor)) if self.norm else x

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Score every vocabulary entry: (token, d_model) → (token, vocab) float32."""
        x = self.final(x, s)
        logits = s.weights.linear(x, f"{self.matrix}.weight")
        if (scale := s.optional("output.scale")) is not None:
            logits = logits * scale
        if (bias := s.optional("output.bias")) is not None:
            logits = logits + bias
        if self._bends:
            logits = s.tap("logits_raw", logits)
        if self.scale != 1:
            logits = logits * np.float32(self.scale)
        if self.softcap:
            logits = softcap(logits, self.softcap)
        if self.n_unscored:
            logits = np.pad(logits, ((0, 0), (self.n_unscored, 0)), constant_values=-np.inf)
        if any(self.silent):
            logits = logits.copy()
            logits[:, slice(*self.silent)] = np.finfo(np.float32).min
        return s.tap("logits", logits)

    def reads(self, x: np.ndarray, s: Scope, entry: int) -> tuple[np.ndarray, float]:
        """Return what the score of one vocabulary entry reads from the stream, the norm's divisor held at that of x.

        Args:
            x: (d_model,) residual stream of one token.
            s: the weights.
            entry: number of the vocabulary entry.

        Returns:
            direction (d_model,) float64 and constant, so that direction · x + constant is the score before any cap.
        """
        x = np.asarray(x, np.float64)
        row = s.weights.rows(f"{self.matrix}.weight", np.array([entry - self.n_unscored]))[0].astype(
            np.float64
        )
        constant = 0.0
        if self.norm is None:
            return self._scored(row, constant, s, entry)
        if self.norm.bias != "none" and (bias := s.optional(f"{self.norm_tensor}.bias")) is not None:
            constant += float(bias.astype(np.float64) @ row)
        if self.norm.weight:
            row = row * s.vector(f"{self.norm_tensor}{self.norm.suffix}")
        centred = x - x.mean() if self.norm.kind == "layer" else x
        direction = row / np.sqrt((centred**2).mean() + self.norm.eps)
        if self.norm.kind == "layer":
            direction = direction - direction.mean()
        return self._scored(direction, constant, s, entry)

    def _scored(
        self, direction: np.ndarray, constant: float, s: Scope, entry: int
    ) -> tuple[np.ndarray, float]:
        """Return a direction and constant, as what follows the matrix makes them."""
        scale = self.scale
        if (own := s.optional("output.scale")) is not None:
            scale = scale * float(own[0])
        if (bias := s.optional("output.bias")) is not None:
            constant += float(bias[entry - self.n_unscored]) / (scale / self.scale)
        return direction * scale, constant * scale
