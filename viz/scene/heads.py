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
from dataclasses import dataclass, field, replace

import numpy as np

from refgguf.taps import Tap
from refgguf.viz.scene.anatomy import Heads
from refgguf.viz.scene.head_shape import head_count, head_shape, mask_of
from refgguf.viz.scene.head_tubes import drain, feed
from refgguf.viz.scene.planes import ChosenCut, Cut, chosen_cut, cut
from refgguf.viz.scene.stage import THIN, Stage
from refgguf.viz.scene.windows import both_sides, outside_of

LETTER = 1.9  # size of the names of heads
LETTER_WIDTH = 0.62  # of a bold letter, in ems
LEAST_LETTER = 0.5  # rows lower than this share a name


@dataclass
class Group:
    """One key/value head with its query heads: the boxes that tubes run to and from, and its upper side."""

    top: float
    k: int | None = None
    v: int | None = None
    block_k: int | None = None
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


@dataclass
class Column:
    """A column of groups and its place; tubes run along `bus_in` at its left and `bus_out` at its right."""

    left: float
    right: float
    bus_in: float
    bus_out: float
    groups: list[Group] = field(default_factory=list)

    @property
    def inputs(self) -> list[int]:
        """The boxes that tubes run to."""
        return [i for group in self.groups for i in group.inputs]

    @property
    def outputs(self) -> list[int]:
        """The boxes that tubes run from."""
        return [i for group in self.groups for i in group.outputs]


class HeadsZone:
    """The heads of one attention in their place.

    Args:
        stage: where to put them.
        heads: their taps.
        values: the tensors by tap name.
        taps: every tap by name.
        layer: number of the layer.
        x: left side, tubes included.
        bottom: lower side.
        columns: in how many columns to put the groups.
        rows: names of the queries.
        positions: (token,) their places in the sequence.
        named: whether heads are labelled.
    """

    def __init__(
        self,
        stage: Stage,
        heads: Heads,
        values: Mapping[str, np.ndarray],
        taps: Mapping[str, Tap],
        layer: int,
        *,
        x: float,
        bottom: float,
        columns: int,
        rows: Sequence[str],
        positions: np.ndarray,
        named: bool,
    ):
        self.names, self.taps = rows, taps
        self.stage, self.heads, self.values, self.layer = stage, heads, values, layer
        self.shape = head_shape(heads, values, stage.units)
        self.bottom, self.named = bottom, named
        self.chosen: dict[tuple[str, int], ChosenCut] = {}
        self.outside = outside_of(taps[heads.pattern], positions, values[heads.pattern].shape[1:])
        units = stage.units
        width, height = self.shape.group(units)
        total_width, total_height = self.shape.zone(units, columns)
        self.left, self.right, self.top = x, x + total_width, bottom + total_height
        rows = -(-self.shape.n_groups // columns)
        self.columns: list[Column] = []
        for c in range(columns):
            left = x + c * (units.bus_left + width + units.bus_right) + units.bus_left
            bus_in, bus_out = left - 0.76 * units.bus_left, left + width + 0.72 * units.bus_right
            column = Column(left, left + width, bus_in, bus_out)
            for r, group in enumerate(range(c * rows, min((c + 1) * rows, self.shape.n_groups))):
                column.groups.append(self._group(group, column, self.top - r * (height + units.group_gap)))
            if column.groups:
                self.columns.append(column)
        if named or units.fine:
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
        kind = "attention" if role in ("pattern", "blocks") else "qkv"
        values = self.values[name]
        if values.ndim == 2:  # shared by all heads
            plane = cut(name, self.taps[name].axes, values, transpose=transpose)
        else:
            plane = cut(name, self.taps[name].axes, values, {axis: head}, transpose=transpose)
        chosen = {"pattern": self.heads.mask, "blocks": self.heads.block_mask}.get(role)
        mask = self.values.get(chosen) if chosen else None
        if mask is not None or (role == "pattern" and self.outside is not None):
            plane = self._chosen(plane, role, mask, head)
        return self.stage.box(
            plane, kind, role, x=x, y=y, size=size, layer=self.layer, head=head, title=f"{title} {head}"
        )

    def _chosen(self, plane: Cut, role: str, mask: np.ndarray | None, head: int) -> ChosenCut:
        """Return a pattern with what is left out, which heads share whose keys are chosen together."""
        n_heads = len(self.values[plane.tap])
        group = 0 if mask is None or mask.ndim == 2 else head * len(mask) // n_heads
        if (role, group) not in self.chosen:
            outside = self.outside if role == "pattern" else None
            seen, own = self._seen(plane.tap, plane.shape), mask_of(mask, head, n_heads)
            self.chosen[role, group] = chosen_cut(plane, own, seen, outside)
        return replace(self.chosen[role, group], values=plane.values, fixed=plane.fixed)

    @property
    def title(self) -> str:
        """What is written below the patterns."""
        return (
            "cross attention"
            if "source" in self.taps[self.heads.pattern].axes[2:]
            and ("query" in self.taps[self.heads.pattern].axes)
            else "attention"
        )

    def _group(self, group: int, column: Column, top: float) -> Group:
        placed = Group(top)
        shape, heads, gap = self.shape, self.heads, self.stage.units.gap
        x_pattern = column.left + (shape.q + gap if shape.q else 0)
        x_blocks = x_pattern + shape.pattern[0] + gap
        x_z = x_blocks + (shape.blocks[0] + gap if heads.blocks else 0)
        head_row = shape.head_row
        base = top - head_row
        k = v = None
        if heads.k:
            at = min(group, head_count(self.values[heads.k]) - 1)
            x_k = x_pattern + shape.pattern[0] - shape.k[0]  # the newest key stands over the last column
            k = self._box(heads.k, "k", at, 1, x_k, base, shape.k, "keys of head", transpose=True)
            placed.inputs.append(k)
        if heads.v:
            at = min(group, head_count(self.values[heads.v]) - 1)
            v = self._box(heads.v, "v", at, 1, x_z, base, shape.v, "values of head")
            placed.inputs.append(v)
        placed.k, placed.v = k, v
        self._shared(k, v)
        if heads.block_k:
            title = "keys and values of blocks, head"
            placed.block_k = self._box(
                heads.block_k, "block_k", 0, 1, x_blocks, base, shape.block_k, title, transpose=True
            )
            placed.inputs.append(placed.block_k)
        y = base - gap if head_row else top
        for head in range(group * shape.per_group, (group + 1) * shape.per_group):
            y -= shape.pattern[1]
            self._row(head, column.left, y, placed)
            y -= gap
        return placed

    def _row(self, head: int, left: float, y: float, group: Group) -> None:
        """Put Q, pattern and Z of one head side by side, and tubes between them and K and V."""
        shape, heads, stage = self.shape, self.heads, self.stage
        gap = stage.units.gap
        width, height = shape.pattern
        x_pattern = left + (shape.q + gap if shape.q else 0)
        x_blocks = x_pattern + width + gap
        x_z = x_blocks + (shape.blocks[0] + gap if heads.blocks else 0)
        pattern = self._box(
            heads.pattern, "pattern", head, 0, x_pattern, y, shape.pattern, "attention of head"
        )
        q = z = blocks = None
        if heads.blocks:
            blocks = self._box(
                heads.blocks, "blocks", head, 0, x_blocks, y, shape.blocks, "attention to blocks of head"
            )
        if heads.q:
            q = self._box(heads.q, "q", head, 1, left, y, (shape.q, height), "queries of head")
            group.inputs.append(q)
        if heads.z:
            z = self._box(heads.z, "z", head, 1, x_z, y, (shape.z, height), "mixed values of head")
        group.outputs.append(pattern if z is None else z)
        if not stage.units.fine:
            self._link(q, group, pattern, blocks, z)
            return
        middle = y + height / 2
        thin = THIN * 0.8
        if q is not None:
            pairs = [(q, pattern), *([] if blocks is None else [(q, blocks)])]
            stage.connect(pairs, [(stage[q].right, middle), (x_pattern - 0.1, middle)], radius=thin)
        if z is not None:
            first = stage[pattern if blocks is None else blocks].right
            pairs = [(pattern, z), *([] if blocks is None else [(blocks, z)])]
            stage.connect(pairs, [(first, middle), (x_z - 0.1, middle)], radius=thin)
        if blocks is not None:  # scores of tokens and blocks are normed together
            line = [(x_pattern + width, middle), (x_blocks - 0.1, middle)]
            stage.connect([*([] if q is None else [(q, blocks)]), (pattern, z)], line, radius=thin)
            self._drop(group.block_k, blocks, x_blocks + shape.blocks[0] / 2, also=pattern)
        self._drop(group.k, pattern, x_pattern + width / 2)
        self._drop(group.v, z, x_z + shape.z / 2)
        # on the back edge of the top, which a camera above it sees higher than the front
        stage.text(f"head {head}", left, y + height + 0.3, LETTER, z=0.0, align="left")
        self._row_names(left, y + height)

    def _row_names(self, x: float, top: float) -> None:
        """Write the tokens beside the rows of a head, for those who come close."""
        cell = self.stage.units.cell
        step = max(1, int(np.ceil(LEAST_LETTER / cell)))
        size = min(cell * step * 0.66, 0.9)
        for row in range(0, len(self.names), step) if self.stage.units.fine else ():
            y = top - (row + step / 2) * cell - size * 0.34
            # as deep as the tube to Q, which passes between two of them from every side
            depth = self.stage.units.depth / 2
            self.stage.text(self.names[row], x - 1.15, y, size, z=depth, align="right")

    def _seen(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """Return which keys, or blocks, lie before each query, or on both sides: (query, key or block) bool."""
        if both_sides(self.taps[name]):
            return np.ones(shape, bool)
        step = self.taps[name].block[0] if self.taps[name].block else 1
        return (np.arange(shape[1]) + 1) * step <= np.arange(shape[0])[:, None] + 1

    def _drop(self, source: int | None, target: int | None, x: float, also: int | None = None) -> None:
        """Run a tube from K or V down to a head; to the second head of a group it runs behind the first."""
        if source is None or target is None:
            return
        start, end = self.stage[source].bottom, self.stage[target].top
        behind = -0.35 if start - end > self.stage.units.gap * 1.5 else self.stage.units.depth / 2
        points = [(x, start, behind), (x, end + 0.1, behind)]
        pairs = [(source, target), *([] if also is None else [(source, also)])]
        self.stage.connect(pairs, points, radius=THIN * 0.8)

    def _shared(self, k: int | None, v: int | None) -> None:
        """Run a tube from V to K where keys are made of the same latent vectors that are mixed."""
        if k is None or v is None:
            return
        stage = self.stage
        if not stage.units.fine:
            stage.touch([(v, k)])
            return
        y = stage[k].bottom + min(stage[k].size[1], stage[v].size[1]) / 2
        stage.connect([(v, k)], [(stage[v].left, y), (stage[k].right + 0.1, y)], radius=THIN * 0.8)

    def _link(self, q: int | None, group: Group, pattern: int, blocks: int | None, z: int | None) -> None:
        """Where there are too many heads for tubes of their own: the gaps between aligned boxes stand for them."""
        pairs = [(q, pattern), (group.k, pattern), (pattern, z), (group.v, z)]
        pairs += [(q, blocks), (group.block_k, blocks), (group.block_k, pattern), (blocks, z)]
        self.stage.touch([(a, b) for a, b in pairs if a is not None and b is not None])

    def _titles(self) -> None:
        """Name the columns of boxes below the lowest group, and K and V beside theirs."""
        stage, shape = self.stage, self.shape
        fine = stage.units.fine
        size = 2.7
        for column in self.columns:
            below = min(stage[i].bottom for i in column.outputs) - size * 1.25
            x_pattern = column.left + (shape.q + stage.units.gap if shape.q else 0)
            names = [
                ("Q", column.left, shape.q, "qkv"),
                (self.title, x_pattern, shape.pattern[0], "attention"),
            ]
            x_z = x_pattern + shape.pattern[0] + stage.units.gap
            if self.heads.blocks:
                middle = x_z + shape.blocks[0] / 2
                stage.text("to blocks", middle, below - size, size, tone="attention", bold=True)
                x_z += shape.blocks[0] + stage.units.gap
            names.append(("Z", x_z, shape.z, "qkv"))
            beside = shape.pattern[0] + 2 * stage.units.gap + min(shape.q, shape.z)  # from letter to letter
            crowded = beside < size * (LETTER_WIDTH * len(self.title) + 1.0)
            for text, x, width, kind in names:
                if width and not (crowded and len(text) == 1):
                    stage.text(text, x + width / 2, below, size, tone=kind, bold=True)
            for box in (stage[i] for i in column.inputs if fine):
                if box.role in "kv":
                    text = f"{box.role.upper()} {box.head}"
                    stage.text(
                        text, box.left, box.top + 0.4, LETTER * 1.1, align="left", tone="qkv", bold=True
                    )

    @property
    def bus_out(self) -> float:
        """Where the tube that joins the spine descends."""
        return self.columns[-1].bus_out

    def feed(self, source: int, leave: float) -> None:
        """Run tubes from the spine's box `source` to the heads; they leave the spine at x = leave."""
        feed(self, source, leave)

    def drain(self, target: int, node: float) -> None:
        """Run tubes from the heads to the disc at x = node, where they are added into the spine's box `target`."""
        drain(self, target, node)
