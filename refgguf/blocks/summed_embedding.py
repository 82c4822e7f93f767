"""An encoder's beginning: token, segment and position together, normed (Devlin et al. 2019).

x = norm(E_token[token] + E_segment[0] + E_position[position])

A text that stands alone is all of the first segment. Models without learned positions, or without segments, leave
that term out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, Word, declare

SEGMENT = Word(
    "token d_model", "embedding", "embedding of the segment: a text alone is all of the first kind"
)
SUM = Word("token d_model", "embedding", "embeddings of token, segment and position together", "inp_embd")
NORM = "token_embd_norm"


@dataclass(frozen=True)
class SummedEmbedding:
    """Embeddings of token, segment and position, added and normed.

    Attributes:
        n_vocab: vocabulary size.
        d_model: channels.
        norm: norm of the sum.
        n_segments: rows of the table of segments; 0 for none.
        n_positions: how many learned positions there are; 0 for none.
    """

    n_vocab: int
    d_model: int
    norm: Norm
    n_segments: int = 0
    n_positions: int = 0

    @property
    def _terms(self) -> list[str]:
        """Names of the taps that are added, in llama.cpp's order."""
        present = {"token_embd": 1, "type_embed": self.n_segments, "pos_embed": self.n_positions}
        return [name for name, rows in present.items() if rows]

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        tables = {
            "token_embd": self.n_vocab,
            "token_types": self.n_segments,
            "position_embd": self.n_positions,
        }
        needs = [Need(f"{name}.weight", (rows, self.d_model)) for name, rows in tables.items() if rows]
        return needs + self.norm.needs(NORM, self.d_model)

    def taps(self) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        alone = len(self._terms) == 1
        weights = ["token_embd.weight"]
        foreign = "inp_embd" if alone else None
        formula = "the token's row of the table"
        yield declare("token_embd", inputs=[], weights=weights, formula=formula, llama_cpp=foreign)
        if self.n_segments:
            weights, formula = ["token_types.weight"], "the first row of the table"
            yield declare("type_embed", inputs=[], weights=weights, formula=formula, word=SEGMENT)
        if self.n_positions:
            weights, formula = ["position_embd.weight"], "the position's row of the table"
            yield declare("pos_embed", inputs=[], weights=weights, formula=formula)
        if not alone:
            yield declare("embed_sum", inputs=self._terms, formula=" + ".join(self._terms), word=SUM)
        source = "token_embd" if alone else "embed_sum"
        weights, formula = self.norm.weights(NORM), self.norm.formula
        yield declare("embed", inputs=[source], weights=weights, formula=formula, llama_cpp="inp_norm-0")

    @property
    def outputs(self) -> list[str]:
        """Names of the taps whose sum enters the first layer."""
        return ["embed"]

    def __call__(self, s: Scope) -> np.ndarray:
        """Look the tokens up: (token, d_model) float32."""
        x = s.tap("token_embd", s.weights.rows("token_embd.weight", s.tokens))
        if self.n_segments:
            first = np.zeros(len(s.tokens), np.int64)
            x = x + s.tap("type_embed", s.weights.rows("token_types.weight", first))
        if self.n_positions:
            x = x + s.tap("pos_embed", s.weights.rows("position_embd.weight", s.positions))
        if len(self._terms) > 1:
            x = s.tap("embed_sum", x)
        return s.tap("embed", self.norm(x, s, NORM))
