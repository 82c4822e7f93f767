"""Finding tensors and taps in a scene by any of their names."""

from __future__ import annotations

from refgguf.viz.inspect import names_of
from refgguf.viz.scene.build import Scene
from refgguf.viz.state import Shown


def names_in(scene: Scene) -> dict[str, int]:
    """Return every name that a box of the scene answers to, and the number of the first that does."""
    names: dict[str, int] = {}
    for number, box in enumerate(scene.pieces.boxes):
        own = [box.plane.tap, box.title]
        if isinstance(scene.shown, Shown):
            own += [name for _, name in names_of(scene.shown.trace.tensor(box.plane.tap))]
        for name in own:
            if name:
                names.setdefault(name, number)
    return names


def find_box(scene: Scene, text: str) -> int | None:
    """Return the number of the box that a text names: exactly, or as a beginning, or as a part; None if none."""
    wanted = text.strip().lower()
    if not wanted:
        return None
    names = {name.lower(): number for name, number in reversed(names_in(scene).items())}
    if wanted in names:
        return names[wanted]
    for fits in (str.startswith, str.__contains__):
        found = [number for name, number in names.items() if fits(name, wanted)]
        if found:
            return min(found)
    return None
