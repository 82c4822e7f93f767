"""Paths with rounded corners, and the tubes around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDES = 10  # of a tube
CORNER_STEPS = 7  # points on a rounded corner
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
    corners = _distinct(np.asarray(points, np.float64))
    path = [corners[0]]
    for i in range(1, len(corners) - 1):
        before, corner, after = corners[i - 1 : i + 2]
        to_before, to_after = before - corner, after - corner
        room = min(np.linalg.norm(to_before), np.linalg.norm(to_after)) / 2
        reach = min(radius, room)
        start = corner + to_before / np.linalg.norm(to_before) * reach
        end = corner + to_after / np.linalg.norm(to_after) * reach
        t = np.linspace(0, 1, CORNER_STEPS)[:, None]
        path.extend((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    path.append(corners[-1])
    return _distinct(np.array(path))


def bezier(
    a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float], n: int = 24
) -> np.ndarray:
    """Return n points of the cubic curve from a to d with handles b and c, (n, 3)."""
    t = np.linspace(0, 1, n)[:, None]
    a, b, c, d = (np.asarray(p, np.float64) for p in (a, b, c, d))
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def _distinct(points: np.ndarray) -> np.ndarray:
    """Leave out points that repeat the one before."""
    keep = np.ones(len(points), bool)
    keep[1:] = np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9
    return points[keep]


def tube(path: np.ndarray, radius: float, arrow: bool) -> tuple[np.ndarray, ...]:
    """Build the surface of a tube.

    Args:
        path: (n, 3) its middle line, n >= 2.
        radius: its radius.
        arrow: whether it ends in a cone.

    Returns:
        middle line at each vertex (v, 3), normals (v, 3), radius at each vertex (v,), its share of the way (v,),
        triangles (t, 3) as vertex numbers.
    """
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    radii = np.full(len(path), radius)
    if arrow:
        path, lengths, radii = _with_head(path, lengths, radius)
    tangent = np.gradient(path, axis=0) if not arrow else _tangents(path)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    side, other = _frames(tangent)
    angle = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    normals = side[:, None] * np.cos(angle)[None, :, None] + other[:, None] * np.sin(angle)[None, :, None]
    share = np.repeat(lengths / max(lengths[-1], 1e-12), SIDES)
    ring = np.arange(len(path) - 1)[:, None] * SIDES
    here, there = np.arange(SIDES)[None], (np.arange(SIDES)[None] + 1) % SIDES
    quads = [
        ring + here,
        ring + there,
        ring + SIDES + there,
        ring + here,
        ring + SIDES + there,
        ring + SIDES + here,
    ]
    triangles = np.stack(quads, axis=-1).reshape(-1, 3)
    return np.repeat(path, SIDES, axis=0), normals.reshape(-1, 3), np.repeat(radii, SIDES), share, triangles


def _with_head(
    path: np.ndarray, lengths: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the path where the cone begins and append the cone's rim and tip."""
    head = min(HEAD_LENGTH * radius, lengths[-1] * 0.9)
    neck = lengths[-1] - head
    at = np.array([np.interp(neck, lengths, path[:, i]) for i in range(3)])
    keep = lengths < neck - 1e-9
    shaft = np.vstack([path[keep], at])
    radii = np.concatenate([np.full(len(shaft), radius), [radius * HEAD_WIDTH, 1e-4]])
    way = np.concatenate([lengths[keep], [neck, neck, lengths[-1]]])
    return np.vstack([shaft, at, path[-1]]), way, radii


def _tangents(path: np.ndarray) -> np.ndarray:
    """Return directions; the doubled point at the neck of an arrow takes its neighbour's."""
    steps = np.diff(path, axis=0)
    steps[-2] = steps[-1]
    tangent = np.vstack([steps[:1], (steps[:-1] + steps[1:]) / 2, steps[-1:]])
    tangent[-3:] = steps[-1]
    return tangent


def _frames(tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two directions across each tangent, made with the axis that the path follows least."""
    axis = np.eye(3)[np.argmin(np.abs(tangent).mean(axis=0))]
    side = np.cross(tangent, axis)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    return side, np.cross(tangent, side)
