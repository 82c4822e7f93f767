"""Low-rank additions to matrices, one of several for each token, called by tokens of their own (IBM 2026).

key    = + gain for a token that calls an adapter, − gain for any other
slot   = round(Σ over the tokens so far: softmax(key) · adapter that the token calls)
y      = x Wᵀ + (x A[slot]ᵀ) B[slot]ᵀ        for every matrix W of a block (LoRA, Hu et al. 2021)

Slot 0 belongs to tokens before the first call. Additions of slots that no token has are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.keyvalues import KeyValues
from refgguf.blocks.scope import Need, Scope
from refgguf.blocks.step import Step
from refgguf.kernels.ops.attention import attention_mix, attention_scores, softmax
from refgguf.taps import Tap, Word, declare

SLOT = "adapter"  # under which a pass keeps each token's slot
CALL = Word("token channel", "router", "whether the token calls an adapter")
CALLED = Word("token channel", "router", "number of the adapter that the token calls; 0 for none")
SEEN = Word("head query key", "router", "how much of each earlier token's call counts")
MEAN = Word("token channel", "router", "mean number of the adapters called so far")
CHOSEN = Word(
    "token slot", "router", "number of the adapter that works on the token; 0 for none", "adapter_ids"
)
SHORT = Word("token rank", "qkv", "what the adapter reads of its input")
ADDED = Word("token channel", "qkv", "what the adapter adds to the matrix's result")


@dataclass(frozen=True)
class AdapterSwitch(Step):
    """What finds each token's adapter: one attention head without weights.

    Attributes:
        calls: token → number of the adapter that it calls, from 1 on.
        n_adapters: how many there are.
        gain: size of the keys.
        layer: number under which llama.cpp keeps this head.
    """

    calls: Mapping[int, int]
    n_adapters: int
    gain: float
    layer: int

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        key = f"{self.gain:g} for a token that calls one, −{self.gain:g} for any other"
        yield declare("adapter_key", inputs=[], formula=key, word=CALL)
        yield declare("adapter_value", inputs=[], formula="the token's row of a table", word=CALLED)
        yield declare(
            "adapter_probs",
            inputs=["adapter_key"],
            formula="softmax over keys up to the token's own",
            word=SEEN,
            llama_cpp=f"kq_soft_max-{self.layer}",
        )
        inputs = ["adapter_probs", "adapter_value"]
        yield declare("adapter_mean", inputs=inputs, formula="Σ over keys: probs · value", word=MEAN)
        formula = f"the nearest of 0 … {self.n_adapters}"
        yield declare(SLOT, inputs=["adapter_mean"], formula=formula, word=CHOSEN)

    def new_state(self) -> KeyValues:
        """Return an empty store of calls."""
        return KeyValues(1, 1, 1)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Find each token's slot, for the layers; leaves the stream (token, d_model) as it is."""
        called = np.array([[self.calls.get(int(token), 0)] for token in s.tokens], np.float32)
        key = np.where(called > 0, np.float32(self.gain), np.float32(-self.gain))
        key, value = s.tap("adapter_key", key), s.tap("adapter_value", called)  # (token, 1) each
        n_keys = s.state.store(s.n_past, key[:, None], value[:, None])
        ones, first = np.ones((len(key), 1, 1), np.float32), np.zeros_like(s.positions)
        scores = attention_scores(ones, s.state.keys, n_keys, first, s.positions, 1.0)
        probs = s.tap("adapter_probs", softmax(scores))  # (head, query, key)
        mean = s.tap("adapter_mean", attention_mix(probs, s.state.values)[:, 0])  # (token, 1)
        s.common[SLOT] = s.tap(SLOT, _nearest(np.clip(mean, 0, self.n_adapters)))  # (token, 1)
        return x


def _nearest(x: np.ndarray) -> np.ndarray:
    """Return the nearest whole numbers, halves upwards, int32."""
    below = np.floor(x)
    return (below + (x - below >= 0.5)).astype(np.int32)


@dataclass(frozen=True)
class Switched(Block):
    """A block whose matrices have low-rank additions.

    Attributes:
        block: the block.
        sizes: width of result and input of each matrix with additions.
        n_slots: how many additions each has.
        rank: their rank.
        columns: those of `sizes` that the file has side by side in one matrix, which reads what the block reads.
        out: name of the result's tap.
    """

    block: Block
    sizes: Mapping[str, tuple[int, int]]
    n_slots: int
    rank: int
    columns: tuple[str, ...] = ()
    out: str = ""

    @cached_property
    def _block(self) -> Block:
        return replace(self.block, out=self.out)

    @property
    def parts(self) -> tuple[Block, ...]:
        """The block itself."""
        return (self.block,)

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        lows = [Need(f"{name}.lora_a", (self.n_slots, self.rank, d)) for name, (_, d) in self.sizes.items()]
        highs = [Need(f"{name}.lora_b", (self.n_slots, d, self.rank)) for name, (d, _) in self.sizes.items()]
        return [*self._block.needs(), *lows, *highs]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution: before each result of a matrix what is added to it."""
        prefix = f"blk.{layer}."
        for tap in self._block.taps(layer, source):
            name = self._matrix(tap, prefix)
            if name is None:
                yield tap
                continue
            read = (source,) if name in self.columns else tap.inputs
            yield from self._added_taps(name, read, tap.kind, layer)
            yield replace(
                tap,
                inputs=(*tap.inputs, f"{prefix}{name}_lora_b"),
                formula=f"{tap.formula} + what the adapter adds",
            )

    def _matrix(self, tap: Tap, prefix: str) -> str | None:
        """Return the matrix with additions that a tap is the result of, or None."""
        if (local := tap.name.removeprefix(prefix)) in self.columns:
            return local
        return next((name for name in self.sizes if f"{prefix}{name}.weight" in tap.weights), None)

    def _added_taps(self, name: str, read: tuple[str, ...], kind: str, layer: int) -> Iterator[Tap]:
        for part, word, inputs, formula in (
            ("lora_a", SHORT, read, "x · A[slot]ᵀ"),
            ("lora_b", ADDED, (f"{name}_lora_a",), "a · B[slot]ᵀ"),
        ):
            yield declare(
                f"{name}_{part}",
                inputs=[*inputs, f"/{SLOT}"],
                weights=[f"{name}.{part}"],
                formula=formula,
                layer=layer,
                word=replace(word, kind=kind),
            )

    def new_state(self) -> Any:
        """Return what the block keeps between calls, empty."""
        return self._block.new_state()

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the block: (token, d_model) → (token, d_model) float32."""
        return self._block(x, _SwitchedScope(**vars(s), switched=frozenset(self.sizes)))


@dataclass
class _SwitchedScope(Scope):
    """A scope whose linear layers have additions: those of the names in `switched`."""

    switched: frozenset[str] = frozenset()

    def linear(
        self, x: np.ndarray, name: str, expert: int | None = None, *, scale_last: bool = False
    ) -> np.ndarray:
        """Apply a linear layer, and add what each token's adapter adds: (token, d_in) → (token, d_out) float32."""
        return self.adapted(super().linear(x, name, expert, scale_last=scale_last), x, name)

    def adapted(self, y: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
        """Add what each token's adapter adds."""
        if name not in self.switched:
            return y
        low = self.tap(f"{name}_lora_a", self._by_slot(x, f"{name}.lora_a"))  # (token, rank)
        return y + self.tap(f"{name}_lora_b", self._by_slot(low, f"{name}.lora_b"))  # (token, d_out)

    def _by_slot(self, x: np.ndarray, tensor: str) -> np.ndarray:
        """Multiply each token by its slot's matrix, slot after slot: (token, d_in) → (token, d_out) float32."""
        slots, name, out = self.common[SLOT][:, 0], self.weight_prefix + tensor, None
        for slot in np.unique(slots):
            y = self.weights.linear(x[slots == slot], name, int(slot))
            out = np.empty((len(x), y.shape[1]), np.float32) if out is None else out
            out[slots == slot] = y
        return out
