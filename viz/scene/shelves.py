"""Deep models on shelves: layer after layer as in lines of text, so that eighty of them fill the picture as four do.

A layout places everything along one line. Where that is much too long for a picture, it is cut between layers and
the parts stand below one another, each on its own floor. The stream runs on at the left of the next shelf, as the
eye does at the end of a line. Nothing else changes: boxes keep their sizes, edges what they join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np

from refgguf.viz.scene.curves import rounded
from refgguf.viz.scene.parts import Pieces, Route
from refgguf.viz.state import USUAL_ASPECT

# in a picture of the usual shape; in a narrower one as much less
ASPECT = 2.7  # width of everything over its height that the number of shelves aims at
LONG = 7.0  # what is no longer than this many times its height stays on one line
GAP = 14.0  # free space below a floor, where the stream runs to the next shelf
SIDE = 9.0  # beside the shelves, where it turns
CORNER = 5.0
RAIL = 4.0  # beside the stream where that turns, a rail that serves several shelves turns
ON_STREAM = 0.5  # how far above or below the middle of the stream a tube starts that leaves it


def shelve(pieces: Pieces, starts: Sequence[float], aspect: float = USUAL_ASPECT) -> Pieces:
    """Put what is too long for a picture on shelves.

    Args:
        pieces: everything in its place along one line; with its floor.
        starts: places between layers where it may be cut, in order.
        aspect: width of the picture over its height.

    Returns:
        Everything in its new place; the same pieces where they are not too long.
    """
    low, high = pieces.bounds()
    length, pitch = float(high[0] - low[0]), float(high[1] - low[1]) + GAP
    shape = min(
        aspect / USUAL_ASPECT, 1.0
    )  # what is wider than usual has room for longer lines, but they are long enough
    if length < LONG * shape * pitch or len(starts) < 2:
        return pieces
    counts = range(1, len(starts) + 1)
    n = min(counts, key=lambda n: abs(log(length / n / (n * pitch) / (ASPECT * shape))))
    return _Shelves(pieces, _cuts(starts, float(low[0]), length, n), pitch).run()


def _cuts(starts: Sequence[float], left: float, length: float, n: int) -> list[float]:
    """Choose where to cut a line into n parts that are about equally long."""
    wanted = [left + length * k / n for k in range(1, n)]
    return sorted({min(starts, key=lambda x, at=at: abs(x - at)) for at in wanted})


class _Shelves:
    def __init__(self, pieces: Pieces, cuts: list[float], pitch: float):
        self.pieces, self.pitch = pieces, pitch
        self.cuts = np.array(cuts)
        self.shelf_of_box = [self._shelf(box.left) for box in pieces.boxes]
        right = [max(b.right for b, s in zip(pieces.boxes, self.shelf_of_box, strict=True) if s == n) for n in
                 sorted(set(self.shelf_of_box))]  # fmt: skip
        self.right = max(x - self._move(n)[0] for n, x in enumerate(right)) + SIDE
        self.left = -SIDE

    def _shelf(self, x: float) -> int:
        return int(np.searchsorted(self.cuts, x, side="right"))

    def _move(self, shelf: int) -> tuple[float, float]:
        """Return how far left and how far down everything on a shelf moves."""
        return (float(self.cuts[shelf - 1]) if shelf else 0.0), shelf * self.pitch

    def _moved(self, at: Sequence[float], shelf: int) -> tuple[float, float, float]:
        left, down = self._move(shelf)
        return at[0] - left, at[1] - down, at[2]

    def run(self) -> Pieces:
        old = self.pieces
        new = Pieces(floor=old.floor, shelves=tuple(-self.pitch * n for n in range(len(self.cuts) + 1)))
        for box, shelf in zip(old.boxes, self.shelf_of_box, strict=True):
            new.boxes.append(replace(box, origin=self._moved(box.origin, shelf)))
        new.routes = [self._route(route) for route in old.routes]
        new.labels = [replace(x, at=self._moved(x.at, self._shelf(x.at[0]))) for x in old.labels]
        new.nodes = [replace(x, at=self._moved(x.at, self._shelf(x.at[0]))) for x in old.nodes]
        new.bars = [replace(x, origin=self._moved(x.origin, self._shelf(x.origin[0]))) for x in old.bars]
        for card in old.cards:
            shelf = self._shelf(card.x)
            new.cards.append(replace(card, x=card.x - self._move(shelf)[0], shelf=shelf))
        return new

    def _route(self, route: Route) -> Route:
        first, last = (self.shelf_of_box[i] for i in route.pairs[0])
        reach = self._shelf(route.points[-1, 0])
        if reach > last >= first:
            return self._rail(route, first, reach)
        if first == last:
            return replace(route, points=route.points - [*self._move(first), 0.0])
        if first > last:
            return self._back(route, first, last)
        leaves, enters = self.cuts[first], self.cuts[last - 1]
        if (
            route.points[0, 0] >= enters and abs(route.points[0, 1]) > ON_STREAM
        ):  # a branch of a tube that enters
            return replace(route, points=route.points - [*self._move(last), 0.0])
        before = _upto(route.points, leaves) - [*self._move(first), 0.0]
        after = _upto(route.points[::-1] * [-1, 1, 1], -enters)[::-1] * [-1, 1, 1] - [*self._move(last), 0.0]
        if route.points[0, 0] >= enters:  # it leaves the stream where that comes by on the new shelf
            return replace(route, points=after)
        lane = self.pieces.floor - (last - 1) * self.pitch - 0.6 * GAP
        z = before[-1, 2]
        turns = [(self.right, before[-1, 1], z), (self.right, lane, z), (self.left, lane, z)]
        turns.append((self.left, after[0, 1], z))
        return replace(
            route, points=np.concatenate([before[:-1], _bend(before[-1], turns, after[0]), after[1:]])
        )

    def _rail(self, route: Route, first: int, reach: int) -> Route:
        """Move a tube that serves boxes on all of several shelves: along each, and as the stream does to the next."""
        path, rest = np.zeros((0, 3)), route.points
        for shelf in range(first, reach + 1):
            here = _upto(rest, self.cuts[shelf]) if shelf < reach else rest
            rest = np.concatenate([here[-1:], rest[rest[:, 0] > here[-1, 0]]])
            moved = here - [*self._move(shelf), 0.0]
            if len(path):
                lane, z = self.pieces.floor - (shelf - 1) * self.pitch - 0.2 * GAP, path[-1, 2]
                right, left = self.right + RAIL, self.left - RAIL
                turns = [(right, path[-1, 1], z), (right, lane, z), (left, lane, z), (left, moved[0, 1], z)]
                path = np.concatenate([path[:-1], _bend(path[-1], turns, moved[0]), moved[1:]])
            else:
                path = moved
        return replace(route, points=path)

    def _back(self, route: Route, first: int, last: int) -> Route:
        """Move a route against the reading direction: straight from shelf to shelf."""
        ends = route.points[0] - [*self._move(first), 0.0], route.points[-1] - [*self._move(last), 0.0]
        return replace(route, points=np.array(ends))


def _bend(start: np.ndarray, turns: Sequence[Sequence[float]], end: np.ndarray) -> np.ndarray:
    return rounded([start, *turns, end], CORNER)


def _upto(points: np.ndarray, x: float) -> np.ndarray:
    """Return the points of a path up to where it first passes x; all of them, and one at x, if it does not."""
    beyond = np.flatnonzero(points[:, 0] > x)
    if not len(beyond):
        return np.concatenate([points, [[x, *points[-1, 1:]]]])
    at = int(beyond[0])
    if at == 0:
        return points[:1]
    a, b = points[at - 1], points[at]
    cut = a + (b - a) * (x - a[0]) / (b[0] - a[0])
    return np.concatenate([points[:at], [cut]])
