"""What is written about a picture: what a cell is, what colours and grey rows are, what is looked at closely."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refgguf.viz.scene.overlay import BENT
from refgguf.viz.scene.parts import Box, pressed_words
from refgguf.viz.scene.planes import ChosenCut
from refgguf.viz.scene.scales import Scale
from refgguf.viz.state import Shown, ShownFile

if TYPE_CHECKING:
    from refgguf.viz.scene.build import Scene

BESIDE = 1.5  # how much narrower than the picture a grid must be to leave room for title and legend beside it
GROUPS_NAMED = 2  # how many ways of being not to scale are said in full
# what colours say where a box has one
UNIFORM_NOTES = (
    ("bits ", "Colour: bits for each weight."),
    ("type ", "Colour: tensor type; bars: its share of the weights shown."),
    ("parameters", "Colour: number of weights in the box, each further step of colour a factor."),
)


def close_words(scene: Scene, part: str | None, size: tuple[int, int]) -> str | None:
    """Write what is looked at closely, which has its title and legend below it; None where they stand beside it."""
    pieces = scene.pieces
    if not pieces.name:
        return part_words(part)
    wide, high = np.ptp(pieces.bounds(), axis=0)[:2]
    if part is None and wide / high < size[0] / size[1] / BESIDE:
        return None
    return ", ".join(w for w in (pieces.name, part_words(part), f"“{scene.shown.facts.prompt}”") if w)


def part_words(part: str | None) -> str | None:
    """Write what is framed: "layer:3" → "layer 3", "head:3.0" → "layer 3, head 0"."""
    if part is None:
        return None
    what, _, number = part.partition(":")
    layer, _, head = number.partition(".")
    return f"layer {layer}, head {head}" if what == "head" else f"{what} {layer}"


def notes_on(scene: Scene, most: int, apart: int = 1) -> list[str]:
    """Say what a cell is, what grey rows are, and what the words above the stream are.

    Args:
        scene: what is shown.
        most: how many values the largest cells stand for.
        apart: how far apart the rows are that large cells are made of.
    """
    boxes = scene.pieces.boxes
    if "error" in scene.scales:  # each box has one of these, and there are few
        apart = max(apart, scene.scales_apart)
        some = f", of one row in {apart} of large boxes" if apart > 1 else ""
        return [
            f"Colour: error over the reference tensor's root mean square{some};",
            "a cell that stands for many weights is the root mean square of their errors.",
        ]
    for begins, words in UNIFORM_NOTES:
        if any(name.startswith(begins) for name in scene.scales):
            return [words, _shape_words(boxes), *_left_out(scene.shown)]
    notes = ["Every cell is one number."]
    shapes = [_shape_words(boxes), *_left_out(scene.shown)] if isinstance(scene.shown, ShownFile) else []
    if most > 1:
        few = f", in small boxes of one row in {apart} (come closer for all)" if apart > 1 else ""
        far = f"; scales are of one row in {scene.scales_apart}" if scene.scales_apart > 1 else ""
        notes = [
            f"A cell is one number; without a grid it stands for up to {most:,}: the one farthest from zero{few}{far}."
        ]
    if any(scale.knee for scale in scene.scales.values()):
        notes.append(BENT)
    if any(box.role == "expert" for box in boxes):
        notes.append("Grey rows: the token went to other experts.")
    notes += _grey_keys(box.plane for box in boxes if isinstance(box.plane, ChosenCut))
    if isinstance(scene.shown, Shown) and scene.shown.lens is not None and not scene.shown.grid:
        notes.append("Above the stream: the next token if the model ended there (logit lens).")
    notes = [*_odd(scene.scales.values()), *scene.pieces.notes, *notes, *shapes] + [
        note for note in (scene.arcs.note, scene.flow.note) if note
    ]
    return notes


def _grey_keys(planes: Iterable[ChosenCut]) -> list[str]:
    """Say what grey cells of patterns are."""
    windows = {plane.outside is not None: None for plane in planes}
    words = {
        False: "earlier tokens that the indexer did not choose",
        True: "tokens outside the query's window",
    }
    found = [text for which, text in words.items() if which in windows]
    return [f"Grey cells of a pattern: {', or '.join(found)}."] if found else []


def _odd(scales: Collection[Scale]) -> list[str]:
    """Say how many values are no numbers, which is the first thing to know where there are any."""
    counts = [sum(scale.n_nan for scale in scales), sum(scale.n_infinite for scale in scales)]
    words = [f"{n:,} {word}" for n, word in zip(counts, ("NaN", "infinite"), strict=True) if n]
    return [f"Striped cells are no numbers: {', '.join(words)}."] if words else []


def _left_out(shown: ShownFile) -> list[str]:
    """Say which tensors are not drawn because they hold no values."""
    n = sum(0 in tensor.shape for tensor in shown.file.tensors.values())
    return [f"{n:,} tensor{'s hold' if n > 1 else ' holds'} no values and cannot be drawn."] if n else []


def _shape_words(boxes: Sequence[Box]) -> str:
    """Say whether boxes have their matrices' true shapes, and which have not, the farthest from it first."""
    if not boxes:
        return ""
    pressed: dict[str, dict[str, None]] = {}
    for box in sorted(boxes, key=lambda box: -max(box.pressed)):
        words = pressed_words(box.pressed)
        if words:
            pressed.setdefault(words, {})[box.plane.tap] = None
    if not pressed:
        return "Boxes have their matrices' true shapes."
    said = [f"{_named(list(names))} {words}" for words, names in list(pressed.items())[:GROUPS_NAMED]]
    rest = {name for names in list(pressed.values())[GROUPS_NAMED:] for name in names}
    if rest:
        said.append(f"{len(rest):,} more {'are' if len(rest) > 1 else 'is'} not to scale either")
    return f"Boxes have their matrices' true shapes, but {'; '.join(said)}."


def _named(names: Sequence[str]) -> str:
    """Return the subject of a sentence on tensors, with its verb."""
    if len(names) == 1:
        return f"{names[0]} is"
    others = names[1] if len(names) == 2 else f"{len(names) - 1:,} others"
    return f"{names[0]} and {others} are"
