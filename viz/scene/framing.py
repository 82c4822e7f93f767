"""Fit a scene into a picture: as large as it goes, clear of the margins and of the title and legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.parts import Box, Label, Pieces

Rect = tuple[float, float, float, float]  # left, top, right, bottom in pixels
SHRINK = 0.97
TRIES = 11  # shifts tried in each direction at each size
MOST_POINTS = 6000
CLEAR = 28.0  # pixels between the scene and an obstacle: the ground behind words fades out over 26


def outline_points(pieces: Pieces, boxes: Sequence[Box] | None = None) -> np.ndarray:
    """Return points on everything that must be in the picture, (n, 3).

    Args:
        pieces: the scene.
        boxes: frame these boxes only, without cards and labels.
    """
    whole = boxes is None
    boxes = pieces.boxes if whole else boxes
    at = np.linspace(0, 1, 3 if len(boxes) > 60 else 9)
    share = np.array([(i, j, 1.0) for i in at for j in at] + [(i, j, 0.0) for i in (0, 1) for j in (0, 1)])
    origin, size = np.array([b.origin for b in boxes]), np.array([b.size for b in boxes])
    points = [(origin[:, None] + size[:, None] * share).reshape(-1, 3)]
    if whole:
        for card in pieces.cards:
            for i in np.linspace(0, 1, 9):
                for j in np.linspace(0, 1, 5):
                    points.append([[card.x + card.width * i, pieces.floor_of(card), card.z + card.depth * j]])
        points += [label_points(label) for label in pieces.labels]
        points += [route.points[:: max(len(route.points) // 8, 1)] for route in pieces.routes if route.radius]
        points += [[b.origin, b.end] for b in pieces.bars]
    return np.concatenate([np.asarray(p, float) for p in points])


def label_points(label: Label) -> np.ndarray:
    """Return points along a label, its length estimated from its number of letters."""
    length = 0.56 * label.height * len(label.text)
    back = {"left": 0.0, "center": 0.5, "right": 1.0}[label.align] * length
    start = np.array(label.at) - np.array(label.u) * back
    line = start + np.linspace(0, length, 5)[:, None] * np.array(label.u)
    up = np.array(label.v) * label.height * 0.8
    return np.concatenate([line, line + up])


def fit(
    camera: Camera, points: np.ndarray, size: tuple[int, int], area: Rect, obstacles: Sequence[Rect] = ()
) -> Camera:
    """Zoom and shift a camera so that points fill an area of the picture without touching the obstacles.

    Args:
        camera: gives place and angles.
        points: (n, 3) what must be seen.
        size: width and height of the picture.
        area: the part of the picture to fill.
        obstacles: parts of it that must stay free.
    """
    plain = replace(camera, zoom=1.0, shift=(0.0, 0.0))
    seen = plain.project(points, size)
    seen = seen[seen[:, 2] > 0]
    half = np.array(size) / 2
    places = _thinned(seen[:, :2] - half)
    low, high = places.min(axis=0), places.max(axis=0)
    room = np.array([area[2] - area[0], area[3] - area[1]])
    zoom = float((room / np.maximum(high - low, 1e-9)).min())
    for _ in range(120):
        shift = _clear(places * zoom + half, area, obstacles)
        if shift is not None:
            move = shift / half * (1, -1)
            return replace(camera, zoom=zoom, shift=(float(move[0]), float(move[1])))
        zoom *= SHRINK
    return replace(camera, zoom=zoom, shift=(0.0, 0.0))


def _clear(places: np.ndarray, area: Rect, obstacles: Sequence[Rect]) -> np.ndarray | None:
    """Return a move that keeps all points inside the area and off the obstacles, with as much room on each side.

    Of all such moves it is that with the smallest distance from the middle of the area, then evened out.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    least, most = np.array(area[:2]) - low, np.array(area[2:]) - high
    if (most < least - 1e-6).any():
        return None
    middle = (least + most) / 2
    best, cost = None, np.inf
    for sx in np.linspace(least[0], most[0], TRIES):
        for sy in np.linspace(least[1], most[1], TRIES):
            move = np.array([sx, sy])
            distance = float(np.abs(move - middle).sum())
            if distance < cost and not any(_touches(places + move, rect) for rect in obstacles):
                best, cost = move, distance
    if best is None:
        return None
    for axis in (1, 0):  # mostly what is in the way lies below
        best = _evened(places, best, axis, (float(least[axis]), float(most[axis])), obstacles)
    return best


def _evened(
    places: np.ndarray, move: np.ndarray, axis: int, ends: tuple[float, float], obstacles: Sequence[Rect]
) -> np.ndarray:
    """Return a move along one axis to the middle of the room around it, up to the area's ends or an obstacle."""
    at, beside = (places + move)[:, axis], (places + move)[:, 1 - axis]
    back, on = ends[0] - move[axis], ends[1] - move[axis]
    for rect in obstacles:
        first, last = rect[axis] - CLEAR, rect[axis + 2] + CLEAR
        facing = at[(beside > rect[1 - axis] - CLEAR) & (beside < rect[3 - axis] + CLEAR)]
        on = min(on, float((first - facing[facing <= first]).min(initial=on)))
        back = max(back, float((last - facing[facing >= last]).max(initial=back)))
    moved = move.copy()
    moved[axis] += (back + on) / 2
    return moved


def _touches(places: np.ndarray, rect: Rect) -> bool:
    left, top, right, bottom = rect[0] - CLEAR, rect[1] - CLEAR, rect[2] + CLEAR, rect[3] + CLEAR
    x, y = places.T
    return bool(((x > left) & (x < right) & (y > top) & (y < bottom)).any())


def _thinned(places: np.ndarray) -> np.ndarray:
    """Keep a bounded number of points: those at the edge of each small patch of the picture."""
    if len(places) <= MOST_POINTS:
        return places
    patch = np.round(places / 12).astype(int)
    patch -= patch.min(axis=0)
    _, first = np.unique(patch[:, 0] * (patch[:, 1].max() + 1) + patch[:, 1], return_index=True)
    return places[np.sort(first)]
