"""Embeddings of the last few tokens together, added to the streams of one layer (Qwen 2026, Qwen 4).

e       = rows of a table                   for each n-gram that ends at the token, n = 2 … N, some rows; which ones is
                                            a hash of its tokens; no n-gram reaches beyond an end-of-text token
key     = norm(e Wkey);  query = norm(x)    each stream by itself
gate    = σ(± √|key · query / √d|)          one number a stream
v       = gate · (e Wvalue)
x       ← x + v + silu(conv(norm(v)))       each channel mixed with the same channel every N tokens before
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.gated_connection import stream_norm
from refgguf.blocks.memory import Memory
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.blocks.streams import STREAMS
from refgguf.kernels.ops.activation import activation
from refgguf.kernels.ops.sums import row_sums
from refgguf.taps import Tap, Word, declare

TABLE = "per_layer_token_embd.weight"
LEAST_MATCH = np.float32(1e-6)  # of which a root is taken
NONE = -1  # stands for a token before the first one
WORDS = {
    "rows": Word("token ngram", "embedding", "rows of the n-grams' table"),
    "embed": Word("token channel", "embedding", "embedding of the last tokens together", "/ple_embd"),
    "key": Word(STREAMS, "norm", "what the last tokens say, normed for each stream"),
    "query": Word(STREAMS, "norm", "streams, each normed, to compare with"),
    "gate": Word("token stream", "residual", "how much of that embedding each stream takes", "ple_gate"),
    "value": Word("token d_model", "residual", "what the last tokens say"),
    "gated": Word(STREAMS, "residual", "as much of it as each stream takes", "ple_gated_value"),
    "norm": Word("token channel", "norm", "that, each stream normed"),
    "conv_state": Word("slot channel", "state", "the last tokens, for the next convolution"),
    "conv": Word(STREAMS, "residual", "each channel mixed with tokens before", "ple_conv_out"),
    "out": Word(STREAMS, "residual", "residual streams with it"),
}


@dataclass(frozen=True)
class Hashing:
    """How n-grams find their rows.

    Attributes:
        n: tokens of the longest n-gram.
        multipliers: one for each place in it.
        offsets: first row of each hash's part of the table.
        sizes: rows of each part; the parts of shorter n-grams come first.
        end: the token beyond which no n-gram reaches.
    """

    n: int
    multipliers: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    end: int

    @property
    def n_rows(self) -> int:
        """The fewest rows that the table may have."""
        return max(offset + size for offset, size in zip(self.offsets, self.sizes, strict=True))

    def rows(self, tokens: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the rows of each token's n-grams, (token, hash) int64.

        Args:
            tokens: (token,) ids.
            before: (n − 1,) ids of those before, NONE where there are none.
        """
        everything, n_before = np.concatenate([before, tokens]), len(before)
        cut = np.zeros(len(tokens), bool)
        mixed = tokens.astype(np.uint64) * np.uint64(self.multipliers[0])
        per_length, found = len(self.sizes) // (self.n - 1), []
        for back in range(1, self.n):
            earlier = everything[n_before - back : len(everything) - back]
            cut = cut | (earlier < 0) | (earlier == self.end)
            kept = np.where(cut, self.end, earlier).astype(np.uint64)
            mixed = mixed ^ (kept * np.uint64(self.multipliers[back]))  # 64 bits, what overflows is lost
            for part in range((back - 1) * per_length, back * per_length):
                found.append(mixed % np.uint64(self.sizes[part]) + np.uint64(self.offsets[part]))
        return np.stack(found, axis=1).astype(np.int64)


@dataclass(frozen=True)
class NgramMemory:
    """Embeddings of n-grams for a layer's streams.

    Attributes:
        d_model: channels of a stream.
        n_streams: residual streams.
        hashing: how n-grams find their rows.
        d_row: channels of a row.
        d_conv: tokens that the convolution sees.
        n_table: rows of the table.
        norm: norm of keys, queries and values.
        flat: the file has the norms' weights of all streams in one row.
        out: name of the result's tap.
    """

    d_model: int
    n_streams: int
    hashing: Hashing
    d_row: int
    d_conv: int
    n_table: int
    norm: Norm
    flat: bool = False
    out: str = "ple_out"

    @property
    def _width(self) -> int:
        return self.n_streams * self.d_model

    @property
    def _reach(self) -> int:
        """How many tokens before its own the convolution needs."""
        return (self.d_conv - 1) * self.hashing.n

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        d_embed = len(self.hashing.sizes) * self.d_row
        shape = (self._width,) if self.flat else (self.n_streams, self.d_model)
        return [
            Need(f"/{TABLE}", (self.n_table, self.d_row)),
            *linear_needs("ple_key", self._width, d_embed),
            *linear_needs("ple_value", self.d_model, d_embed),
            *(
                need
                for part in ("key", "query", "conv")
                for need in self.norm.needs(f"ple_norm_{part}", *shape)
            ),
            Need("ple_conv1d.weight", (self._width, self.d_conv)),
        ]

    def taps(self, layer: int, stream: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; `stream` is the local name of the streams' tap."""

        def step(name: str, inputs: list[str], formula: str, *weights: str) -> Tap:
            inputs = [n if n == stream else f"ple_{n}" for n in inputs]
            word = WORDS[name]
            return declare(
                f"ple_{name}", inputs=inputs, formula=formula, weights=weights, layer=layer, word=word
            )

        norm = f"each stream: {self.norm.formula}"
        yield step("rows", [], f"hashes of the last 2 … {self.hashing.n} tokens")
        yield step("embed", ["rows"], "those rows of the table, side by side", f"/{TABLE}")
        weights = (*linear_weights("ple_key"), *self.norm.weights("ple_norm_key"))
        yield step("key", ["embed"], f"x · Wkeyᵀ; {norm}", *weights)
        yield step("query", [stream], norm, *self.norm.weights("ple_norm_query"))
        yield step("gate", ["key", "query"], "σ(± √|Σ key · query / √d|)")
        yield step("value", ["embed"], "x · Wvalueᵀ", *linear_weights("ple_value"))
        yield step("gated", ["value", "gate"], "gate · value")
        yield step("norm", ["gated"], norm, *self.norm.weights("ple_norm_conv"))
        yield step("conv_state", ["norm"], "the last tokens of what the convolution reads")
        formula = f"silu(Σ over every {self.hashing.n}th token before: x · w)"
        yield step("conv", ["norm"], formula, "ple_conv1d.weight")
        yield step("out", [stream, "gated", "conv"], "x + gated + conv")

    def new_state(self) -> Memory:
        """Return an empty memory."""
        before = np.full(self.hashing.n - 1, NONE, np.int64)
        return Memory(tokens=before, conv=np.zeros((self._reach, self._width), np.float32))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Add to the streams: (token, stream, d_model) → (token, stream, d_model) float32."""
        sigmoid = activation("sigmoid", s.numerics)
        embed = self._embedding(s)  # (token, channel)
        key = s.linear(embed, "ple_key").reshape(x.shape)
        key = s.tap("ple_key", stream_norm(key, self.norm, s, "ple_norm_key"))
        query = s.tap("ple_query", stream_norm(x, self.norm, s, "ple_norm_query"))
        match = row_sums(key * query, s.numerics)[..., 0] * np.float32(self.d_model**-0.5)
        root = np.sign(match) * np.sqrt(np.maximum(np.abs(match), LEAST_MATCH))
        gate = s.tap("ple_gate", sigmoid(root))  # (token, stream)
        value = s.tap("ple_value", s.linear(embed, "ple_value"))
        gated = s.tap("ple_gated", value[:, None] * gate[:, :, None])  # (token, stream, d_model)
        normed = stream_norm(gated, self.norm, s, "ple_norm_conv").reshape(len(x), -1)
        conv = self._convolved(s.tap("ple_norm", normed), s).reshape(x.shape)
        return s.tap("ple_out", x + (gated + s.tap("ple_conv", conv)))

    def _embedding(self, s: Scope) -> np.ndarray:
        """Return the rows of the n-grams that end at each token, side by side, (token, channel)."""
        before = s.state["tokens"]
        rows = s.tap("ple_rows", self.hashing.rows(s.tokens, before))  # (token, hash)
        s.state["tokens"] = np.concatenate([before, s.tokens])[len(s.tokens) :]
        found = s.weights.rows(TABLE, rows.reshape(-1))
        return s.tap("ple_embed", found.reshape(len(rows), -1))

    def _convolved(self, x: np.ndarray, s: Scope) -> np.ndarray:
        padded, weight = np.concatenate([s.state["conv"], x]), s.vector("ple_conv1d.weight")
        y = np.zeros_like(x)
        for number in range(self.d_conv):
            start = number * self.hashing.n
            y += padded[start : start + len(x)] * weight[:, number]
        s.state["conv"] = s.tap("ple_conv_state", padded[len(x) :].copy())
        return activation("silu", s.numerics)(y)
