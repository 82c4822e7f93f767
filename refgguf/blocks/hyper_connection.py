"""Hyper-connections with weights that depend on the streams themselves (Zhu et al. 2024; mHC: DeepSeek-AI 2026).

m      = (x / √(mean(x²) + ε)) W            all streams of a token side by side; m = (m_pre, m_post, m_res)
pre    = σ(a₁ m_pre + b_pre) + ε'           how much of each stream the branch reads
post   = c σ(a₂ m_post + b_post) + ε''      how much of its result each stream takes
res    = sinkhorn(a₃ m_res + b_res)         how much each stream takes of each; in some models it keeps to itself

input  = Σ over streams: pre · x
x_i    ← post_i · y + Σ over j: res_ji x_j  y: what the branch gives

sinkhorn: softmax of each row, + ε'; columns, then a few times rows and columns, divided by their sums + ε'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.blocks.streams import INPUT, MERGED, Connection, stream_word, summed
from refgguf.kernels.ops.activation import activation
from refgguf.kernels.ops.attention import softmax
from refgguf.kernels.ops.norm import rms_norm
from refgguf.taps import Tap, Word, declare

MIXES = Word("token mix", "residual", "what the weights of the streams are computed from", "hc_mixes")
PRE = Word("token stream", "residual", "how much of each stream a branch reads", "hc_pre")
POST = Word("token stream", "residual", "how much of a branch's result each stream takes", "hc_post")
RES = Word("token stream stream", "residual", "how much each stream passes on to each", "hc_comb")
HEAD = {"mixes": "hc_head_mixes", "pre": "hc_head_pre"}  # llama.cpp's names at the output


@dataclass(frozen=True)
class HyperConnection(Connection):
    """A hyper-connection.

    Attributes:
        name: what the names of its tensors and taps begin with.
        n_streams: residual streams.
        d_model: channels of each.
        eps: ε of the norm.
        eps_pre: ε', added to what each stream gives.
        eps_post: ε'', added to what each stream takes.
        post_scale: c, most that a stream takes.
        n_sinkhorn: times that columns are divided; 0 where each stream keeps to itself.
        writes: a branch writes to the streams; otherwise it is read only, for the output.
    """

    name: str
    n_streams: int
    d_model: int
    eps: float
    eps_pre: float
    eps_post: float = 0.0
    post_scale: float = 2.0
    n_sinkhorn: int = 0
    writes: bool = True

    @property
    def _parts(self) -> list[int]:
        """How many numbers of m each of pre, post and res takes."""
        n = self.n_streams
        return [n, *([n] if self.writes else []), *([n * n] if self.writes and self.n_sinkhorn else [])]

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        n_mixes, width = sum(self._parts), self.n_streams * self.d_model
        return [
            Need(f"{self.name}_fn.weight", (n_mixes, width)),
            Need(f"{self.name}_base.weight", (n_mixes,)),
            Need(f"{self.name}_scale.weight", (len(self._parts),)),
        ]

    def taps(self, layer: int | None, stream: str) -> Iterator[Tap]:
        """Declare the taps of reading, in order of execution; see `Connection`."""

        def step(part: str, inputs: list[str], formula: str, word: Word, *tensors: str) -> Tap:
            weights = [f"{self.name}_{tensor}.weight" for tensor in tensors]
            foreign = HEAD.get(part) if layer is None else None
            return declare(
                f"{self.name}_{part}",
                inputs=inputs,
                formula=formula,
                weights=weights,
                layer=layer,
                word=word,
                llama_cpp=foreign,
            )

        mixes, pre = f"{self.name}_mixes", f"{self.name}_pre"
        affine = ("scale", "base")
        yield step("mixes", [stream], "x / √(mean(x²) + ε) · Wᵀ, streams side by side", MIXES, "fn")
        yield step("pre", [mixes], f"σ(a · m + b) + {self.eps_pre:g}", PRE, *affine)
        if self.writes:
            more = f" + {self.eps_post:g}" if self.eps_post else ""
            yield step("post", [mixes], f"{self.post_scale:g} · σ(a · m + b){more}", POST, *affine)
        if self.n_sinkhorn:
            formula = f"a · m + b, rows and columns made to sum to 1 ({self.n_sinkhorn} times)"
            yield step("res", [mixes], formula, RES, *affine)
        word = MERGED if layer is None else INPUT
        foreign = None if layer is None else f"{self.name}_pre"
        formula, inputs = "Σ over streams: pre · x", [pre, stream]
        yield declare(self.input, inputs=inputs, formula=formula, layer=layer, word=word, llama_cpp=foreign)

    def written(self, layer: int, name: str, stream: str, result: str) -> Tap:
        """Declare the tap of the streams that the branch leaves; see `Connection`."""
        rest, passed = ([f"{self.name}_res"], "Σ over j: res_ji x_j") if self.n_sinkhorn else ([], "x_i")
        return declare(
            name,
            inputs=[stream, result, f"{self.name}_post", *rest],
            formula=f"x_i ← post_i · y + {passed}",
            layer=layer,
            word=stream_word(name),
        )

    def read(self, x: np.ndarray, s: Scope) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray | None]]:
        """Mix the streams; see `Connection`."""
        sigmoid, n = activation("sigmoid", s.numerics), self.n_streams
        flat = rms_norm(x.reshape(len(x), -1), None, self.eps)
        m = s.tap(f"{self.name}_mixes", s.linear(flat, f"{self.name}_fn"))  # (token, mix)
        scale, base = (s.vector(f"{self.name}_{part}.weight") for part in ("scale", "base"))
        parts = [
            part * a + b
            for part, a, b in zip(
                np.split(m, np.cumsum(self._parts)[:-1], axis=1),
                scale,
                np.split(base, np.cumsum(self._parts)[:-1]),
                strict=True,
            )
        ]
        pre = s.tap(f"{self.name}_pre", sigmoid(parts[0]) + np.float32(self.eps_pre))  # (token, stream)
        post = res = None
        if self.writes:
            post = sigmoid(parts[1]) * np.float32(self.post_scale) + np.float32(self.eps_post)
            post = s.tap(f"{self.name}_post", post)  # (token, stream)
        if self.n_sinkhorn:
            res = s.tap(f"{self.name}_res", self._balanced(parts[2].reshape(-1, n, n)))  # (token, from, to)
        return s.tap(self.input, summed(x * pre[:, :, None])), (post, res)

    def _balanced(self, res: np.ndarray) -> np.ndarray:
        """Make rows and columns sum to 1: (token, from, to) float32."""
        eps = np.float32(self.eps_pre)
        res = softmax(res) + eps
        for number in range(self.n_sinkhorn):
            if number:
                res = res / (_total(res, 2) + eps)
            res = res / (_total(res, 1) + eps)
        return res

    def write(self, y: np.ndarray, x: np.ndarray, how: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
        """Write to the streams; see `Connection`."""
        post, res = how
        out = y[:, None] * post[:, :, None]
        if res is None:
            return x + out
        for number in range(self.n_streams):  # one after another: the order is part of the result
            out = out + x[:, number, None] * res[:, number, :, None]
        return out


def _total(x: np.ndarray, axis: int) -> np.ndarray:
    """Add along an axis, one after another; the axis stays."""
    parts = np.split(x, x.shape[axis], axis=axis)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
