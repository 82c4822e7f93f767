"""Attention across two texts: a decoder's tokens read what an encoder made of another text (Vaswani et al. 2017).

q      = x Wq                       of the decoder's tokens
k, v   = e Wk, e Wv                 of the encoder's, computed once for a text
out    = softmax(q kᵀ · scale) v Wo
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refgguf.blocks.attention import Attention
from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.keyvalues import KeyValues
from refgguf.blocks.layer import Layer
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, declare

OWN = "cross_"  # stands before the names of its tensors and of its taps
ENCODED = "encoded"  # under which a pass keeps what the encoder made of the other text


@dataclass(frozen=True)
class CrossAttention(Attention):
    """Attention over another text.

    Attributes:
        source: full name of the tap of what the encoder made of that text.
    """

    source: str = "enc.final_norm"
    out: str = "cross_attn_out"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [replace(need, name=OWN + need.name) for need in super().needs()]

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution."""
        prefix = f"blk.{layer}."
        entering = prefix + source

        def own(name: str) -> str:
            inside = name.startswith(prefix) and name not in (entering, prefix + self.out)
            return prefix + OWN + name.removeprefix(prefix) if inside else name

        axes = {"attn_scores": ("head", "query", "source"), "attn_probs": ("head", "query", "source")}
        for tap in super().taps(layer, source):
            local = tap.name.removeprefix(prefix)
            inputs = tuple(own(name) for name in tap.inputs)
            if local in ("attn_k", "attn_v"):
                tap, inputs = replace(tap, axes=("source", *tap.axes[1:])), (self.source,)
            yield replace(
                tap,
                name=own(tap.name),
                axes=axes.get(local, tap.axes),
                inputs=inputs,
                weights=tuple(own(name) for name in tap.weights),
                formula=tap.formula.replace(
                    "each token sees all tokens", "each token sees all of the other text"
                ),
                meaning=tap.meaning.replace("takes from each one", "takes from each of the other text"),
                transformer_lens=None,
            )

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Mix the other text's tokens: (token, d_model) → (token, d_model) float32."""
        encoded, keys_values = s.common[ENCODED], s.state
        inside = replace(s, prefix=s.prefix + OWN, weight_prefix=s.weight_prefix + OWN)
        q = inside.tap("attn_q", inside.linear(x, "attn_q").reshape(len(x), self.n_heads, self.d_head))
        shapes = {"attn_k": self.d_head, "attn_v": self.d_head_v}
        if not keys_values.keys.shape[1]:  # the first tokens that look at this text
            heads = (len(encoded), self.n_kv_heads)
            keys_values.store(0, *(inside.linear(encoded, n).reshape(*heads, d) for n, d in shapes.items()))
        if inside.wants(*shapes):
            stored = (keys_values.keys, keys_values.values)
            seen = (a[:, : len(encoded)].transpose(1, 0, 2) for a in stored)
            seen = [inside.tap(name, np.ascontiguousarray(a)) for name, a in zip(shapes, seen, strict=True)]
            keys_values = self.new_state()
            keys_values.store(0, *seen)
        z = inside.tap("attn_z", self._attend(q, len(encoded), inside.with_state(keys_values)))
        return s.tap(self.out, inside.linear(z.reshape(len(z), -1), self.matrix))

    def new_state(self) -> KeyValues:
        """Return an empty store of the other text's keys and values."""
        return KeyValues(self.n_kv_heads, self.d_head, self.d_head_v)


@dataclass(frozen=True)
class CrossLayer(Layer):
    """A decoder's layer: attention among its own tokens, attention over the other text, feed-forward network.

    Attributes:
        cross: the branch that looks at the other text.
    """

    cross: Branch | None = None

    @property
    def blocks(self) -> list[Block]:
        """Its token mixer, its attention over the other text and its feed-forward network."""
        return [*super().blocks, self.cross.block]

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return [*super().needs(), *self.cross.needs()]

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        inputs = [f"/{name}" for name in sources]
        formula = "what the last layer left" if layer else " + ".join(sources)
        yield declare("resid_pre", inputs=inputs, formula=formula, layer=layer)
        stream = "resid_pre"
        for branch, left in ((self.mixer, "resid_attn"), (self.cross, "resid_mid"), (self.ffn, "resid_post")):
            yield from branch.taps(layer, stream)
            terms = [stream, branch.out]
            yield declare(left, inputs=terms, formula=" + ".join(terms), layer=layer)
            stream = left

    def new_state(self) -> tuple[Any, ...]:
        """Return what its branches keep between calls, empty."""
        return tuple(branch.new_state() for branch in (self.mixer, self.cross, self.ffn))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        x = s.tap("resid_pre", x)
        branches = ((self.mixer, "resid_attn"), (self.cross, "resid_mid"), (self.ffn, "resid_post"))
        for (branch, left), state in zip(branches, s.state, strict=True):
            x = s.tap(left, x + branch.run(branch.enter(x, s), s.with_state(state)))
        return x
