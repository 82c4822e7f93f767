"""The pieces a scene is made of, before anything is drawn: boxes, edges, labels, floor cards.

World units; x runs along the model, y upwards, z towards the viewer. Boxes stand upright, their front faces look
along +z. The renderer turns these lists into buffers; tests read them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.scene.anatomy import local
from refgguf.viz.scene.mixers import scale_inside
from refgguf.viz.scene.planes import Plane

Point = tuple[float, float, float]
RIGHT: Point = (1.0, 0.0, 0.0)
UP: Point = (0.0, 1.0, 0.0)
DEPTH = 1.5  # thickness of a box
LEAST_PRESSED = 1.05  # what is less than this much smaller than to scale is as good as to scale
# kinds that are read against the scale of another
SCALE_OF = {"embedding": "residual", "norm": "residual"}


@dataclass(frozen=True, eq=False)
class Box:
    """A box whose front face shows a plane.

    Attributes:
        plane: its values.
        kind: kind of tensor, which gives colours and scale.
        role: what it is in the model: "spine", "q", "k", "v", "pattern", "z", "neurons", "router", "expert" …
        layer: number of its layer, or None.
        head: number of its head, key/value head or expert, or None.
        origin: its lower, left, back corner.
        size: width, height, thickness.
        title: what people call it.
        pressed: how many times narrower and lower it is than to the scale of everything else; 1 where it is to scale.
        apart: space beside it and below it up to other boxes of the same tensor; from so far that these gaps are no
            wider than a pixel they are drawn closed, since a pattern of them would show stripes that are not there.
    """

    plane: Plane
    kind: str
    role: str
    layer: int | None
    head: int | None
    origin: Point
    size: Point
    title: str = ""
    pressed: tuple[float, float] = (1.0, 1.0)
    apart: tuple[float, float] = (0.0, 0.0)

    @property
    def scale(self) -> str:
        """Which scale its values are read against: its kind's, but values and what is mixed of them have their own."""
        if self.role.startswith("weight"):
            if hasattr(self.plane, "reference"):
                return "error"
            colour = getattr(self.plane, "colour", "values")
            if colour in ("type", "parameters"):
                return f"type {self.plane.tensor.type}" if colour == "type" else colour
            return f"{'bits' if colour == 'bits' else 'vectors' if self.plane.shape[0] == 1 else 'weights'} {self.kind}"
        if self.role == "state" or (self.role == "gate" and self.kind == "qkv"):
            return scale_inside(local(self.plane.tap), self.kind)
        return "values" if self.role in ("v", "z") else SCALE_OF.get(self.kind, self.kind)

    @property
    def left(self) -> float:
        """Its left side."""
        return self.origin[0]

    @property
    def right(self) -> float:
        """Its right side."""
        return self.origin[0] + self.size[0]

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.origin[1]

    @property
    def top(self) -> float:
        """Its upper side."""
        return self.origin[1] + self.size[1]

    @property
    def middle(self) -> Point:
        """Its centre."""
        (x, y, z), (width, height, depth) = self.origin, self.size
        return x + width / 2, y + height / 2, z + depth / 2


def pressed_words(pressed: tuple[float, float]) -> str:
    """Say that a box is not to scale, such as "not to scale: all rows in 1/12 of their height"; "" if it is."""
    across, down = pressed
    parts = [
        f"all {what} in 1/{_rounded(by)} of their {side}"
        for by, what, side in ((down, "rows", "height"), (across, "columns", "width"))
        if by >= LEAST_PRESSED
    ]
    return f"not to scale: {', '.join(parts)}" if parts else ""


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.2g}"


@dataclass(frozen=True, eq=False)
class Route:
    """A tube along which values flow.

    Attributes:
        points: (n, 3) its middle line.
        radius: its radius; 0 for a flow between aligned neighbours that needs no tube.
        start: kind whose hue it has at its start.
        end: kind whose hue it has at its end.
        pairs: (source box, target box) numbers of all the flows that it carries.
        arrow: whether it ends in an arrow head.
    """

    points: np.ndarray
    radius: float
    start: str
    end: str
    pairs: tuple[tuple[int, int], ...]
    arrow: bool = True


@dataclass(frozen=True)
class Label:
    """A line of text in the scene.

    Attributes:
        text: what it says.
        at: where its baseline is, at the aligned end.
        height: size of the letters (their em), world units.
        align: "left", "center" or "right": which end of the text stands at `at`.
        tone: "ink", "muted" or a kind, whose hue it has.
        bold: whether it is bold.
        u: direction in which it is read.
        v: direction of its ascenders.
    """

    text: str
    at: Point
    height: float
    align: str = "center"
    tone: str = "muted"
    bold: bool = False
    u: Point = RIGHT
    v: Point = UP


@dataclass(frozen=True)
class Card:
    """A rounded card on the floor of a shelf, with the shadows of what stands above it."""

    x: float
    z: float
    width: float
    depth: float
    shelf: int = 0


@dataclass(frozen=True)
class Node:
    """A disc on the spine where something is added to the residual stream."""

    at: Point
    radius: float


@dataclass(frozen=True)
class Bar:
    """A flat bar that shows one probability.

    Attributes:
        origin: lower left corner of its front.
        size: full width (probability 1), height.
        share: 0 … 1.
        kind: kind whose hue it has.
        u: direction in which it is long.
    """

    origin: Point
    size: tuple[float, float]
    share: float
    kind: str
    u: Point = RIGHT

    @property
    def end(self) -> Point:
        """The lower right corner of its front."""
        return tuple(o + self.size[0] * u for o, u in zip(self.origin, self.u, strict=True))


@dataclass(eq=False)
class Pieces:
    """Everything that a layout puts in place; numbers of boxes are indices into `boxes`.

    Attributes:
        floor: how high the floor of the first shelf is.
        shelves: how high each shelf's spine is; a scene that fits on one line has one.
        angles: azimuth, elevation and field of view, in degrees, among which the overview chooses; the usual ones if
            there are none.
        nearness: how strong the perspective is, 1 where depth is to be seen.
        name: what is shown, where that is not the whole of a model.
        notes: sentences on what is shown, for the foot of the legend.
    """

    boxes: list[Box] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    floor: float = 0.0
    shelves: tuple[float, ...] = (0.0,)
    angles: tuple[Point, ...] = ()
    nearness: float = 1.0
    name: str = ""
    notes: tuple[str, ...] = ()

    def floor_of(self, card: Card) -> float:
        """Return how high a card lies."""
        return self.floor + self.shelves[card.shelf]

    def shelf_at(self, y: float) -> int:
        """Return the number of the shelf that something at height y stands on."""
        return int(np.argmax(y > self.floor + np.array(self.shelves)))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest corner of all boxes and cards."""
        low = [b.origin for b in self.boxes] + [(c.x, self.floor_of(c), c.z) for c in self.cards]
        high = [tuple(np.add(b.origin, b.size)) for b in self.boxes]
        high += [(c.x + c.width, self.floor_of(c), c.z + c.depth) for c in self.cards]
        return np.min(low, axis=0), np.max(high, axis=0)
