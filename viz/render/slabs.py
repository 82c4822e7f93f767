"""All boxes in one call, their cells coloured in the shader from one texture of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from vispy import gloo

from refgguf.viz.render.programs import SOLID, bind, program_of
from refgguf.viz.render.things import Things
from refgguf.viz.scene.atlas import Atlas
from refgguf.viz.scene.colours import Theme, colour_map
from refgguf.viz.scene.parts import Box
from refgguf.viz.scene.regions import Sight
from refgguf.viz.scene.scales import Scale


def _cube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the corners of a box, four to a face, their normals, and its triangles."""
    corners, normals, triangles = [], [], []
    for axis in range(3):
        for side in (0.0, 1.0):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            face = np.zeros((4, 3), np.float32)
            face[:, axis] = side
            face[[1, 2], a] = 1
            face[[2, 3], b] = 1
            normal = np.zeros(3, np.float32)
            normal[axis] = 2 * side - 1
            # seen from outside they run to the left around: those on the far side of a box are not drawn
            turn = [[0, 1, 2], [0, 2, 3]] if side else [[0, 2, 1], [0, 3, 2]]
            triangles.append(np.array(turn) + 4 * len(corners))
            corners.append(face)
            normals.append(np.tile(normal, (4, 1)))
    return np.concatenate(corners), np.concatenate(normals), np.concatenate(triangles)


def bent(atlas: Atlas, scales: Sequence[Scale]) -> Atlas:
    """Put the values of boxes with bent scales where they stand on the even axis of colours."""
    numbers = [i for i, scale in enumerate(scales) if scale.knee]
    if not numbers:
        return atlas
    values = atlas.values.copy()
    for i in numbers:
        left, top = (int(n) for n in atlas.rects[i, :2])
        first_col, first_row, last_col, last_row = (int(n) for n in atlas.held[i])
        part = values[top + first_row : top + last_row, left + first_col : left + last_col]
        part[...] = scales[i].bend(part)
    return replace(atlas, values=values)


CUBE = _cube()
N_CORNERS = len(CUBE[0])


def _each(values: np.ndarray) -> np.ndarray:
    """Give each corner of a box what belongs to the box."""
    return np.repeat(np.asarray(values, np.float32), N_CORNERS, axis=0)


class Slabs:
    """All boxes.

    Attributes:
        things: the boxes as they are drawn; None if there are none.
        marks: (box, 4) from `set_styles`.
    """

    def __init__(self, theme: Theme):
        self.program = program_of("slabs")
        self.program["u_ink"] = theme.ink
        self.program["u_accent"] = theme.accent
        self.program["u_ground"] = theme.ground
        self.program["u_cell"] = -9.0, -9.0
        self.theme = theme.name
        self.things: Things | None = None
        self.styles: gloo.VertexBuffer | None = None
        self.values: gloo.Texture2D | None = None
        self.rects: np.ndarray | None = None
        self.scales: list[Scale] = []
        self.ends = np.zeros((0, 3), np.float32)
        self.steps = np.ones((0, 2), int)
        self.marks = np.zeros((0, 4), np.float32)

    def set_boxes(self, boxes: Sequence[Box], scales: Mapping[str, Scale], atlas: Atlas) -> None:
        """Take over boxes and values.

        Args:
            boxes: what to draw.
            scales: by the names that boxes have for them.
            atlas: the boxes' values.
        """
        if not boxes:
            self.things = None
            return
        self.scales = [scales[b.scale] for b in boxes]
        kinds = sorted({(s.kind, s.signed) for s in self.scales})
        table = np.stack([colour_map(self.theme, *kind) for kind in kinds])
        self.program["u_colours"] = gloo.Texture2D(table, interpolation="nearest")
        self.program["u_colours_size"] = table.shape[1], table.shape[0]
        row = {kind: i for i, kind in enumerate(kinds)}
        ends = {id(s): (*s.ends, row[s.kind, s.signed]) for s in scales.values() if (s.kind, s.signed) in row}
        self.ends = np.array([ends[id(s)] for s in self.scales], np.float32)
        self._place(boxes)
        self.values = self.rects = self.styles = None
        self.marks = np.zeros((len(boxes), 4), np.float32)
        self.set_values(atlas)

    def _place(self, boxes: Sequence[Box]) -> None:
        corners, normals, triangles = CUBE
        n = len(boxes)
        origin = np.array([b.origin for b in boxes], np.float32)
        size = np.array([b.size for b in boxes], np.float32)
        bind(
            self.program,
            {
                "a_position": _each(origin) + np.tile(corners, (n, 1)) * _each(size),
                "a_local": np.tile(corners, (n, 1)),
                "a_normal": np.tile(normals, (n, 1)),
                "a_apart": _each(np.array([b.apart for b in boxes], np.float32)),
            },
        )
        every = triangles[None] + N_CORNERS * np.arange(n)[:, None, None]
        self.things = Things(every.reshape(-1, 3), np.full(n, len(triangles)), origin, origin + size)

    def set_values(self, atlas: Atlas) -> None:
        """Take over other values of the same boxes; where they stay as finely pooled, nothing else is sent.

        Args:
            atlas: the boxes' values.
        """
        if self.things is None:
            return
        atlas = bent(atlas, self.scales)
        if self.values is None or self.values.shape[:2] != atlas.values.shape:
            self.values = gloo.Texture2D(atlas.values, internalformat="r32f", interpolation="nearest")
            self.program["u_atlas"] = self.values
            self.program["u_atlas_size"] = atlas.values.shape[1], atlas.values.shape[0]
        else:
            self.values.set_data(atlas.values)
        if self.rects is not None and np.array_equal(np.c_[atlas.rects, atlas.held], self.rects):
            return
        self.rects, self.steps = np.c_[atlas.rects, atlas.held], atlas.steps
        grid = (atlas.steps == 1).all(axis=1)
        places = {"a_rect": atlas.rects, "a_held": atlas.held, "a_scale": np.c_[self.ends, grid]}
        bind(self.program, {name: _each(values) for name, values in places.items()})
        self._send_styles()

    def set_hovered(self, box: int | None) -> np.ndarray:
        """Tell which box the cursor is over; returns the numbers of the boxes that look otherwise now."""
        marks = self.marks.copy()
        marks[:, 3] = 0
        if box is not None:
            marks[box, 3] = 1
        return self.set_styles(marks)

    def set_styles(self, styles: np.ndarray) -> np.ndarray:
        """Mark boxes.

        Args:
            styles: (box, 4) first and last marked row in rows of the tensor, highlight 0 … 1, whether the cell
                under the cursor is in this box.

        Returns:
            the numbers of the boxes that are marked otherwise than before.
        """
        before, self.marks = self.marks, np.array(styles, np.float32)
        changed = np.flatnonzero((self.marks != before).any(axis=1))
        if len(changed):
            self._send_styles()
        return changed

    def _send_styles(self) -> None:
        table = self.marks.copy()
        table[:, :2] /= self.steps[:, :1]
        table = _each(table)
        if self.styles is None:
            self.styles = gloo.VertexBuffer(table)
            self.program["a_style"] = self.styles
        else:
            self.styles.set_data(table)

    def set_cell(self, box: int, row: int, col: int) -> None:
        """Tell which value lies under the cursor, by row and column of a box's plane."""
        self.program["u_cell"] = float(col // self.steps[box, 1]), float(row // self.steps[box, 0])

    def draw(
        self,
        matrix: np.ndarray,
        sharpness: float,
        focus: float = 0.0,
        pixel: float = 0.0,
        sight: Sight | None = None,
    ) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            sharpness: pixels of the frame buffer for a pixel of the picture.
            focus: 1 if boxes that are not highlighted step back.
            pixel: how wide a pixel of the picture is in the world, over its distance from the eye; 0 closes no gaps.
            sight: the part of the picture that is needed; None for all.
        """
        triangles = None if self.things is None else self.things.chosen(sight)
        if triangles is not None:
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            self.program["u_sharpness"] = sharpness
            self.program["u_focus"] = focus
            self.program["u_pixel"] = pixel
            gloo.set_state(**{**SOLID, "cull_face": True})
            self.program.draw("triangles", triangles)
