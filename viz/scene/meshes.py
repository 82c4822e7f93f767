"""The tubes and discs of a scene as one mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.colours import Theme, hue_kind
from refgguf.viz.scene.curves import tubes
from refgguf.viz.scene.parts import Node, Pieces
from refgguf.viz.scene.stage import THIN

DISC_SIDES = 40
DISC_DEPTH = 0.9
FACE = 0.8  # radius of a disc's face within its rim, in radii
PLUS = 0.52  # size of the plus sign, in radii


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with colours.

    Attributes:
        middles: (v, 3) float32: the nearest point of the tube's middle line; of a disc, the vertex itself.
        normals: (v, 3) float32; zero where a surface is not shaded.
        radii: (v, 2) float32: how far the vertex is from the middle, and the tube's radius; 0 for a disc.
        colours: (v, 3) float32.
        triangles: (t, 3) uint32.
        routes: (v,) int: number of the route that a vertex belongs to, -1 for discs.
    """

    middles: np.ndarray
    normals: np.ndarray
    radii: np.ndarray
    colours: np.ndarray
    triangles: np.ndarray
    routes: np.ndarray


QUIET = 0.3  # how far tubes to single boxes step back
_NOTHING = np.zeros((0, 3), np.float32)
EMPTY = Mesh(_NOTHING, _NOTHING, _NOTHING[:, :2], _NOTHING, np.zeros((0, 3), np.uint32), np.zeros(0, int))
# middle line, radius, whether it ends in an arrow head, colours of its start and its end
TubeSpec = tuple[np.ndarray, float, bool, np.ndarray, np.ndarray]


def mesh_of(
    pieces: Pieces,
    theme: Theme,
    styles: Mapping[int, tuple[float, np.ndarray]] | None = None,
    fade: float = 0.0,
) -> Mesh:
    """Build the surfaces of all routes and nodes.

    Args:
        pieces: the scene.
        theme: colours.
        styles: radius and colour of some routes, by their number.
        fade: how far the other routes step back towards the ground, 0 … 1.
    """
    styles, ground = styles or {}, np.array(theme.ground)
    specs, numbers = [], []
    for number, route in enumerate(pieces.routes):
        if route.radius > 0 and len(route.points) > 1:
            ends = [np.array(theme.hues[hue_kind(kind)]) for kind in (route.start, route.end)]
            # what branches to single boxes is quieter than what it branches from
            faded = max(fade, QUIET if route.radius <= THIN else 0.0)
            radius, ends = route.radius, [e + (ground - e) * faded for e in ends]
            if number in styles:
                radius, ends = styles[number][0], [styles[number][1]] * 2
            specs.append((route.points, radius, route.arrow, *ends))
            numbers.append(number)
    return _joined([*_tubes(specs, numbers), *(_disc(node, theme) for node in pieces.nodes)])


def tubes_mesh(specs: Sequence[TubeSpec]) -> Mesh:
    """Build the surfaces of tubes; in the mesh, their numbers stand for routes."""
    return _joined(_tubes(specs, range(len(specs))))


def _tubes(specs: Sequence[TubeSpec], numbers: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
    if not specs:
        return []
    paths, radii, arrows, starts, ends = zip(*specs, strict=True)
    made = tubes(paths, radii, arrows)
    starts, ends = np.array(starts)[made.numbers], np.array(ends)[made.numbers]
    colours = starts + (ends - starts) * made.share[:, None]
    of_tube = np.asarray(radii, float)[made.numbers]
    radii = np.stack([made.radii, of_tube], axis=1)
    return [(made.middles, made.normals, radii, colours, made.triangles, np.array(numbers)[made.numbers])]


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> Mesh:
    if not parts:
        return EMPTY
    starts = np.cumsum([0] + [len(p[0]) for p in parts[:-1]])
    columns = (np.concatenate([p[i] for p in parts]).astype(np.float32) for i in range(4))
    triangles = np.concatenate([p[4] + s for p, s in zip(parts, starts, strict=True)]).astype(np.uint32)
    return Mesh(*columns, triangles, np.concatenate([p[5] for p in parts]))


def _disc(node: Node, theme: Theme) -> tuple[np.ndarray, ...]:
    """Build a short cylinder that faces the viewer, with a plus sign on both faces, light within a rim."""
    angle = np.linspace(0, 2 * np.pi, DISC_SIDES, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(DISC_SIDES)], axis=1)
    middle = np.array(node.at)
    hue = np.array(theme.hues["residual"])
    positions, normals, colours, triangles = [], [], [], []
    for side, share, colour in ((1, 1, hue), (-1, 1, hue), (1, FACE, theme.card), (-1, FACE, theme.card)):
        z = np.array([0, 0, side * (DISC_DEPTH + 0.03 * (share < 1))])
        start = sum(len(p) for p in positions)
        positions.append(np.vstack([middle + z, middle + ring * (share * node.radius) + z]))
        normals.append(np.zeros((DISC_SIDES + 1, 3)))
        colours.append(np.tile(colour, (DISC_SIDES + 1, 1)))
        i = np.arange(DISC_SIDES)
        triangles.append(np.stack([np.zeros_like(i), i + 1, (i + 1) % DISC_SIDES + 1], axis=1) + start)
    start = sum(len(p) for p in positions)
    rim = np.concatenate([ring * node.radius + [0, 0, DISC_DEPTH], ring * node.radius - [0, 0, DISC_DEPTH]])
    positions.append(middle + rim)
    normals.append(np.tile(ring, (2, 1)))
    colours.append(np.tile(hue, (2 * DISC_SIDES, 1)))
    i, j = np.arange(DISC_SIDES), (np.arange(DISC_SIDES) + 1) % DISC_SIDES
    triangles.append(
        np.concatenate(
            [np.stack([i, i + DISC_SIDES, j], 1), np.stack([j, i + DISC_SIDES, j + DISC_SIDES], 1)]
        )
        + start
    )
    long, wide = PLUS * node.radius, PLUS * node.radius * 0.24
    for side in (1.0, -1.0):
        for half in ((long, wide), (wide, long)):
            start = sum(len(p) for p in positions)
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
            positions.append(middle + np.c_[corners, np.full(4, side * (DISC_DEPTH + 0.06))])
            normals.append(np.zeros((4, 3)))
            colours.append(np.tile(hue, (4, 1)))
            triangles.append(np.array([[0, 1, 2], [0, 2, 3]]) + start)
    n = sum(len(p) for p in positions)
    middles, normals, colours, triangles = (
        np.concatenate(x) for x in (positions, normals, colours, triangles)
    )
    return middles, normals, np.zeros((n, 2)), colours, triangles, np.full(n, -1)
