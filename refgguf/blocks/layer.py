"""A transformer layer: a token mixer and a feed-forward network around the residual stream.

    pre-norm       x ← x + mixer(norm(x));         x ← x + ffn(norm(x))
    post-norm      x ← x + norm(mixer(x));         x ← x + norm(ffn(x))
    sandwich       x ← x + norm(mixer(norm(x)));   x ← x + norm(ffn(norm(x)))
    parallel       x ← x + mixer(norm(x)) + ffn(norm'(x))
    shared norm    x ← x + mixer(n) + ffn(n),      n = norm(x)

Either branch may be absent; a third may follow, and a scale of what leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refgguf.blocks.block import Block
from refgguf.blocks.branch import Branch
from refgguf.blocks.norm import Norm
from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap, Word, declare


@dataclass(frozen=True)
class EmbeddingSkip:
    """The stream that entered the first layer, scaled, for one more addition.

    Attributes:
        tensor: name of the tensor that holds the scale.
    """

    tensor: str = "layer_output_scale"
    out: str = "embed_skip"

    def needs(self) -> list[Need]:
        """Return the tensor that it works with."""
        return [Need(f"{self.tensor}.weight", (1,))]

    def taps(self, layer: int) -> Iterator[Tap]:
        """Declare its tap."""
        weights = [f"{self.tensor}.weight"]
        yield declare(self.out, inputs=["/embed"], weights=weights, formula="embed · scale", layer=layer)

    def __call__(self, s: Scope) -> np.ndarray:
        """Return what is added, (token, d_model) float32."""
        return s.tap(self.out, s.common["embed"] * s.vector(f"{self.tensor}.weight"))


@dataclass(frozen=True)
class LoopNorm:
    """The final norm, applied between two rounds through the same layers.

    Attributes:
        norm: the norm.
        d_model: channels of the residual stream.
    """

    norm: Norm
    d_model: int
    out: str = "loop_norm"

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        return self.norm.needs("/output_norm", self.d_model)

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its tap."""
        weights = self.norm.weights("/output_norm")
        yield declare(self.out, inputs=[source], weights=weights, formula=self.norm.formula, layer=layer)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Norm the stream: (token, d_model) → (token, d_model) float32."""
        return s.tap(self.out, self.norm(x, replace(s, weight_prefix=""), "output_norm"))


@dataclass(frozen=True)
class Halved:
    """The stream, halved so that half precision can hold it."""

    out: str = "resid_halved"

    def needs(self) -> list[Need]:
        """Return no tensors: it works with none."""
        return []

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its tap."""
        word = Word("token d_model", "residual", "residual stream, halved")
        yield declare(self.out, inputs=[source], formula="x / 2", layer=layer, word=word)

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Halve the stream: (token, d_model) → (token, d_model) float32."""
        return s.tap(self.out, x * np.float32(0.5))


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        mixer: the branch that mixes tokens, or None.
        ffn: the branch that works on each token alone, or None.
        parallel: both branches read the stream that enters the layer.
        shared_norm: the second branch reads what the first one's norm gives.
        chained: the second branch reads what the first one adds, not the stream.
        skip: what is added to the stream besides, or None.
        after: what changes the stream that leaves, or None.
        late: a branch that reads the stream after the others, or None.
        scaled: the stream that leaves is multiplied by a number of the file.
        sums: in which order llama.cpp adds up the stream (0) and what both branches give (1, 2), where these are
            parallel.
        llama_cpp: llama.cpp's names of taps (by local name) that differ from the table's; "" for none, and with a
            leading / for one that llama.cpp gives without the layer's number.
    """

    mixer: Branch | None
    ffn: Branch | None
    parallel: bool = False
    shared_norm: bool = False
    chained: bool = False
    skip: EmbeddingSkip | None = None
    after: LoopNorm | Halved | None = None
    late: Branch | None = None
    scaled: bool = False
    sums: tuple[int, int, int] = (0, 1, 2)
    llama_cpp: Mapping[str, str] = field(default_factory=dict)

    @property
    def out(self) -> str:
        """Local name of the tap of what leaves it."""
        return self.after.out if self.after else "resid_post"

    @property
    def outputs(self) -> list[str]:
        """Local names of the taps that what leaves it consists of."""
        return [self.out]

    @property
    def blocks(self) -> list[Block]:
        """Its token mixer and its feed-forward network, those that it has, each followed by its parts."""
        found = [branch.block for branch in (self.mixer, self.ffn, self.late) if branch]
        for block in found:  # which grows
            found.extend(getattr(block, "parts", ()))
        return found

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        parts = (self.mixer, self.ffn, self.skip, self.late, self.after)
        scale = [Need("layer_output_scale.weight", (1,))] if self.scaled else []
        return [need for part in parts if part for need in part.needs()] + scale

    def taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: its number.
            sources: full names of the taps whose sum enters it.
        """
        prefix = f"blk.{layer}."
        for tap in self._taps(layer, sources):
            foreign = self.llama_cpp.get(tap.name.removeprefix(prefix))
            if foreign is None:
                yield tap
            elif foreign.startswith("/"):
                yield replace(tap, llama_cpp=foreign[1:])
            else:
                yield replace(tap, llama_cpp=f"{foreign}-{layer}" if foreign else None)

    def _taps(self, layer: int, sources: list[str]) -> Iterator[Tap]:
        yield declare(
            "resid_pre",
            inputs=[f"/{name}" for name in sources],
            formula="what the last layer left" if layer else " + ".join(sources),
            llama_cpp="/inpL" if len(sources) > 1 else None,
            layer=layer,
        )
        stream, terms = "resid_pre", []
        if self.mixer:
            yield from self.mixer.taps(layer, stream)
            terms.append(self.mixer.out)
        if self.ffn:
            if terms and not (self.parallel or self.shared_norm):
                yield _sum("resid_mid", [stream, *terms], layer)
                stream, terms = "resid_mid", []
            source = self.mixer.source if self.shared_norm and self.mixer else None
            source = self.mixer.out if self.chained else source
            yield from self.ffn.taps(layer, source or stream)
            terms.append(self.ffn.out)
        if self.skip:
            yield from self.skip.taps(layer)
            terms.append(self.skip.out)
        if self.late:
            yield _sum("resid_late", [stream, *terms], layer)
            yield from self.late.taps(layer, "resid_late")
            stream, terms = "resid_late", [self.late.out]
        if self.scaled:
            yield _sum("resid_unscaled", [stream, *terms], layer)
            yield declare(
                "resid_post",
                inputs=["resid_unscaled"],
                weights=["layer_output_scale.weight"],
                formula="x · scale",
                layer=layer,
            )
        else:
            yield _sum("resid_post", [stream, *terms], layer)
        if self.after:
            yield from self.after.taps(layer, "resid_post")

    def new_state(self) -> tuple[Any, Any]:
        """Return what its branches keep between calls, empty."""
        return tuple(branch.new_state() if branch else None for branch in (self.mixer, self.ffn))

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run the layer: (token, d_model) → (token, d_model) float32."""
        stream, terms = s.tap("resid_pre", x), []
        s.common["resid_pre"] = stream  # for blocks of the second branch that read what entered the layer
        if self.mixer:
            normed = self.mixer.enter(stream, s)
            terms.append(added := self.mixer.run(normed, s.with_state(s.state[0])))
        if self.ffn:
            if terms and not (self.parallel or self.shared_norm):
                stream, terms = s.tap("resid_mid", stream + terms[0]), []
                s.common["resid_mid"] = stream
            source = added if self.chained else normed if self.shared_norm and self.mixer else stream
            terms.append(self.ffn.run(self.ffn.enter(source, s), s.with_state(s.state[1])))
        if self.skip:
            terms.append(self.skip(s))
        if len(terms) == 2 and s.numerics == "llama.cpp":
            stream, *terms = ([stream, *terms][number] for number in self.sums)
        for term in terms:
            stream = stream + term
        if self.late:
            stream = s.tap("resid_late", stream)
            stream = stream + self.late.run(self.late.enter(stream, s), s.with_state(None))
        if self.scaled:
            stream = s.tap("resid_unscaled", stream) * s.vector("layer_output_scale.weight")
        stream = s.tap("resid_post", stream)
        return self.after(stream, s) if self.after else stream


def _sum(name: str, terms: list[str], layer: int) -> Tap:
    return declare(name, inputs=terms, formula=" + ".join(terms), layer=layer)
