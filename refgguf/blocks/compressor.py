"""A compressor: one key, which is a value too, for several tokens (DeepSeek-AI 2026, DeepSeek-V4).

c, g    = x Wkv, x Wgate + place           of each token; place: a row for each token of a block
key     = RoPE(norm(Σ over tokens: softmax(g) · c))      channel by channel, turned as the block's first token is

Where blocks overlap, c and g have two halves: a block mixes the first halves of the block before it, if there is one,
with the second halves of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.blocks.keyvalues import Rows
from refgguf.blocks.norm import Norm
from refgguf.blocks.rope import Rope
from refgguf.blocks.scope import Need, Scope, linear_needs, linear_weights
from refgguf.kernels.ops.attention import softmax
from refgguf.taps import Tap, Word, declare

CONTENT = Word("token channel", "qkv", "what a token gives to the keys of blocks")
GATE = Word("token channel", "qkv", "how much of each channel a token gives")
MIXED = Word("block d_head", "qkv", "tokens of each block, mixed")
NORMED = Word("block d_head", "qkv", "that mixture, normed")
KEYS = Word("block d_head", "qkv", "key and value of each block of tokens")


@dataclass(frozen=True)
class Compressor:
    """A compressor of blocks of tokens.

    Attributes:
        name: what the names of its tensors and taps begin with.
        d_model: channels of the residual stream.
        d: channels of a key.
        d_block: tokens of a block.
        norm: norm of the keys.
        rope: position embedding of the keys.
        overlaps: a block mixes the tokens of the block before it, too.
    """

    name: str
    d_model: int
    d: int
    d_block: int
    norm: Norm
    rope: Rope
    overlaps: bool = False

    @property
    def out(self) -> str:
        """Local name of the tap of the keys."""
        return f"{self.name}_k"

    @property
    def covers(self) -> tuple[int, int]:
        """How many tokens after a block the next one ends, and how many a block is made of."""
        return self.d_block, self.d_block * (2 if self.overlaps else 1)

    @property
    def _width(self) -> int:
        return self.d * (2 if self.overlaps else 1)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [
            *linear_needs(f"{self.name}_kv", self._width, self.d_model),
            *linear_needs(f"{self.name}_gate", self._width, self.d_model),
            Need(f"{self.name}_ape.weight", (self.d_block, self._width)),
            *self.norm.needs(f"{self.name}_norm", self.d),
            *self.rope.needs(),
        ]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution; `source` is the local name of the tap that it reads."""

        def step(part: str, inputs: list[str], formula: str, word: Word, weights: tuple[str, ...]) -> Tap:
            name = f"{self.name}_{part}"
            return declare(name, inputs=inputs, formula=formula, weights=weights, layer=layer, word=word)

        content, gate, mix, norm = (f"{self.name}_{part}" for part in ("kv", "gate", "mix", "norm"))
        yield step("kv", [source], "x · Wkvᵀ", CONTENT, linear_weights(content))
        places = (*linear_weights(gate), f"{self.name}_ape.weight")
        yield step("gate", [source], "x · Wgateᵀ + place", GATE, places)
        formula = f"Σ over {self.d_block} tokens: softmax(gate) · kv, channel by channel"
        formula += ", with those of the block before" if self.overlaps else ""
        yield step("mix", [content, gate], formula, MIXED, ())
        yield step("norm", [mix], self.norm.formula, NORMED, self.norm.weights(norm))
        yield step("k", [norm], self.rope.formula, KEYS, self.rope.weights())

    def new_state(self) -> tuple[Rows, Rows]:
        """Return empty stores of what tokens and what blocks have."""
        return Rows(2 * self._width), Rows(self.d)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Return the keys of all blocks that are complete, (block, d) float32."""
        tokens, kept = s.state
        content = s.tap(f"{self.name}_kv", s.linear(x, f"{self.name}_kv"))
        places = s.vector(f"{self.name}_ape.weight")[s.positions % self.d_block]
        gate = s.tap(f"{self.name}_gate", s.linear(x, f"{self.name}_gate") + places)
        rows = tokens.store(s.n_past, np.concatenate([content, gate], axis=1))
        first, last = s.n_past // self.d_block, len(rows) // self.d_block
        mix = s.tap(f"{self.name}_mix", self._mixed(rows, first, last))  # (block, d)
        y = s.tap(f"{self.name}_norm", self.norm(mix, s, f"{self.name}_norm"))
        angles = self.rope.angles_at(np.arange(first, last) * self.d_block, s)
        return kept.store(first, s.tap(self.out, self.rope(y[:, None], angles, s)[:, 0]))

    def _mixed(self, rows: np.ndarray, first: int, last: int) -> np.ndarray:
        """Mix the tokens of blocks `first` up to `last`: (block, d)."""
        content, gate = np.split(rows[: last * self.d_block], 2, axis=1)
        shape = (last - first, self.d_block, self._width)
        own = [part[first * self.d_block :].reshape(shape) for part in (content, gate)]
        if self.overlaps:
            start = max(first - 1, 0) * self.d_block
            before = [part[start : max(last - 1, 0) * self.d_block] for part in (content, gate)]
            before = [part.reshape(-1, self.d_block, self._width)[:, :, : self.d] for part in before]
            if first == 0 and last:  # nothing stands before the first block
                nothing = np.zeros((1, self.d_block, self.d), np.float32)
                before = [
                    np.concatenate([nothing + np.float32(fill), part])
                    for part, fill in zip(before, (0, -np.inf), strict=True)
                ]
            own = [
                np.concatenate([one, two[:, :, self.d :]], axis=1)
                for one, two in zip(before, own, strict=True)
            ]
        content, gate = (part.transpose(0, 2, 1) for part in own)  # (block, d, token)
        shares = softmax(gate)
        total = np.zeros(content.shape[:2], np.float32)
        for token in range(content.shape[2]):  # one after another: the order is part of the result
            total += shares[:, :, token] * content[:, :, token]
        return total
