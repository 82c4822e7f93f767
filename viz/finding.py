"""Finding tensors and taps in a scene by any of their names, those too that are only on the way to what is drawn."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from refgguf.taps import Tap
from refgguf.viz.inspect import names_of
from refgguf.viz.scene.build import Scene
from refgguf.viz.state import Shown

LOOSE = 3  # stretch of a name, in lengths of the text, over which the text's letters may be spread
ALIKE = 0.8  # of 1, from where two spellings are near


def names_in(scene: Scene) -> dict[str, int]:
    """Return every name that the scene answers to, and the number of the first box that it leads to.

    Boxes answer to their tensors' names in all vocabularies. What a run has not drawn leads to where it goes: a tap
    to the first drawn tensor that is computed from it, a weight to what is made with it.
    """
    names: dict[str, int] = {}
    run = isinstance(scene.shown, Shown)
    known: set[str] = set()
    for number, box in enumerate(scene.pieces.boxes):
        own = [box.plane.tap, box.title]
        if run and box.plane.tap not in known:  # a tensor has a box for each head
            own += [name for _, name in names_of(scene.shown.trace.tensor(box.plane.tap))]
            known.add(box.plane.tap)
        for name in own:
            if name:
                names.setdefault(name, number)
    if run:
        for name, number in _beside(scene).items():
            names.setdefault(name, number)
    return names


def _beside(scene: Scene) -> dict[str, int]:
    """Return names of taps that are not drawn, and of weights, with the box that each leads to."""
    graph, drawn = scene.shown.graph, _drawn(scene)
    leads = _leads(graph, drawn)
    names: dict[str, int] = {}
    for tap in graph.values():
        number = drawn.get(tap.name, leads.get(tap.name))
        if number is not None:
            for name in (*(name for _, name in names_of(tap)), *tap.weights):
                names.setdefault(name, number)
    return names


def _drawn(scene: Scene) -> dict[str, int]:
    drawn: dict[str, int] = {}
    for number, box in enumerate(scene.pieces.boxes):
        drawn.setdefault(box.plane.tap, number)
    return drawn


def _leads(graph: Mapping[str, Tap], drawn: Mapping[str, int]) -> dict[str, int]:
    """Return for each tap the first box, in order of execution, of what is computed from it."""
    leads: dict[str, int] = {}
    for tap in reversed(graph.values()):  # what is computed from a tap comes after it
        number = drawn.get(tap.name, leads.get(tap.name))
        if number is not None:
            for name in tap.inputs:
                leads[name] = number
    return leads


def find_box(scene: Scene, text: str) -> int | None:
    """Return the number of the box that a text names, as `find_name` understands it; None if none."""
    found = find_name(scene, text)
    return None if found is None else found[1]


def find_name(scene: Scene, text: str) -> tuple[str, int] | None:
    """Return the name that a text stands for, and the number of the box that it leads to; None if there is none.

    A text stands for a name that it is, or begins, or is a part of; that has all of its words ("1 probs"); that has all
    of its letters in their order, the closer together the better ("atnprbs"); or that is nearly spelled like it.
    """
    wanted = text.strip().lower()
    if not wanted:
        return None
    names = {name.lower(): (name, number) for name, number in reversed(names_in(scene).items())}
    if wanted in names:
        return names[wanted]
    for fits in (str.startswith, str.__contains__):
        found = [pair for name, pair in names.items() if fits(name, wanted)]
        if found:
            return min(found, key=lambda pair: pair[1])
    words = wanted.split()
    with_words = [(len(name), pair) for name, pair in names.items() if all(word in name for word in words)]
    letters = "".join(words)
    with_letters = [(span, len(name), pair) for name, pair in names.items() if (span := _span(name, letters))]
    for close in (with_words if len(words) > 1 else [], with_letters):
        if close:
            return min(close, key=lambda found: (*found[:-1], found[-1][1]))[-1]
    spellings = {part: pair for name, pair in names.items() for part in (name.rsplit(".", 1)[-1], name)}
    near = difflib.get_close_matches(wanted, spellings, n=1, cutoff=ALIKE)
    return spellings[near[0]] if near else None


def _span(name: str, letters: str) -> int:
    """Return how long the shortest stretch of a name is that has some letters in their order; 0 if there is none."""
    best = 0
    for start in (i for i, letter in enumerate(name) if letters.startswith(letter)):
        at = start - 1
        for letter in letters:
            at = name.find(letter, at + 1)
            if at < 0:
                break
        else:
            span = at + 1 - start
            best = span if not best or span < best else best
    return best if best <= LOOSE * len(letters) else 0


def remark_on(scene: Scene, name: str, number: int) -> str:
    """Say how a name that was found leads to a box; "" where it is the box's own."""
    box = scene.pieces.boxes[number]
    if not isinstance(scene.shown, Shown):
        return ""
    own = {box.plane.tap, box.title, *(n for _, n in names_of(scene.shown.trace.tensor(box.plane.tap)))}
    if name in own:
        return ""
    if any(name in tap.weights for tap in scene.shown.graph.values()):
        return f"{name} is a weight; what is made with it goes into {box.plane.tap}"
    return f"{name} is not drawn itself; it goes into {box.plane.tap}"
