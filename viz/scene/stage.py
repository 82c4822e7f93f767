"""The stage: collects boxes and edges while a layout puts them in place, and refuses edges that are not real.

A layout only proposes where an edge could run; whether there is one is read off the taps' inputs. What no layout
drew is drawn at the end as a plain arc, so that every real flow between drawn tensors is there, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from refgguf.viz.scene.curves import bezier, rounded
from refgguf.viz.scene.parts import Box, Label, Node, Pieces, Point, Route
from refgguf.viz.scene.planes import Plane
from refgguf.viz.scene.units import Units

CORNER = 2.4
THIN, MIDDLE, THICK = 0.15, 0.22, 0.36
DISC = 1.6  # radius of the discs on the spine where something is added
AT_DISC = DISC + 0.15  # from the middle of a disc to the tip of a tube that ends there
# further apart than this many boxes, an edge that no layout drew rises above what is between
ARC_HEIGHT, HIGHEST_ARC = 0.35, 16.0
MOST_ARCS = 3  # from one tensor; more of them share a rail above everything, behind it where they descend
ABOVE_ALL, BEHIND = 6.0, -0.6
RAILS_APART = 0.9


class Stage:
    """Collects the pieces of a scene.

    Args:
        units: how large things are.
        sources: for each drawn tap the drawn taps that it is computed from.
    """

    def __init__(self, units: Units, sources: Mapping[str, Sequence[str]]):
        self.units = units
        self.sources = sources
        self.pieces = Pieces()
        self.by_tap: dict[str, list[int]] = {}
        self._taps: list[str] = []
        self._fronts = np.zeros((0, 4))  # left, lower, right and upper sides of all boxes, at the end

    def box(
        self,
        plane: Plane,
        kind: str,
        role: str,
        *,
        x: float,
        y: float,
        size: tuple[float, float],
        layer: int | None = None,
        head: int | None = None,
        title: str = "",
        pressed: tuple[float, float] = (1.0, 1.0),
        apart: tuple[float, float] = (0.0, 0.0),
    ) -> int:
        """Put a box in place by its lower left corner; returns its number."""
        depth = self.units.depth
        box = Box(plane, kind, role, layer, head, (x, y, 0.0), (*size, depth), title, pressed, apart)
        self.pieces.boxes.append(box)
        number = len(self.pieces.boxes) - 1
        self.by_tap.setdefault(plane.tap, []).append(number)
        self._taps.append(plane.tap)
        return number

    def __getitem__(self, number: int) -> Box:
        return self.pieces.boxes[number]

    def real(self, pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        """Return those (source box, target box) pairs between which values flow."""
        taps, sources = self._taps, self.sources
        return tuple((a, b) for a, b in pairs if taps[a] in sources.get(taps[b], ()))

    def connect(
        self,
        pairs: Iterable[tuple[int, int]],
        points: Sequence[Sequence[float]],
        *,
        radius: float = THIN,
        start: str | None = None,
        end: str | None = None,
        arrow: bool = True,
        corner: float = CORNER,
        follow: bool = True,
    ) -> bool:
        """Draw an edge, if it carries any real flow.

        Args:
            pairs: (source box, target box) numbers of the flows that it would carry.
            points: its corners; two numbers are x and y in the middle of the boxes' thickness.
            radius: of the tube.
            start: kind whose hue it starts with; the first source's if None.
            end: kind whose hue it ends with; the first target's if None.
            arrow: whether it ends in an arrow head.
            corner: rounding of its corners.
            follow: False for a path that is drawn as it is.

        Returns:
            Whether it was drawn.
        """
        pairs = self.real(pairs)
        if not pairs:
            return False
        depth = self.units.depth / 2
        path = [(*p, depth) if len(p) == 2 else tuple(p) for p in points]
        line = rounded(path, corner) if follow else np.asarray(path, np.float64)
        start, end = start or self[pairs[0][0]].kind, end or self[pairs[0][1]].kind
        self.pieces.routes.append(Route(line, radius, start, end, pairs, arrow))
        return True

    def touch(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Note flows between aligned neighbours that need no tube to be seen."""
        for a, b in self.real(pairs):
            line = np.array([self[a].middle, self[b].middle])
            self.pieces.routes.append(Route(line, 0.0, self[a].kind, self[b].kind, ((a, b),), arrow=False))

    def text(self, text: str, x: float, y: float, height: float, *, z: float | None = None, **style) -> None:
        """Write a label upright, in the plane of the boxes' front faces unless z says otherwise; nothing if empty."""
        if text:
            at = x, y, self.units.depth if z is None else z
            self.pieces.labels.append(Label(text, at, height, **style))

    def node(self, x: float, y: float = 0.0, radius: float = DISC) -> None:
        """Put a disc on the spine where something is added."""
        self.pieces.nodes.append(Node((x, y, self.units.depth / 2), radius))

    def finish(self) -> Pieces:
        """Draw every real edge that no layout has drawn: an arc, or a branch of a rail where there are many."""
        drawn = {(self[a].plane.tap, self[b].plane.tap) for r in self.pieces.routes for a, b in r.pairs}
        missing: dict[str, list[str]] = {}
        for target, sources in self.sources.items():
            for source in sources:
                if (source, target) not in drawn and source in self.by_tap and target in self.by_tap:
                    missing.setdefault(source, []).append(target)
        n_rails = 0
        self._fronts = np.array([(*box.origin[:2], box.right, box.top) for box in self.pieces.boxes])
        for source, targets in missing.items():
            starts, ends = self.by_tap[source], [self.by_tap[target] for target in targets]
            arcs = len(ends) <= MOST_ARCS
            left = [end for end in ends if not (arcs and self._arc(starts, end))]
            if left:
                rail = self._above(starts, *left) + RAILS_APART * n_rails
                n_rails += 1
            for end in left:
                self._rail(starts, end, rail)
        return self.pieces

    def _above(self, *ends: list[int]) -> float:
        """Return how high a tube runs above everything between the outermost of some boxes."""
        at = [self._top(numbers)[0] for numbers in ends]
        between = (self._fronts[:, 2] > min(at)) & (self._fronts[:, 0] < max(at))
        return float(self._fronts[between, 3].max()) + ABOVE_ALL

    def _crosses(self, path: np.ndarray) -> bool:
        """Tell whether a path runs across the front of a box."""
        low, high = self._fronts[:, None, :2], self._fronts[:, None, 2:]
        return bool(((path[:, :2] > low) & (path[:, :2] < high)).all(axis=2).any())

    def _arc(self, sources: list[int], targets: list[int]) -> bool:
        """Draw one arc between the middles of tops, unless it would run across others; returns whether it did."""
        start, end = self._top(sources), self._top(targets)
        rise = 4.0 + min(ARC_HEIGHT * abs(end[0] - start[0]), HIGHEST_ARC)
        high = max(start[1], end[1]) + rise
        path = bezier(
            start, (start[0], high, start[2]), (end[0], high, end[2]), (end[0], end[1] + 0.3, end[2]), n=40
        )
        pairs = [(a, b) for a in sources for b in targets]
        return not self._crosses(path) and self.connect(pairs, path, follow=False)

    def _rail(self, sources: list[int], targets: list[int], rail: float) -> None:
        """Draw an edge along the rail, at that height, that all edges from these sources share."""
        start, end = self._top(sources), self._top(targets)
        start = (*start[:2], BEHIND)
        across = [(start[0], rail, BEHIND), (end[0], rail, BEHIND), (end[0], end[1] + 0.3, BEHIND)]
        self.connect([(a, b) for a in sources for b in targets], [start, *across], corner=ABOVE_ALL / 2)

    def _top(self, numbers: list[int]) -> Point:
        boxes = [self[i] for i in numbers]
        top = max(b.top for b in boxes)
        left, right = min(b.left for b in boxes), max(b.right for b in boxes)
        return (left + right) / 2, top, self.units.depth / 2
