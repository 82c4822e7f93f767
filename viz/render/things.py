"""Things that are drawn in one call: all of them, or those that are seen in a part of the picture."""

from __future__ import annotations

import numpy as np
from vispy import gloo

from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.regions import Sight, are_in, places_of


class Things:
    """The triangles of things, which stand one thing after the other in a buffer.

    Args:
        triangles: (t, 3) numbers of vertices.
        counts: (thing,) triangles of each.
        low: (thing, 3) lowest corner of the room that each takes.
        high: (thing, 3) highest corner.
    """

    def __init__(self, triangles: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray):
        self._triangles = np.asarray(triangles, np.uint32)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._low, self._high = low, high
        self._all = gloo.IndexBuffer(self._triangles.reshape(-1))
        self._some: gloo.IndexBuffer | None = None
        self._seen: tuple = ()
        self._places = np.zeros((0, 4))

    def places(self, camera: Camera, size: tuple[int, int]) -> np.ndarray:
        """Return where each thing is seen, (thing, 4) as `places_of` does."""
        if self._seen != (camera, size):
            self._places, self._seen = places_of(self._low, self._high, camera, size), (camera, size)
        return self._places

    def chosen(self, sight: Sight | None) -> gloo.IndexBuffer | None:
        """Return the triangles of what may be seen in a part of the picture, of everything if None.

        Returns:
            None where that is nothing.
        """
        if sight is None:
            return self._all
        numbers = np.flatnonzero(are_in(self.places(sight.camera, sight.size), sight.region))
        if not len(numbers):
            return None
        kept = [self._triangles[self._starts[i] : self._ends[i]] for i in numbers]
        self._some = self._some or gloo.IndexBuffer()
        self._some.set_data(np.concatenate(kept).reshape(-1))
        return self._some
