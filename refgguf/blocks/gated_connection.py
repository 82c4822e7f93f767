"""Hyper-connections through a narrow gate (Qwen 2026, Qwen 4): every channel of every stream counts by itself.

n      = norm(x), each stream by itself with weights of its own
gate   = silu(n Wdown / streams) Wup       all streams of a token side by side
input  = mean over streams: n · σ(gate)    what the branch reads
post   = 2 σ(n Winject / streams)          how much of its result each stream takes
x_i    ← x_i + post_i · y                  y: what the branch gives
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.blocks.streams import INPUT, STREAMS, Connection, stream_word, summed
from refgguf.kernels.ops.activation import activation
from refgguf.taps import MODEL_WORDS, Tap, Word, declare

NORMED = Word(STREAMS, "norm", "streams, each normed", "hc_norm")
LOW = Word("token rank", "residual", "hidden channels of the gate of the streams")
GATE = Word("token channel", "residual", "gate of all streams, before its bend", "hc_gate")
INJECT = Word("token stream", "residual", "from which follows how much each stream takes", "hc_inject")
POST = Word("token stream", "residual", "how much of a branch's result each stream takes")


@dataclass(frozen=True)
class GatedConnection(Connection):
    """A gated hyper-connection.

    Attributes:
        name: what the names of its tensors and taps begin with.
        n_streams: residual streams.
        d_model: channels of each.
        rank: channels between the two matrices of the gate.
        norm: norm of the streams.
        flat: the file has the norm's weights of all streams in one row.
        last: it is read for the output, in place of the final norm; no branch writes.
    """

    name: str
    n_streams: int
    d_model: int
    rank: int
    norm: Norm
    flat: bool = False
    last: bool = False

    @property
    def input(self) -> str:
        """Local name of the tap of what the branch, or the output, reads."""
        return "final_norm" if self.last else super().input

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        width = self.n_streams * self.d_model
        shape = (width,) if self.flat else (self.n_streams, self.d_model)
        needs = self.norm.needs(f"{self.name}_norm", *shape)
        needs += linear_needs(f"{self.name}_down", self.rank, width)
        needs += linear_needs(f"{self.name}_up", width, self.rank)
        return needs if self.last else needs + linear_needs(f"{self.name}_inject", self.n_streams, width)

    def taps(self, layer: int | None, stream: str) -> Iterator[Tap]:
        """Declare the taps of reading, in order of execution; see `Connection`."""

        def step(
            part: str, inputs: list[str], formula: str, word: Word, weights: tuple[str, ...] = ()
        ) -> Tap:
            name = f"{self.name}_{part}"
            return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word)

        norm, low, gate, inject = (f"{self.name}_{part}" for part in ("norm", "low", "gate", "inject"))
        yield step("norm", [stream], f"each stream: {self.norm.formula}", NORMED, self.norm.weights(norm))
        formula = f"silu(x · Wdownᵀ / {self.n_streams}), streams side by side"
        yield step("low", [norm], formula, LOW, linear_weights(f"{self.name}_down"))
        yield step("gate", [low], "x · Wupᵀ", GATE, linear_weights(f"{self.name}_up"))
        word = MODEL_WORDS["final_norm"] if self.last else INPUT
        foreign = None if self.last else "hc_mixed"
        formula, inputs = "mean over streams: norm · σ(gate)", [norm, gate]
        yield declare(self.input, inputs=inputs, formula=formula, layer=layer, word=word, llama_cpp=foreign)
        if not self.last:
            yield step("inject", [norm], "x · Winjectᵀ, streams side by side", INJECT, linear_weights(inject))
            yield step("post", [inject], f"2 · σ(x / {self.n_streams})", POST)

    def written(self, layer: int, name: str, stream: str, result: str) -> Tap:
        """Declare the tap of the streams that the branch leaves; see `Connection`."""
        return declare(
            name,
            inputs=[stream, result, f"{self.name}_post"],
            formula="x_i ← x_i + post_i · y",
            layer=layer,
            word=stream_word(name),
        )

    def read(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray | None]:
        """Mix the streams; see `Connection`."""
        silu, sigmoid = (activation(name, s.numerics) for name in ("silu", "sigmoid"))
        n, share = s.tap(f"{self.name}_norm", self._normed(x, s)), np.float32(1 / self.n_streams)
        side = n.reshape(len(x), -1)  # (token, channel)
        low = s.tap(f"{self.name}_low", silu(s.linear(side, f"{self.name}_down") * share))
        gate = s.tap(f"{self.name}_gate", s.linear(low, f"{self.name}_up"))
        mixed = s.tap(self.input, summed(n * sigmoid(gate).reshape(n.shape)) * share)
        if self.last:
            return mixed, None
        inject = s.tap(f"{self.name}_inject", s.linear(side, f"{self.name}_inject"))
        return mixed, s.tap(f"{self.name}_post", sigmoid(inject * share) * np.float32(2))

    def _normed(self, x: np.ndarray, s: Scope) -> np.ndarray:
        return stream_norm(x, self.norm, s, f"{self.name}_norm")

    def write(self, y: np.ndarray, x: np.ndarray, how: np.ndarray) -> np.ndarray:
        """Write to the streams; see `Connection`."""
        return x + y[:, None] * how[:, :, None]


def stream_norm(x: np.ndarray, norm: Norm, s: Scope, name: str) -> np.ndarray:
    """Norm each stream of x, (token, stream, d_model), with weights of its own."""
    plain = Norm(norm.kind, norm.eps, weight=False)
    return plain(x, s, name) * s.vector(f"{name}{norm.suffix}").reshape(x.shape[1:])
