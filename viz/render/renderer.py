"""A renderer draws one look at a scene into whatever frame buffer is current."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from vispy import gloo

from refgguf.viz.render.labels import Labels
from refgguf.viz.render.panels import VEIL_SOFT, Panels, bar_quads, card_quads, veil_quads
from refgguf.viz.render.slabs import Slabs
from refgguf.viz.render.things import Things
from refgguf.viz.render.tubes import Tubes
from refgguf.viz.scene.arcs import heads_chosen
from refgguf.viz.scene.atlas import Atlas, build_atlas
from refgguf.viz.scene.build import Look, Scene
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.overlay import Overlay
from refgguf.viz.scene.regions import Region, Sight, are_in, around, joined, whole
from refgguf.viz.state import Shown

THINNEST = 0.5  # radius in pixels of the picture


class Renderer:
    """Holds the buffers of one look. Needs a current OpenGL context for all it does.

    Attributes:
        look: what is drawn.
        focus: 1 while everything that is not highlighted steps back.
        changed: what a picture would show otherwise than the last one did; None for nothing.
    """

    def __init__(self, look: Look):
        scene = look.scene
        theme = scene.theme
        self.look = look
        self.focus = 0.0
        self.changed: Region | None = whole(look.size)
        self.slabs = Slabs(theme)
        self.slabs.set_boxes(scene.pieces.boxes, scene.scales, look.atlas)
        self.slabs.set_styles(self.plain_styles())
        self.set_flow(scene)
        cards = card_quads(scene.pieces, scene.shadows, theme)
        self.panels = Panels([*cards, *bar_quads(scene.pieces.bars, theme)], theme, scene.shadows)
        self.labels = Labels(scene.pieces.labels, theme)
        self.set_arcs(scene)
        self._lay_over(look.overlay)

    def _see(self, **changes) -> None:
        """Look otherwise, which changes all of the picture."""
        self.look = replace(self.look, **changes)
        self.changed = whole(self.look.size)

    def set_flow(self, scene: Scene) -> None:
        """Draw the edges of a scene that is the same but for what they are weighed by (`with_flow`)."""
        self._see(scene=scene)
        self.tubes = Tubes(scene.mesh, scene.theme)
        self.neurons = Tubes(scene.flow.mesh, scene.theme)
        self.figures = Labels(scene.flow.labels, scene.theme)

    def set_arcs(self, scene: Scene) -> None:
        """Draw the arcs of a scene that is the same but for them (`with_arcs`)."""
        self._see(scene=scene)
        self.arcs = Tubes(scene.arcs.mesh, scene.theme)
        self.arc_labels = Labels(scene.arcs.labels, scene.theme)

    def _lay_over(self, overlay: Overlay) -> None:
        theme = self.look.scene.theme
        self.veil = Panels(list(veil_quads(overlay.covers, self.look.size[1], theme)), theme)
        self.legend = Slabs(theme)
        steps = np.ones((len(overlay.boxes), 2), int)
        self.legend.set_boxes(overlay.boxes, self.look.scene.scales, build_atlas(overlay.boxes, steps))
        self.words = Labels(overlay.labels, theme)
        soft = VEIL_SOFT * np.array([-1, -1, 1, 1])
        self._covered = np.array(overlay.covers, float).reshape(-1, 4) + soft

    def plain_styles(self) -> np.ndarray:
        """Return styles that mark the chosen token's row in every box that has one, and nothing else."""
        shown = self.look.scene.shown
        boxes = self.look.scene.pieces.boxes
        styles = np.zeros((len(boxes), 4))
        if isinstance(shown, Shown) and shown.marked:
            for i, box in enumerate(boxes):
                if box.plane.axes[0] in ("token", "query"):
                    styles[i, :2] = shown.token_index, shown.token_index + 1
        if isinstance(shown, Shown):
            styles[list(heads_chosen(self.look.scene.pieces, shown.arcs)), 2] = 1.0
        return styles

    def set_camera(self, camera: Camera) -> None:
        """Look from elsewhere; the values stay as finely pooled as they are."""
        self._see(camera=camera)

    def set_atlas(self, atlas: Atlas) -> None:
        """Show the values more finely, or less."""
        self._see(atlas=atlas)
        self.slabs.set_values(atlas)

    def set_size(self, size: tuple[int, int], overlay: Overlay) -> None:
        """Draw pictures of another size, with the title and legend made for it."""
        self._see(size=size, overlay=overlay)
        self._lay_over(overlay)

    def highlight(self, styles: np.ndarray, routes: Collection[int], focus: bool) -> None:
        """Mark boxes, let tubes glow.

        Args:
            styles: (box, 4) as for `Slabs.set_styles`.
            routes: numbers of the tubes that glow.
            focus: whether everything that is not highlighted steps back.
        """
        self._touch(self.slabs.things, self.slabs.set_styles(styles))
        self._touch(self.tubes.things, self.tubes.set_glow(routes))
        if focus != self.focus:
            self.focus = float(focus)
            self.changed = whole(self.look.size)

    def point_at(self, place: tuple[int, int, int] | None) -> None:
        """Mark the cell under the cursor: number of the box, row and column of its plane; None for no cell."""
        boxes = self.slabs.set_hovered(None if place is None else place[0])
        if place is not None:
            self.slabs.set_cell(*place)
            boxes = np.union1d(boxes, place[:1])
        self._touch(self.slabs.things, boxes)

    def _touch(self, things: Things | None, numbers: np.ndarray) -> None:
        """Note that some things look otherwise now."""
        if things is not None:
            places = things.places(self.look.camera, self.look.size)[numbers]
            self.changed = joined(self.changed, around(places, self.look.size))

    def draw(
        self, *, sharpness: float = 1.0, part: np.ndarray | None = None, region: Region | None = None
    ) -> None:
        """Draw the scene and, over it, title and legend.

        Args:
            sharpness: pixels of the frame buffer for a pixel of the picture.
            part: (4, 4) matrix that enlarges a part of the picture to all of the frame buffer; None for the whole.
            region: what of the picture is needed; what is drawn outside of it is not complete. None for everything.
        """
        width, height = self.look.size
        part = np.eye(4) if part is None else part
        sight = None if region is None else Sight(self.look.camera, self.look.size, region)
        gloo.clear(color=(*self.look.scene.theme.ground, 1.0), depth=True)
        world = part @ self.look.matrix()
        zoom = part[0, 0], part[1, 1]
        self.panels.draw(world, sharpness)
        self.slabs.draw(world, sharpness, self.focus, self.look.pixel(), sight)
        self.tubes.draw(world, THINNEST * self.look.pixel(), self.focus, sight)
        for tubes in (self.arcs, self.neurons):
            tubes.draw(world, THINNEST * self.look.pixel(), sight=sight)
        # sizes of letters are judged in pixels of the whole picture
        for labels in (self.labels, self.arc_labels, self.figures):
            labels.draw(world, (width / zoom[0], height / zoom[1]), sight=sight)
        if region is not None and not are_in(self._covered, region).any():
            return
        gloo.clear(color=False, depth=True)
        flat = part @ _pixels(width, height)
        self.veil.draw(flat, sharpness, depth_test=False, soft=VEIL_SOFT)
        self.legend.draw(flat, sharpness)
        self.words.draw(flat, (width / zoom[0], height / zoom[1]), depth_test=False)


def _pixels(width: int, height: int) -> np.ndarray:
    """Return the matrix from pixels, counted from the lower left corner, to clip space."""
    matrix = np.diag([2 / width, 2 / height, -0.01, 1.0])
    matrix[:2, 3] = -1
    return matrix
