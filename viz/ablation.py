"""Switching parts of a model off: a head, a neuron, an expert, what a block adds. No OpenGL, no Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refgguf.recorder import Hook
from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import anatomy_of, local, stack_words
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.picking import Hit
from refgguf.viz.state import Shown

if TYPE_CHECKING:
    from refgguf.model import Model

HEADS = ("head", "kv_head")
NOTHING_TO_SWITCH = "select a head, neurons or an expert first, by a click"
ADDED = ("resid_pre", "resid_attn", "resid_mid", "resid_post")


@dataclass(frozen=True)
class Ablation:
    """Something that is switched off: its values are replaced by zeros.

    Attributes:
        tap: name of the tap.
        index: which head, neuron or expert; the whole tensor if None.
        axis: the dimension word that `index` counts along; heads if "".
            "expert" zeroes the neurons of one expert wherever a token chose it.
    """

    tap: str
    index: int | None = None
    axis: str = ""

    @property
    def words(self) -> str:
        """What it is, for people: "head 3 of blk.1.attn_z"."""
        if self.index is None:
            return self.tap
        what = {"d_ff": "neuron", "": "head", "kv_head": "key/value head"}.get(self.axis, self.axis)
        return f"{what} {self.index} of {self.tap}"


class Zeroes:
    """Hooks that put zeros where something is switched off.

    Args:
        model: the model; its taps tell which router chooses an expert.
        ablations: what is switched off.
    """

    def __init__(self, model: Model, ablations: Iterable[Ablation]):
        self.parts: dict[str, list[Ablation]] = {}
        for ablation in ablations:
            self.parts.setdefault(ablation.tap, []).append(ablation)
        self.chosen: dict[str, np.ndarray] = {}  # experts of each token, by the tap that they act on
        by_expert = {a.tap for parts in self.parts.values() for a in parts if a.axis == "expert"}
        layers = anatomy_of(model.taps).layers if by_expert else ()
        self.routers = {
            layer.topk: tap for layer in layers for tap in layer.experts if tap in by_expert and layer.topk
        }

    def hooks(self) -> dict[str, Hook]:
        """Return the hooks by tap."""
        return dict.fromkeys(self.routers, self._remember) | dict.fromkeys(self.parts, self._zero)

    def _remember(self, values: np.ndarray, tap: Tap) -> None:
        self.chosen[self.routers[tap.name]] = values

    def _zero(self, values: np.ndarray, tap: Tap) -> np.ndarray:
        parts = self.parts[tap.name]
        if any(part.index is None for part in parts):
            return np.zeros_like(values)
        changed = values.copy()
        for part in parts:
            if part.axis == "expert":
                changed[self.chosen[tap.name] == part.index] = 0
                continue
            wanted = (part.axis,) if part.axis else HEADS
            axis = next(i for i, word in enumerate(tap.axes) if word in wanted)
            changed[(slice(None),) * axis + (part.index,)] = 0
        return changed


def ablation_of(found: Sequence[tuple[str, Ablation]]) -> Ablation | None:
    """Return which of what can be switched off a key stands for: what the whole box is, rather than one neuron."""
    whole = [a for _, a in found if a.axis != "d_ff"] or [a for _, a in found]
    return whole[0] if whole else None


def ablations_for(scene: Scene, hit: Hit) -> list[tuple[str, Ablation]]:
    """Return what can be switched off where something was hit, in words, the smallest part first.

    Args:
        scene: what is shown.
        hit: a value of one of its boxes.
    """
    if not isinstance(scene.shown, Shown):
        return []
    box, taps = scene.pieces.boxes[hit.box], scene.shown.graph
    tap, found = taps.get(box.plane.tap), []
    if tap is None:
        return []
    where = f"{stack_words(tap.name)}layer {box.layer}" if box.layer is not None else ""
    if box.role == "neurons" and hit.index is not None and tap.axes == ("token", "d_ff"):
        found.append((f"neuron {hit.index[-1]} of {where}", Ablation(tap.name, hit.index[-1], "d_ff")))
    if box.role == "expert" and box.head is not None:
        found.append((f"expert {box.head} of {where}", Ablation(tap.name, box.head, "expert")))
    if box.role in ("q", "k", "v", "pattern", "blocks", "z") and box.head is not None:
        found += _head(scene, hit.box, where)
    added = added_by(taps, tap.name)
    if added is not None:
        block = (
            "attention"
            if "attn" in local(added)
            else "feed-forward"
            if "ffn" in local(added)
            else local(added)
        )
        branch = branch_of(taps, tap.name, added)
        if branch is not None:
            found.append((f"{local(branch)} alone in {where}", Ablation(branch)))
        found.append((f"all that {block} adds in {where}", Ablation(added)))
    return found


def branch_of(taps: Mapping[str, Tap], name: str, added: str) -> str | None:
    """Return which of several things that a block adds up a tensor flows into; None where it is in all, or in one.

    Args:
        taps: every tap of the model.
        name: name of the tensor.
        added: what its block adds, from `added_by`.
    """
    parts = taps[added].inputs
    if len(parts) < 2 or taps[added].weights:
        return None
    reached = {name}
    for tap in taps.values():  # in order of execution
        if tap.name != added and tap.layer == taps[added].layer and reached & set(tap.inputs):
            reached.add(tap.name)
    flows = [part for part in parts if part in reached]
    return flows[0] if len(flows) == 1 else None


def _head(scene: Scene, number: int, where: str) -> list[tuple[str, Ablation]]:
    """Return the head that a box belongs to; a key or value box belongs to its key/value head."""
    boxes, taps = scene.pieces.boxes, scene.shown.graph
    box = boxes[number]
    if box.role in ("k", "v") and "kv_head" in taps[box.plane.tap].axes:
        words = f"{'keys' if box.role == 'k' else 'values'} of key/value head {box.head} of {where}"
        return [(words, Ablation(box.plane.tap, box.head, "kv_head"))]
    output = _output(scene, number)
    if output is None:
        return []
    across = "cross-attention " if "cross" in local(output) else ""
    return [(f"{across}head {box.head} of {where}", Ablation(output, box.head))]


def _output(scene: Scene, number: int) -> str | None:
    """Return the tap of what a head adds, which a box on the head's way flows into."""
    boxes = scene.pieces.boxes
    pairs = [pair for route in scene.pieces.routes for pair in route.pairs]
    reached = {number}
    for _ in ("pattern", "z"):  # a query reaches the pattern first, which reaches what is mixed
        reached |= {b for a, b in pairs if a in reached and boxes[b].role in ("pattern", "z")}
    joined = [boxes[i] for i in sorted(reached)]
    alike = [b for b in boxes if b.layer == boxes[number].layer]
    fits = (b.plane.tap for b in (*joined, *alike) if b.role == "z" and b.head == boxes[number].head)
    return next(fits, None) or _mixed(scene.shown.graph, boxes[number])


def _mixed(taps: Mapping[str, Tap], box: Box) -> str | None:
    """Return the tap of what a pattern's head mixes, where the picture shows patterns alone."""
    heads = [h for layer in anatomy_of(taps, [box.layer]).layers for h in layer.heads]
    return next((h.z for h in heads if h.pattern == box.plane.tap), None)


def _joins_stream(reader: Tap, name: str) -> bool:
    """Tell whether a tap is the residual stream, or its sum with what is added, which a norm may follow."""
    added = any(local(source) in ADDED for source in reader.inputs if source != name)
    return local(reader.name) in ADDED or (added and not reader.weights and "+" in reader.formula)


def added_by(taps: Mapping[str, Tap], name: str) -> str | None:
    """Return the tap through which a tensor reaches the residual stream of its layer first: what its block adds."""
    start = taps[name]
    if start.layer is None or local(name) in ADDED:
        return None
    readers: dict[str, list[str]] = {}
    for tap in taps.values():
        if tap.layer == start.layer:
            for source in tap.inputs:
                readers.setdefault(source, []).append(tap.name)
    waiting, seen = [name], set()
    while waiting:
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        if any(_joins_stream(taps[reader], at) for reader in readers.get(at, ())):
            return at
        waiting += readers.get(at, [])
    return None
