"""Lay out what mixes tokens without a pattern, such as a recurrent state: slabs in columns above the spine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import local
from refgguf.viz.scene.planes import Plane, cut, side_by_side
from refgguf.viz.scene.stage import AT_DISC, MIDDLE, THIN, Stage

BESIDE = 8.0  # room for tubes at the left of a column
GAP = 4.6  # between slabs, with their names
WIDEST, NARROWEST = 26.0, 1.6
PER_COLUMN = 5
LETTER = 2.2
APART = 0.45  # from lane to lane
BEHIND = -0.5  # depth at which tubes pass columns in between


def _plane(name: str, tap: Tap, values: np.ndarray) -> Plane:
    """Cut a tensor: rows are tokens; of a state that has a matrix for each head they are the matrices' rows."""
    by_head = len(tap.axes) == 3 and tap.axes[0] != "token"
    return side_by_side(name, tap.axes, values) if by_head else cut(name, tap.axes, values)


class StatesZone:
    """The slabs of one layer in their place, in order of execution: up a column, then up the next.

    Args:
        stage: where to put them.
        names: their taps.
        taps: every tap by name.
        values: the tensors by tap name.
        layer: number of the layer.
        x: left side, tubes included.
        bottom: lower side.
        height: height of a slab.
    """

    def __init__(
        self,
        stage: Stage,
        names: Sequence[str],
        taps: Mapping[str, Tap],
        values: Mapping[str, np.ndarray],
        layer: int,
        *,
        x: float,
        bottom: float,
        height: float,
    ):
        self.stage, self.bottom = stage, bottom
        self.boxes: list[int] = []
        self.columns: list[float] = []  # left sides
        self.lanes: dict[int, dict[int, int]] = {}  # column → slab → number of the lane at the column's left
        planes = [_plane(name, taps[name], values[name]) for name in names]
        widths = [plane.shape[1] * stage.units.channel for plane in planes]
        self.left = self.right = x + BESIDE
        for place, (name, width) in enumerate(zip(names, widths, strict=True)):
            row = place % PER_COLUMN
            if row == 0:
                self.columns.append(self.right if place == 0 else self.right + BESIDE)
            y = bottom + row * (height + GAP)
            plane = planes[place]
            size = (min(max(width, NARROWEST), WIDEST), height)
            left = self.columns[-1]
            kind = "state" if taps[name].kind == "state" else "qkv"
            self.boxes.append(
                stage.box(
                    plane, kind, "state", x=left, y=y, size=size, layer=layer, title=taps[name].meaning,
                    pressed=(width / size[0], 1.0),
                )
            )  # fmt: skip
            stage.text(local(name), left, y + height + 0.6, LETTER, align="left", tone=kind, bold=True)
            self.right = max(self.right, left + size[0])
        self.bus_out = self.right + 4.0

    def feed(self, source: int, leave: float) -> None:
        """Run tubes from the spine to the slabs, and between them."""
        stage = self.stage
        first = self.left - 5.0
        for i in self.boxes:
            place = self.boxes.index(i)
            x, y = self.columns[place // PER_COLUMN] - BESIDE * 0.8, self._middle(i)
            way = [(leave, 0), (first, 0)] if place < PER_COLUMN else [(leave, 0), (x, 0)]
            path = [*way, (x if place >= PER_COLUMN else first, y), (stage[i].left - 0.1, y)]
            stage.connect([(source, i)], path, radius=THIN, corner=4.0)
        for place, i in enumerate(self.boxes):
            for later in range(place + 1, len(self.boxes)):
                if stage.real([(i, self.boxes[later])]):
                    self._join(place, later)

    def _lane(self, place: int, column: int) -> float:
        """Return an x in the free space at the left of a column, the same for all tubes from one slab."""
        lanes = self.lanes.setdefault(column, {})
        number = lanes.setdefault(place, len(lanes))
        return self.columns[column] - 1.4 - APART * number

    def _join(self, place: int, later: int) -> None:
        """Run a tube from one slab to a later one; all tubes from a slab run together and branch where they must.

        What passes columns in between runs above the slab's row, below the next, so that it hides behind nothing.
        """
        stage, i, j = self.stage, self.boxes[place], self.boxes[later]
        a, b = stage[i], stage[j]
        column, to = place // PER_COLUMN, later // PER_COLUMN
        if column == to and later == place + 1:
            x = a.left + min(a.size[0], b.size[0]) * 0.8
            stage.connect([(i, j)], [(x, a.top), (x, b.bottom - 0.1)])
            return
        x, y0 = self._lane(place, to), self._middle(i)
        y1 = self._middle(j) + 0.3 * (1.5 - place % 4)
        start = [(a.left if column == to else a.right, y0)]
        if to > column + 1:
            out, over = self._lane(place, column + 1), a.top + GAP - 0.5 - 0.3 * (column % 4)
            start += [(out, y0), (out, over), (x, over)]
        else:
            start.append((x, y0))
        stage.connect([(i, j)], [*start, (x, y1), (b.left - 0.1, y1)], radius=THIN * 0.8, corner=1.0)

    def drain(self, target: int, node: float) -> None:
        """Run a tube from the slabs to the disc where they are added to the stream."""
        stage = self.stage
        real = [i for i in self.boxes if stage.real([(i, target)])]
        if real:
            y = self._middle(real[-1])
            depth = stage.units.depth / 2
            path = [(stage[real[-1]].right, y, BEHIND), (node, y, BEHIND), (node, AT_DISC, depth)]
            stage.connect([(i, target) for i in real], path, radius=MIDDLE, end="residual", corner=3.0)

    def _middle(self, number: int) -> float:
        return self.stage[number].middle[1]
