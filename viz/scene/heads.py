"""Lay out the heads of an attention as the matrix products that they are.

one key/value head and the query heads that share it        the arithmetic reads off the alignment:
            ┌──────┐  ┌─────┐                               a row of a pattern belongs to the row of Q at its left,
            │  Kᵀ  │  │  V  │                               a column of it to the column of Kᵀ above,
            └──────┘  └─────┘                               a row of Z to the row of the pattern at its left,
     ┌────┐ ┌──────┐  ┌─────┐                               a column of Z to the column of V above.
head │ Q  │ │ Q Kᵀ │  │  Z  │
     └────┘ └──────┘  └─────┘                               Grouped queries show as several rows under one Kᵀ, V.
     ┌────┐ ┌──────┐  ┌─────┐
head │ Q  │ │ Q Kᵀ │  │  Z  │
     └────┘ └──────┘  └─────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from refgguf.viz.scene.anatomy import Heads
from refgguf.viz.scene.planes import cut
from refgguf.viz.scene.stage import MIDDLE, THIN, Stage
from refgguf.viz.scene.units import Units

BUS_LEFT, BUS_RIGHT = 6.6, 3.2  # room for the tubes beside a column of groups
GROUP_GAP = 4.2  # between groups in a column
LETTER = 1.25  # size of the names of heads
LEAST_LETTER = 0.5  # rows lower than this share a name
LEAD = 3.0  # length along a bus over which a branch joins it


@dataclass(frozen=True)
class HeadShape:
    """Numbers of heads and sizes of their boxes, in world units.

    Attributes:
        n_heads: query heads.
        n_groups: key/value heads.
        q: width of Q.
        pattern: width and height of a pattern.
        k: width and height of transposed K.
        v: width and height of V.
        z: width of Z.
    """

    n_heads: int
    n_groups: int
    q: float
    pattern: tuple[float, float]
    k: tuple[float, float]
    v: tuple[float, float]
    z: float

    @property
    def per_group(self) -> int:
        """Query heads that share a key/value head."""
        return self.n_heads // self.n_groups

    def group(self, units: Units) -> tuple[float, float]:
        """Return the width and height of one group."""
        gaps = units.gap * ((self.q > 0) + (self.z > 0))
        width = self.q + self.pattern[0] + max(self.z, self.v[0]) + gaps
        head_row = max(self.k[1], self.v[1])
        height = (
            (head_row + units.gap if head_row else 0)
            + self.per_group * (self.pattern[1] + units.gap)
            - units.gap
        )
        return width, height

    def zone(self, units: Units, columns: int) -> tuple[float, float]:
        """Return the width and height of all groups in so many columns, with the tubes beside them."""
        width, height = self.group(units)
        rows = -(-self.n_groups // columns)
        return columns * (BUS_LEFT + width + BUS_RIGHT), rows * (height + GROUP_GAP) - GROUP_GAP


def head_shape(heads: Heads, values: Mapping[str, np.ndarray], units: Units) -> HeadShape:
    """Measure the heads of an attention."""
    n_heads, n_queries, n_keys = values[heads.pattern].shape

    def width(name: str | None) -> float:
        return values[name].shape[2] * units.head_channel if name else 0.0

    def rows(name: str | None) -> float:
        return len(values[name]) * units.cell if name else 0.0

    counts = {values[n].shape[1] for n in (heads.k, heads.v) if n}
    n_groups = max(counts, default=n_heads)
    if n_heads % n_groups:
        n_groups = n_heads
    return HeadShape(
        n_heads,
        n_groups,
        q=width(heads.q),
        pattern=(n_keys * units.cell, n_queries * units.cell),
        k=(rows(heads.k), width(heads.k)),
        v=(width(heads.v), rows(heads.v)),
        z=width(heads.z),
    )


@dataclass
class Column:
    """A column of groups: its place and the boxes that tubes run to and from."""

    left: float
    right: float
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @property
    def bus_in(self) -> float:
        """Where the tube at its left rises."""
        return self.left - BUS_LEFT + 1.6

    @property
    def bus_out(self) -> float:
        """Where the tube at its right descends."""
        return self.right + BUS_RIGHT - 0.9


class HeadsZone:
    """The heads of one attention in their place.

    Args:
        stage: where to put them.
        heads: their taps.
        values: the tensors by tap name.
        layer: number of the layer.
        x: left side, tubes included.
        bottom: lower side.
        columns: in how many columns to put the groups.
        rows: names of the queries.
        named: whether heads are labelled.
    """

    def __init__(
        self,
        stage: Stage,
        heads: Heads,
        values: Mapping[str, np.ndarray],
        layer: int,
        *,
        x: float,
        bottom: float,
        columns: int,
        rows: Sequence[str],
        named: bool,
    ):
        self.rows = rows
        self.stage, self.heads, self.values, self.layer = stage, heads, values, layer
        self.shape = head_shape(heads, values, stage.units)
        self.bottom, self.named = bottom, named
        width, height = self.shape.group(stage.units)
        total_width, total_height = self.shape.zone(stage.units, columns)
        self.left, self.right, self.top = x, x + total_width, bottom + total_height
        rows = -(-self.shape.n_groups // columns)
        self.columns = []
        for c in range(columns):
            left = x + c * (BUS_LEFT + width + BUS_RIGHT) + BUS_LEFT
            self.columns.append(Column(left, left + width))
            for r in range(rows):
                group = c * rows + r
                if group < self.shape.n_groups:
                    self._group(group, self.columns[-1], self.top - r * (height + GROUP_GAP))
        self.columns = [c for c in self.columns if c.outputs or c.inputs]
        if named:
            self._titles()

    def _box(
        self,
        name: str,
        role: str,
        head: int,
        axis: int,
        x: float,
        y: float,
        size,
        title: str,
        transpose=False,
    ):
        kind = "attention" if role == "pattern" else "qkv"
        plane = cut(name, self._axes(role), self.values[name], {axis: head}, transpose=transpose)
        return self.stage.box(
            plane, kind, role, x=x, y=y, size=size, layer=self.layer, head=head, title=f"{title} {head}"
        )

    def _axes(self, role: str) -> tuple[str, str, str]:
        if role == "pattern":
            return "head", "query", "key"
        return "token", "head" if role in "qz" else "kv_head", "d_head"

    def _group(self, group: int, column: Column, top: float) -> None:
        shape, heads, gap = self.shape, self.heads, self.stage.units.gap
        x_pattern = column.left + (shape.q + gap if shape.q else 0)
        x_z = x_pattern + shape.pattern[0] + gap
        head_row = max(shape.k[1], shape.v[1])
        base = top - head_row
        k = v = None
        if heads.k:
            at = min(group, self.values[heads.k].shape[1] - 1)
            x_k = x_pattern + shape.pattern[0] - shape.k[0]  # the newest key stands over the last column
            k = self._box(heads.k, "k", at, 1, x_k, base, shape.k, "keys of head", transpose=True)
            column.inputs.append(k)
        if heads.v:
            at = min(group, self.values[heads.v].shape[1] - 1)
            v = self._box(heads.v, "v", at, 1, x_z, base, shape.v, "values of head")
            column.inputs.append(v)
        y = base - gap if head_row else top
        for head in range(group * shape.per_group, (group + 1) * shape.per_group):
            y -= shape.pattern[1]
            self._row(head, column, x_pattern, x_z, y, k, v)
            y -= gap

    def _row(
        self, head: int, column: Column, x_pattern: float, x_z: float, y: float, k: int | None, v: int | None
    ):
        shape, heads, stage = self.shape, self.heads, self.stage
        middle = y + shape.pattern[1] / 2
        height = shape.pattern[1]
        self._row_names(column.left, y + height)
        pattern = self._box(
            heads.pattern, "pattern", head, 0, x_pattern, y, shape.pattern, "attention of head"
        )
        q = z = None
        if heads.q:
            q = self._box(heads.q, "q", head, 1, column.left, y, (shape.q, height), "queries of head")
            column.inputs.append(q)
        if heads.z:
            z = self._box(heads.z, "z", head, 1, x_z, y, (shape.z, height), "mixed values of head")
        column.outputs.append(pattern if z is None else z)
        if not stage.units.fine:
            self._link(q, k, v, pattern, z)
            return
        if q is not None:
            stage.connect(
                [(q, pattern)], [(stage[q].right, middle), (x_pattern - 0.1, middle)], radius=THIN * 0.8
            )
        if z is not None:
            right = x_pattern + shape.pattern[0]
            stage.connect([(pattern, z)], [(right, middle), (x_z - 0.1, middle)], radius=THIN * 0.8)
        self._drop(k, pattern, x_pattern + shape.pattern[0] / 2)
        self._drop(v, z, x_z + shape.z / 2)
        stage.text(f"head {head}", column.left, y + shape.pattern[1] + 0.4, LETTER, align="left")

    def _row_names(self, x: float, top: float) -> None:
        """Write the tokens beside the rows of a head, for those who come close."""
        cell = self.stage.units.cell
        step = max(1, int(np.ceil(LEAST_LETTER / cell)))
        size = min(cell * step * 0.66, 0.9)
        for row in range(0, len(self.rows), step) if self.stage.units.fine else ():
            y = top - (row + step / 2) * cell - size * 0.34
            self.stage.text(self.rows[row], x - 1.15, y, size, align="right")

    def _drop(self, source: int | None, target: int | None, x: float) -> None:
        """Run a tube from K or V down to a head; to the second head of a group it runs behind the first."""
        if source is None or target is None:
            return
        start, end = self.stage[source].bottom, self.stage[target].top
        behind = -0.35 if start - end > self.stage.units.gap * 1.5 else self.stage.units.depth / 2
        points = [(x, start, behind), (x, end + 0.1, behind)]
        self.stage.connect([(source, target)], points, radius=THIN * 0.8)

    def _link(self, q: int | None, k: int | None, v: int | None, pattern: int, z: int | None) -> None:
        """Where there are too many heads for tubes of their own: the gaps between aligned boxes stand for them."""
        pairs = [(q, pattern), (k, pattern), (pattern, z), (v, z)]
        self.stage.touch([(a, b) for a, b in pairs if a is not None and b is not None])

    def _titles(self) -> None:
        """Name the columns of boxes below the lowest group, and K and V beside theirs."""
        stage, shape = self.stage, self.shape
        fine = stage.units.fine
        size = 1.9 if fine else 2.6
        for column in self.columns:
            below = min(stage[i].bottom for i in column.outputs) - size * 1.25
            x_pattern = column.left + (shape.q + stage.units.gap if shape.q else 0)
            names = [
                ("Q", column.left, shape.q, "qkv"),
                ("attention", x_pattern, shape.pattern[0], "attention"),
            ]
            names.append(("Z", x_pattern + shape.pattern[0] + stage.units.gap, shape.z, "qkv"))
            for text, x, width, kind in names:
                if width:
                    stage.text(text, x + width / 2, below, size, tone=kind, bold=True)
            for box in (stage[i] for i in column.inputs if fine):
                if box.role in "kv":
                    text = f"{box.role.upper()} {box.head}"
                    stage.text(
                        text, box.left, box.top + 0.4, LETTER * 1.1, align="left", tone="qkv", bold=True
                    )

    # ---- tubes to and from the spine

    @property
    def bus_out(self) -> float:
        """Where the tube that joins the spine descends."""
        return self.columns[-1].bus_out

    def feed(self, source: int, leave: float) -> None:
        """Run tubes from the spine to Q, K and V of every head.

        Args:
            source: number of the spine's box that feeds them.
            leave: x at which the tube leaves the spine.
        """
        stage = self.stage
        depth = stage.units.depth
        for number, column in enumerate(self.columns):
            ends = [self._entry(i) for i in column.inputs]
            if not ends:
                continue
            x, z = column.bus_in, depth / 2 if number == 0 else depth * 0.2
            top = max(y for _, y in ends) - LEAD
            start = [(leave, 0, z), (self.columns[0].bus_in, 0, z)]
            turn = (
                [(self.columns[0].bus_in, self.bottom - 4.6, z), (x, self.bottom - 4.6, z)] if number else []
            )
            stage.connect(
                [(source, i) for i in column.inputs],
                [*start, *turn, (x, top, z)],
                radius=MIDDLE,
                end="qkv",
                arrow=not stage.units.fine,
                corner=6.0,
            )
            if stage.units.fine:
                for i, (points, y) in zip(column.inputs, ends, strict=True):
                    path = [(x, y - LEAD), (x, y), *points]
                    stage.connect([(source, i)], path, radius=THIN * 0.7, start="qkv", corner=LEAD)

    def _entry(self, number: int) -> tuple[list[tuple[float, float]], float]:
        """Return the last corners of the way to a box, and the height at which it leaves the bus."""
        box = self.stage[number]
        middle = box.bottom + box.size[1] / 2
        if box.role == "q":  # runs between two rows, so that it strikes no name through
            middle += (len(self.rows) % 2) * self.stage.units.cell / 2
        if box.role != "v":
            return [(box.left - 0.1, middle)], middle
        over = self._top_of_group(box) + 2.2
        x = box.left + box.size[0] / 2
        return [(x, over), (x, box.top + 0.1)], over

    def _top_of_group(self, box) -> float:
        return box.bottom + max(self.shape.k[1], self.shape.v[1])

    def drain(self, target: int, node: float) -> None:
        """Run tubes from every head back to the spine.

        Args:
            target: number of the spine's box that they are added into.
            node: x of the disc where they are added.
        """
        stage = self.stage
        depth = stage.units.depth
        last = self.columns[-1]
        for column in self.columns:
            x = column.bus_out
            z = depth / 2 if column is last else depth * 0.8
            rows = [(i, stage[i].right, stage[i].bottom + stage[i].size[1] / 2) for i in column.outputs]
            top = max(y for _, _, y in rows) - LEAD
            turn = [] if column is last else [(x, self.bottom - 3.4, z), (node, self.bottom - 3.4, z)]
            stage.connect(
                [(i, target) for i in column.outputs],
                [(x, top, z), *turn, (node, 1.3, z)],
                radius=MIDDLE,
                start="attention",
                end="residual",
                corner=LEAD,
            )
            if stage.units.fine:
                for i, right, y in rows:
                    points = [(right, y), (x, y), (x, y - LEAD)]
                    stage.connect([(i, target)], points, end="attention", arrow=False, corner=LEAD)
