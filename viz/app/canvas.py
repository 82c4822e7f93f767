"""The canvas of the window: draws a scene, turns, moves and zooms it, and finds what is under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np
from PySide6.QtCore import QTimer
from vispy import app, gloo

from refgguf.viz.render.offscreen import draw_tiles
from refgguf.viz.render.renderer import Renderer
from refgguf.viz.scene import controls
from refgguf.viz.scene.atlas import build_atlas, steps_for
from refgguf.viz.scene.build import Scene, look_at
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.overlay import make_overlay
from refgguf.viz.scene.picking import Hit, Picker

STILL = 140  # milliseconds without movement after which values are pooled anew for what is seen
FRAME = 16  # milliseconds between the pictures of a flight
FLIGHT = 0.5  # seconds that a flight takes
CLICK = 4  # pixels that the mouse may move between press and release of a click
WHEEL = 0.88


class SceneCanvas(app.Canvas):
    """A canvas that shows one scene.

    Args:
        hovered: called with what is under the cursor (a Hit or None) whenever that changes.
        clicked: called with what was clicked, and whether it was a double click.
    """

    def __init__(self, hovered: Callable[[Hit | None], None], clicked: Callable[[Hit | None, bool], None]):
        super().__init__(
            app="pyside6", title="refgguf", keys=None, show=False, config={"samples": 4, "depth_size": 24}
        )
        self.hovered, self.clicked = hovered, clicked
        self.scene: Scene | None = None
        self.renderer: Renderer | None = None
        self.camera: Camera | None = None
        self.home: Camera | None = None
        self.picker = Picker([])
        self.hit: Hit | None = None
        self._pressed: tuple[float, float] | None = None
        self._stale = False
        self._flight: tuple[Camera, Camera, float] | None = None
        self._still = QTimer(singleShot=True, interval=STILL)
        self._still.timeout.connect(self._refine)
        self._beat = QTimer(interval=FRAME)
        self._beat.timeout.connect(self._fly)
        gloo.gl.use_gl("gl2")
        self.native.setMouseTracking(True)

    # ---- what is shown

    def show_scene(self, scene: Scene, *, keep_camera: bool = False) -> None:
        """Show a scene.

        Args:
            scene: the scene.
            keep_camera: look at it from where the last one was looked at.
        """
        self.scene = scene
        look = look_at(scene, self._pixels())
        self.home = look.camera
        if not keep_camera or self.camera is None:
            self.camera = look.camera
        self.picker = Picker(scene.pieces.boxes)
        self.hit = None
        self._stale = True
        self._still.start()
        self.update()

    def look(self, camera: Camera, *, fly: bool = True) -> None:
        """Look from another camera, flying there."""
        if fly and self.camera is not None:
            self._flight = (self.camera, camera, perf_counter())
            self._beat.start()
        else:
            self._move(camera)

    def set_focus(self, boxes: set[int], routes: set[int]) -> None:
        """Let boxes and tubes glow and everything else step back; nothing in focus shows all as it is."""
        if self.renderer is None:
            return
        self.set_current()
        styles = self.renderer.plain_styles()
        for i in boxes:
            styles[i, 2] = 1.0
        if self.hit is not None:
            styles[self.hit.box, 3] = 1.0
        self.renderer.slabs.set_styles(styles)
        self.renderer.tubes.set_glow(routes)
        self.renderer.focus = 1.0 if boxes or routes else 0.0
        self.update()

    def picture(self) -> np.ndarray:
        """Return what is seen, drawn anew at twice the sharpness, (height, width, 3) uint8."""
        self.set_current()
        boxes = self.scene.pieces.boxes
        look = look_at(self.scene, self._pixels())
        atlas = build_atlas(boxes, steps_for(boxes, self.camera, self._pixels()))
        picture = draw_tiles(Renderer(replace(look, camera=self.camera, atlas=atlas)))
        self.update()
        return picture

    def look_size(self) -> tuple[int, int]:
        """Return the size of the picture in pixels."""
        return self._pixels()

    def _pixels(self) -> tuple[int, int]:
        width, height = self.physical_size
        return max(int(width), 16), max(int(height), 16)

    def _move(self, camera: Camera) -> None:
        self.camera = camera
        if self.renderer is not None:
            self.renderer.set_camera(camera)
        self._still.start()
        self.update()

    def _fly(self) -> None:
        if self._flight is None:
            self._beat.stop()
            return
        start, end, began = self._flight
        share = min((perf_counter() - began) / FLIGHT, 1.0)
        if share == 1.0:
            self._flight = None
        self._move(controls.between(start, end, share) if share < 1.0 else end)

    def _refine(self) -> None:
        """Pool the values for what is seen now: zooming in brings the real cells."""
        if self.renderer is None or self.scene is None:
            return
        boxes = self.scene.pieces.boxes
        steps = steps_for(boxes, self.camera, self._pixels())
        if (steps != self.renderer.look.atlas.steps).any():
            self.set_current()
            self.renderer.set_atlas(build_atlas(boxes, steps))
            self.renderer.slabs.set_styles(self.renderer.plain_styles())
            self.update()

    # ---- events of vispy

    def on_draw(self, event) -> None:
        """Draw the scene."""
        gloo.set_viewport(0, 0, *self._pixels())
        if self.scene is None:
            gloo.clear(color=(1, 1, 1, 1), depth=True)
            return
        if self.renderer is None or self._stale:
            look = look_at(self.scene, self._pixels())
            self.renderer = Renderer(replace(look, camera=self.camera))
            self._stale = False
        self.renderer.draw(sharpness=float(self.pixel_scale))

    def on_resize(self, event) -> None:
        """Make title and legend anew for the new size, and frame the scene anew if nobody has moved."""
        if self.scene is None:
            return
        at_home = self.camera == self.home
        look = look_at(self.scene, self._pixels())
        self.home = look.camera
        if at_home:
            self.camera = look.camera
        if self.renderer is not None and not self._stale:
            self.set_current()
            overlay = make_overlay(self.scene.shown.facts, self.scene.scales, [], self._pixels())
            self.renderer.set_size(self._pixels(), overlay)
            self.renderer.set_camera(self.camera)
        self._still.start()
        self.update()

    def on_mouse_press(self, event) -> None:
        """Remember where a click or drag begins."""
        self._pressed = tuple(event.pos)
        self._flight = None

    def on_mouse_move(self, event) -> None:
        """Turn (left), move (right, middle, or with Shift), or find what is under the cursor."""
        if self.camera is None:
            return
        if event.is_dragging and event.last_event is not None:
            dx, dy = (float(a - b) for a, b in zip(event.pos, event.last_event.pos, strict=True))
            shift = any(getattr(m, "name", m) == "Shift" for m in event.modifiers)
            if event.button == 1 and not shift:
                self._move(controls.turn(self.camera, dx, dy))
            else:
                scale = self.pixel_scale
                self._move(controls.pan(self.camera, dx * scale, dy * scale, self._pixels()))
            return
        self._hover(event.pos)

    def on_mouse_release(self, event) -> None:
        """Tell of a click, which is a press and release in one place."""
        if self._pressed is None or event.button != 1:
            return
        moved = max(abs(a - b) for a, b in zip(event.pos, self._pressed, strict=True))
        self._pressed = None
        if moved <= CLICK:
            self.clicked(self.pick(event.pos), False)

    def on_mouse_double_click(self, event) -> None:
        """Tell of a double click."""
        self._pressed = None
        if event.button == 1:
            self.clicked(self.pick(event.pos), True)

    def on_mouse_wheel(self, event) -> None:
        """Approach what is under the cursor, or leave it."""
        if self.camera is None:
            return
        self._flight = None
        x, y = (float(p) * self.pixel_scale for p in event.pos)
        point = controls.under(self.camera, x, y, self._pixels())
        self._move(controls.approach(self.camera, WHEEL ** float(event.delta[1]), point))

    def pick(self, pos) -> Hit | None:
        """Return what is at a place of the canvas."""
        if self.camera is None:
            return None
        x, y = (float(p) * self.pixel_scale for p in pos)
        return self.picker.pick(*self.camera.ray(x, y, self._pixels()))

    def _hover(self, pos) -> None:
        hit = self.pick(pos)
        if hit == self.hit:
            return
        before, self.hit = self.hit, hit
        if self.renderer is not None and not self._stale:
            self.set_current()
            if hit is not None:
                self.renderer.slabs.set_cell(hit.box, hit.row, hit.col)
            if (before is None) != (hit is None) or (hit and before and hit.box != before.box):
                self.renderer.slabs.set_hovered(None if hit is None else hit.box)
            self.update()
        self.hovered(hit)
