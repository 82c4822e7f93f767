"""Steps through a forward pass: the drawn tensors in order of execution, what flows into each, and in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.errors import InputError
from refgguf.viz.scene.anatomy import local, stack_words
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import hue_kind
from refgguf.viz.scene.picking import Hit, cell_hit
from refgguf.viz.scene.planes import ABSENT


@dataclass(frozen=True)
class Step:
    """One operation of the forward pass, as far as it is drawn.

    Attributes:
        tap: name of the tensor that it makes.
        boxes: numbers of the boxes that show the tensor.
        inputs: numbers of the boxes that flow into them.
        routes: numbers of the tubes along which they flow.
        words: what happens, in one line.
        kind: kind of the tensor.
        layer: number of its layer, or None.
        stack: "encoder " or "decoder " where there are two stacks of layers, else "".
    """

    tap: str
    boxes: frozenset[int]
    inputs: frozenset[int]
    routes: frozenset[int]
    words: str
    kind: str = "residual"
    layer: int | None = None
    stack: str = ""


def steps_of(scene: Scene) -> list[Step]:
    """Return the operations of a scene in order of execution."""
    trace, pieces = scene.shown.trace, scene.pieces
    boxes: dict[str, set[int]] = {}
    for number, box in enumerate(pieces.boxes):
        boxes.setdefault(box.plane.tap, set()).add(number)
    into: dict[str, tuple[set[int], set[int]]] = {tap: (set(), set()) for tap in boxes}
    for number, route in enumerate(pieces.routes):
        for source, target in route.pairs:
            inputs, routes = into[pieces.boxes[target].plane.tap]
            inputs.add(source)
            routes.add(number)
    steps = []
    for tap in trace.names:
        if tap in boxes:
            tensor = trace.tensor(tap)
            stack = stack_words(tap)
            where = f"{stack}layer {tensor.layer}, " if tensor.layer is not None else stack
            words = f"{where}{local(tap)}: {tensor.meaning}"
            inputs, routes = (frozenset(s) for s in into[tap])
            steps.append(
                Step(
                    tap,
                    frozenset(boxes[tap]),
                    inputs,
                    routes,
                    words,
                    hue_kind(tensor.kind),
                    tensor.layer,
                    stack,
                )
            )
    return steps


def chosen_steps(steps: Sequence[Step], text: str) -> list[Step]:
    """Return the operations that a text stands for: "7", "7-12" (counted from 1), or the name of a tap.

    Raises:
        InputError: there are no such operations.
    """
    match = re.fullmatch(r"\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*", text)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= len(steps):
            return list(steps[first - 1 : last])
        if last < first:
            raise InputError(f"--steps {text!r}: a range goes forward, such as {last}-{first}")
        raise InputError(f"--steps {text!r}: the picture has operations 1 to {len(steps)}")
    found = [step for step in steps if step.tap == text.strip()]
    if not found:
        some = ", ".join(step.tap for step in steps[1:4])
        raise InputError(
            f"--steps {text!r}: give a number or a range such as 7-12, or the name of what is drawn, such as {some}"
        )
    return found


def example_of(scene: Scene, step: Step) -> Hit:
    """Return where an operation can be looked at: the value farthest from zero that it gives the chosen token."""
    number = min(step.boxes)
    plane = scene.pieces.boxes[number].plane
    row = scene.shown.token_index if plane.axes[0] in ("token", "query") else 0
    cells = plane.pooled(1, 1)[row]
    # what was not computed, or is no number, only if there is nothing else
    there = np.isfinite(cells) & (cells != ABSENT)
    col = int(np.argmax(np.where(there, np.abs(cells), -1.0)))
    return cell_hit(scene.pieces.boxes, number, row, col)


def around(scene: Scene, number: int) -> tuple[set[int], set[int]]:
    """Return the boxes that flow into one box or that it flows into, itself included, and the tubes between."""
    boxes, routes = {number}, set()
    for at, route in enumerate(scene.pieces.routes):
        near = [pair for pair in route.pairs if number in pair]
        if near:
            routes.add(at)
            boxes.update(i for pair in near for i in pair)
    return boxes, routes
