"""The words of a picture that shows one operation: what it does below, what runs above, its own scale beside.

A picture of one step among many must be read at a glance: it has no full legend and no notes, and leaves the room to
the scene.
"""

from __future__ import annotations

from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.overlay import LETTER, Overlay, Pen, legend, unless_in_the_way
from refgguf.viz.scene.writing import cropped
from refgguf.viz.steps import Step

HEAD, WORDS = 30.0, 21.0  # letters of the operation's name, and of what it means
TOP = 22.0  # of what runs
LEGEND = 250.0  # room for the scale at the right
BAND, LINE = 108.0, 56.0  # height of what is written below and above


def clipped(text: str, room: int) -> str:
    """Return a text of at most so many letters, its end left out."""
    return text if len(text) <= room else text[: max(room - 2, 1)].rstrip(" ,;·(=") + " …"


def step_overlay(scene: Scene, size: tuple[int, int], step: Step | None, *, close: bool = False) -> Overlay:
    """Compose the words for one operation.

    Args:
        scene: what is shown.
        size: width and height of the picture.
        step: the operation; None for the words of the whole.
        close: whether a part is looked at, which fills the picture from side to side.

    Returns:
        Nothing where they would leave no room for the scene.
    """
    pen = Pen(size)
    s, facts = pen.scale, scene.shown.facts
    pen.overlay.covers.append((-60.0, pen.height - BAND * s, pen.width + 60.0, pen.height + 60.0))
    pen.overlay.covers.append((-60.0, -60.0, pen.width + 60.0 if close else 0.62 * pen.width, LINE * s))
    across = pen.width - 2 * pen.margin
    top = pen.height - (TOP + 24) * s
    pen.text(facts.name, pen.margin, top, TOP, align="left", tone="ink", bold=True)
    if facts.prompt:
        start = pen.margin + (len(facts.name) + 2.2) * TOP * (LETTER + 0.05) * s
        room = int((0.95 * pen.width - start) / (TOP * LETTER * s))
        pen.text(f"“{cropped(facts.prompt, room)}”", start, top, TOP, align="left")
    if step is None:
        said = f"→ {facts.outcome}" if facts.outcome else ""
        pen.text(said, pen.margin, 62 * s, HEAD, align="left", tone="logits", bold=True)
        details = "  ·  ".join(facts.details)
        pen.text(
            cropped(details, int(across / (WORDS * LETTER * s))), pen.margin, 26 * s, WORDS, align="left"
        )
        return unless_in_the_way(pen.overlay, size)
    tensor = scene.shown.trace.tensor(step.tap)
    room = across - (LEGEND + 40) * s
    where = "" if step.layer is None else f"layer {step.layer}  ·  "
    what, _, more = tensor.meaning.partition(": ")
    fits = room / (HEAD * (LETTER + 0.04) * s)
    if len(where) + len(tensor.meaning) <= fits:
        what, more = tensor.meaning, ""
    pen.text(
        clipped(f"{where}{what}", int(fits)), pen.margin, 62 * s, HEAD, align="left", tone="ink", bold=True
    )
    words = f"{step.tap} = {tensor.formula}" if tensor.formula else step.tap
    fits = int(room / (WORDS * LETTER * s))
    if more:
        words = next((w for w in (f"{more}  ·  {words}", f"{more}  ·  {step.tap}") if len(w) <= fits), more)
    pen.text(clipped(words, fits), pen.margin, 26 * s, WORDS, align="left")
    scale = scene.pieces.boxes[min(step.boxes)].scale
    pen.pitch, pen.gap = LEGEND * s, 30 * s
    legend(pen, scale, scene.scales[scale], pen.width - pen.margin - (LEGEND - 30) * s, 46 * s)
    return unless_in_the_way(pen.overlay, size)
