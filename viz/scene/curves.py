"""Paths with rounded corners, and the tubes around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist

import numpy as np

SIDES = 10  # of a tube
CORNER_STEPS = 7  # points on a rounded corner
_SHARES = [i / (CORNER_STEPS - 1) for i in range(CORNER_STEPS)]
# an arrow head is this many radii wide and long
HEAD_WIDTH, HEAD_LENGTH = 3.1, 7.5


def rounded(points: Sequence[Sequence[float]], radius: float) -> np.ndarray:
    """Round the corners of a path.

    Args:
        points: (n, 3) its corners, both ends included.
        radius: how far from a corner the rounding begins, where the neighbouring corners leave room for it.

    Returns:
        (m, 3) float64: the ends and the points of each rounded corner; a straight stretch keeps only its ends.
    """
    corners = _distinct([tuple(float(x) for x in point) for point in points])
    path = [corners[0]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        room_before, room_after = dist(before, corner), dist(corner, after)
        reach = min(radius, room_before / 2, room_after / 2)
        start = [c + (b - c) * reach / room_before for b, c in zip(before, corner, strict=True)]
        end = [c + (a - c) * reach / room_after for a, c in zip(after, corner, strict=True)]
        for t in _SHARES:
            p, q, r = (1 - t) ** 2, 2 * t * (1 - t), t**2
            path.append(tuple(p * a + q * b + r * c for a, b, c in zip(start, corner, end, strict=True)))
    path.append(corners[-1])
    return np.array(_distinct(path))


def bezier(
    a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float], n: int = 24
) -> np.ndarray:
    """Return n points of the cubic curve from a to d with handles b and c, (n, 3)."""
    t = np.linspace(0, 1, n)[:, None]
    a, b, c, d = (np.asarray(p, np.float64) for p in (a, b, c, d))
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def _distinct(points: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Leave out points that repeat the one before."""
    return [p for i, p in enumerate(points) if i == 0 or dist(p, points[i - 1]) > 1e-9]


@dataclass(frozen=True, eq=False)
class Tubes:
    """The surfaces of some tubes.

    Attributes:
        middles: (v, 3) the middle line at each vertex.
        normals: (v, 3) unit length.
        radii: (v,) how far the vertex is from the middle line.
        share: (v,) its share of the tube's length.
        numbers: (v,) which tube it belongs to.
        triangles: (t, 3) vertex numbers.
    """

    middles: np.ndarray
    normals: np.ndarray
    radii: np.ndarray
    share: np.ndarray
    numbers: np.ndarray
    triangles: np.ndarray


def tubes(paths: Sequence[np.ndarray], radii: Sequence[float], arrows: Sequence[bool]) -> Tubes:
    """Build the surfaces of tubes, all at once.

    Args:
        paths: (n, 3) middle lines, n >= 2 each, at least one.
        radii: of each tube.
        arrows: whether it ends in a cone.
    """
    points, counts, lengths, radius = _with_heads(paths, np.asarray(radii, float), np.asarray(arrows))
    starts = np.cumsum(counts) - counts
    number = np.repeat(np.arange(len(counts)), counts)
    side, other = _frames(_tangents(points, starts, counts, np.asarray(arrows)), starts, number)
    angle = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    normals = side[:, None] * np.cos(angle)[None, :, None] + other[:, None] * np.sin(angle)[None, :, None]
    totals = lengths[starts + counts - 1]
    ring = np.delete(np.arange(len(points)), starts + counts - 1)[:, None] * SIDES
    here, there = np.arange(SIDES)[None], (np.arange(SIDES)[None] + 1) % SIDES
    near, far = (ring + here, ring + there), (ring + SIDES + here, ring + SIDES + there)
    triangles = np.stack([*near, far[1], near[0], far[1], far[0]], axis=-1).reshape(-1, 3)
    share = lengths / np.maximum(totals, 1e-12)[number]
    at_vertices = (np.repeat(values, SIDES, axis=0) for values in (points, radius, share, number))
    middles, radius, share, number = at_vertices
    return Tubes(middles, normals.reshape(-1, 3), radius, share, number, triangles)


def _with_heads(
    paths: Sequence[np.ndarray], radii: np.ndarray, arrows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut each arrow's path where its cone begins and append the cone's rim and tip.

    Returns:
        points (p, 3) of all paths in one, how many each has, and for each point its length along the path and the
        radius there.
    """
    counts = np.array([len(path) for path in paths])
    number = np.repeat(np.arange(len(paths)), counts)
    points = np.concatenate(paths)
    starts = np.cumsum(counts) - counts
    steps = np.linalg.norm(np.diff(points, axis=0, prepend=points[:1]), axis=1)
    steps[starts] = 0.0
    lengths = np.cumsum(steps)
    lengths = lengths - lengths[starts][number]
    totals = lengths[starts + counts - 1]
    necks = np.where(arrows, totals - np.minimum(HEAD_LENGTH * radii, 0.9 * totals), np.inf)
    keep = lengths < (necks - 1e-9)[number]
    kept = np.add.reduceat(keep, starts, dtype=int)
    new_counts = kept + 3 * arrows
    new_starts = np.cumsum(new_counts) - new_counts
    made = np.empty((new_counts.sum(), 3))
    way, wide = np.empty(len(made)), np.repeat(radii, new_counts)
    rank = np.arange(keep.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
    places = np.repeat(new_starts, kept) + rank
    made[places], way[places] = points[keep], lengths[keep]
    heads = np.flatnonzero(arrows)
    last = (starts + np.maximum(kept - 1, 0))[heads]  # of the points before the neck
    room = np.maximum(lengths[last + 1] - lengths[last], 1e-12)
    at = points[last] + (points[last + 1] - points[last]) * ((necks[heads] - lengths[last]) / room)[:, None]
    neck = (new_starts + kept)[heads]
    for offset, place, length in (
        (0, at, necks),
        (1, at, necks),
        (2, points[starts + counts - 1][heads], totals),
    ):
        made[neck + offset], way[neck + offset] = place, length[heads]
    wide[neck + 1], wide[neck + 2] = radii[heads] * HEAD_WIDTH, 1e-4
    return made, new_counts, way, wide


def _tangents(points: np.ndarray, starts: np.ndarray, counts: np.ndarray, arrows: np.ndarray) -> np.ndarray:
    """Return directions of unit length; the doubled point at the neck of an arrow takes its neighbour's."""
    steps = np.diff(points, axis=0, append=points[-1:])
    last = starts + counts - 1
    heads = last[arrows]
    steps[heads - 2] = steps[heads - 1]
    before = np.roll(steps, 1, axis=0)
    tangent = (before + steps) / 2
    tangent[starts], tangent[last] = steps[starts], steps[last - 1]
    for offset in range(3):
        tangent[heads - offset] = steps[heads - 1]
    return tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12)


def _frames(tangent: np.ndarray, starts: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two directions across each tangent, made with the axis that its path follows least."""
    along = np.add.reduceat(np.abs(tangent), starts, axis=0)
    axis = np.eye(3)[np.argmin(along, axis=1)][number]
    side = np.cross(tangent, axis)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    return side, np.cross(tangent, side)
