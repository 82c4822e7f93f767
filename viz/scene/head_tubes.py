"""The tubes between the spine and the heads: one rises at the left of each column, one descends at its right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refgguf.viz.scene.stage import AT_DISC, MIDDLE, THIN

if TYPE_CHECKING:
    from refgguf.viz.scene.heads import Column, Group, HeadsZone

LEAD = 3.0  # length along a tube over which a branch joins it
SHORT_LEAD = 1.3  # the same where names of rows stand beside it
BELOW_IN, BELOW_OUT = 5.6, 4.3  # below the heads, where tubes to and from further columns run
OVER = 2.8  # above a group, where the tube to V runs


def feed(zone: HeadsZone, source: int, leave: float) -> None:
    """Run tubes from the spine to Q, K and V of every head.

    Args:
        zone: the heads.
        source: number of the spine's box that feeds them.
        leave: x at which the tube leaves the spine.
    """
    stage = zone.stage
    depth = stage.units.depth
    first = zone.columns[0].bus_in
    for number, column in enumerate(zone.columns):
        z = depth / 2 if number == 0 else depth * 0.2
        x, below = column.bus_in, zone.bottom - BELOW_IN
        turn = [(first, below, z), (x, below, z)] if number else []
        branches = _entries(zone, column) if stage.units.fine else _group_entries(zone, column)
        if not branches:
            continue
        top = max(height for _, _, height in branches) - LEAD
        path = [(leave, 0, z), (first, 0, z), *turn, (x, top, z)]
        pairs = [(source, i) for i in column.inputs]
        stage.connect(pairs, path, radius=MIDDLE, end="qkv", arrow=False, corner=6.0)
        for boxes, way, height in branches:
            lead = SHORT_LEAD if stage[boxes[0]].role == "q" else LEAD
            path = [(x, height - lead), (x, height), *way]
            stage.connect([(source, i) for i in boxes], path, radius=THIN * 0.7, start="qkv", corner=lead)


def drain(zone: HeadsZone, target: int, node: float) -> None:
    """Run tubes from every head back to the spine.

    Args:
        zone: the heads.
        target: number of the spine's box that they are added into.
        node: x of the disc where they are added.
    """
    stage = zone.stage
    depth = stage.units.depth
    for column in zone.columns:
        x, last = column.bus_out, column is zone.columns[-1]
        z = depth / 2 if last else depth * 0.8
        rows = [(i, stage[i].right, stage[i].middle[1]) for i in column.outputs]
        top = max(y for _, _, y in rows) - LEAD
        below = zone.bottom - BELOW_OUT
        turn = [] if last else [(x, below, z), (node, below, z)]
        pairs = [(i, target) for i in column.outputs]
        path = [(x, top, z), *turn, (node, AT_DISC, z)]
        stage.connect(pairs, path, radius=MIDDLE, start="attention", end="residual", corner=LEAD)
        if not stage.units.fine:
            rows = [rows[sum(len(g.outputs) for g in column.groups[:n])] for n in range(len(column.groups))]
        for (i, right, y), boxes in zip(rows, _sharers(zone, column), strict=True):
            path = [(right, y), (x, y), (x, y - LEAD)]
            flows = [(j, target) for j in boxes] if not stage.units.fine else [(i, target)]
            stage.connect(flows, path, radius=THIN * 0.8, end="attention", arrow=False, corner=LEAD)


def _sharers(zone: HeadsZone, column: Column) -> list[list[int]]:
    """Return the boxes that share each outgoing tube."""
    if zone.stage.units.fine:
        return [[i] for i in column.outputs]
    return [group.outputs for group in column.groups]


def _entries(zone: HeadsZone, column: Column) -> list[tuple[list[int], list[tuple[float, float]], float]]:
    """Return for each box its number, the last corners of the way to it, and where that leaves the tube."""
    stage = zone.stage
    found = []
    for group in column.groups:
        for number in group.inputs:
            box = stage[number]
            height = box.middle[1]
            if box.role in ("v", "block_k"):
                height = group.top + OVER
                x = box.middle[0]
                way = [(x, height), (x, box.top + 0.1)]
            else:
                if box.role == "q":  # between two rows, so that it strikes no name through
                    height += (len(zone.names) % 2) * stage.units.cell / 2
                way = [(box.left - 0.1, height)]
            found.append(([number], way, height))
    return found


def _group_entries(
    zone: HeadsZone, column: Column
) -> list[tuple[list[int], list[tuple[float, float]], float]]:
    """Return one way to each group, where there are too many heads for a tube to each box."""
    return [
        (group.inputs, [(column.left - 0.1, y)], y) for group in column.groups for y in [_entry(zone, group)]
    ]


def _entry(zone: HeadsZone, group: Group) -> float:
    queries = [
        zone.stage[i] for i in (*group.inputs, *group.outputs) if zone.stage[i].role in ("q", "pattern")
    ]
    return max((box.middle[1] for box in queries), default=group.top)
