"""A view of a scene: camera, mouse, keys that fly, focus, picking. Knows neither Qt nor Jupyter, which show it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Protocol

import numpy as np
from vispy import gloo

from refgguf.viz.places import Place, camera_of
from refgguf.viz.render.offscreen import draw_tiles
from refgguf.viz.render.renderer import Renderer
from refgguf.viz.scene import controls
from refgguf.viz.scene.atlas import Atlas, build_atlas, detail_for
from refgguf.viz.scene.build import Scene, look_from, overlay_of
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.colours import theme_of
from refgguf.viz.scene.picking import Hit, Picker
from refgguf.viz.scene.regions import Region, whole
from refgguf.viz.state import same_kind

STILL = 140  # milliseconds without movement after which values are pooled anew for what is seen
FRAME = 16  # milliseconds between the pictures of a movement
FLIGHT = 0.5  # seconds that a flight takes
CLICK = 4  # pixels that the mouse may move between press and release of a click
WHEEL = 0.88
SPEED = 0.7  # heights of what is seen that a held key moves by in a second
TURNTABLE = 14.0  # degrees in a second
# held key → right, up, forward
FLYING = {
    "a": (-1, 0, 0),
    "d": (1, 0, 0),
    "q": (0, -1, 0),
    "e": (0, 1, 0),
    "s": (0, 0, -1),
    "w": (0, 0, 1),
}


class Surface(Protocol):
    """What a view needs of the window or widget that shows it."""

    def pixels(self) -> tuple[int, int]:
        """Return width and height in pixels."""

    def scale(self) -> float:
        """Return how many pixels a unit of the mouse's coordinates has."""

    def redraw(self) -> None:
        """Ask for a new picture."""

    def current(self) -> AbstractContextManager:
        """Make the surface's OpenGL context the current one while a block runs."""

    def wait(self, name: str, milliseconds: int, then: Callable[[], None]) -> None:
        """Call something later; what waits under the same name is forgotten."""

    def beside(
        self, work: Callable[[Callable[[int, int], None]], object], then: Callable[[object], None]
    ) -> None:
        """Do work beside the surface, and call something with its result afterwards, in the surface's own thread.

        The work is given what hears how many boxes are done, of how many; that may end it.
        """


class View:
    """Shows one scene at a time on a surface.

    Attributes:
        scene: what is shown.
        renderer: draws it; None until the first picture.
        camera: where from.
        home: the camera of the overview.
        hit: what lies under the cursor.
        hovered: called with what is under the cursor (a Hit or None) whenever that changes.
        clicked: called with what was clicked, "click", "double" or "menu", and whether Ctrl was held.
        moved: called when the camera has moved.
        turntable: whether the scene turns by itself.
        ground: what is seen before there is a scene.
        held: keys that are held and fly.
        fast: whether they fly faster.
    """

    def __init__(self, surface: Surface):
        self.surface = surface
        self.scene: Scene | None = None
        self.renderer: Renderer | None = None
        self.camera: Camera | None = None
        self.home: Camera | None = None
        self.hit: Hit | None = None
        self.hovered: Callable[[Hit | None], None] = lambda hit: None
        self.clicked: Callable[[Hit | None, str, bool], None] = lambda hit, how, ctrl: None
        self.moved: Callable[[], None] = lambda: None
        self.turntable = False
        self.ground = theme_of("light").ground
        self.fast = False
        self.held: set[str] = set()
        self.picker = Picker([])
        self._pressed: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None
        self._stale = False
        self._atlas: Atlas | None = None
        self._framed: tuple[Scene, tuple[int, int], Camera] | None = None
        self._focus: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        self._flight: tuple[Camera, Camera, float] | None = None
        self._beat = 0.0

    # ---- what is shown

    def show_scene(self, scene: Scene, atlas: Atlas | None = None) -> None:
        """Show a scene, from where the last one was looked at if that was one of the same kind.

        Args:
            scene: the scene.
            atlas: its values for the first picture, if they are pooled already.
        """
        stays = self._stays(scene)
        self.scene, self._atlas = scene, atlas
        self.home = self._home_of(scene, self.surface.pixels())
        if not stays:
            self.camera = self.home
        self._flight = None
        self.picker = Picker(scene.pieces.boxes)
        self.hit = None
        self._focus = (set(), set(), set())
        self._stale = True
        self.surface.wait("still", STILL, self._refine)
        self.surface.redraw()

    def sight_of(self, scene: Scene) -> tuple[Camera, tuple[int, int]]:
        """Return from where, and in what size, a scene will be seen first; may be called from another thread."""
        size, camera = self.surface.pixels(), self.camera
        home = self._home_of(scene, size)  # found here, so that showing the scene need not find it
        return (camera if self._stays(scene) else home), size

    def _stays(self, scene: Scene) -> bool:
        """Whether a scene will be looked at from where the last one is."""
        moved = self.camera is not None and self.camera != self.home
        return moved and self.scene is not None and same_kind(self.scene.shown, scene.shown)

    def _home_of(self, scene: Scene, size: tuple[int, int]) -> Camera:
        """Return the camera of the overview, which takes a while to be found where there are many boxes."""
        known = self._framed
        if known is None or known[0] is not scene or known[1] != size:
            known = self._framed = scene, size, camera_of(scene, Place(), size)
        return known[2]

    @property
    def bound_for(self) -> Camera | None:
        """The camera at the end of a flight; the camera itself when there is none."""
        return self.camera if self._flight is None else self._flight[1]

    @property
    def held_by_hand(self) -> bool:
        """Whether the mouse or a key moves the camera now."""
        return self._pressed is not None or bool(self.held)

    def look(self, camera: Camera, *, fly: bool = True) -> None:
        """Look from another camera, flying there."""
        if fly and self.camera is not None:
            self._flight = (self.camera, camera, perf_counter())
            self._animate()
        else:
            self._flight = None
            self._move(camera)

    def set_focus(self, boxes: set[int], routes: set[int], near: set[int] | None = None) -> None:
        """Let things glow and everything else step back; nothing in focus shows all as it is.

        Args:
            boxes: numbers of the boxes in focus.
            routes: numbers of the tubes.
            near: numbers of the boxes that flow into those: lit, but with a fainter rim.
        """
        self._focus = (set(boxes), set(routes), set(near or ()))
        if self.renderer is None or self._stale:
            return
        with self.surface.current():
            self._apply_focus()
        self.surface.redraw()

    def _apply_focus(self) -> None:
        boxes, routes, near = self._focus
        styles = self.renderer.plain_styles()
        for i in near:
            styles[i, 2] = 0.55
        for i in boxes:
            styles[i, 2] = 1.0
        if self.hit is not None:
            styles[self.hit.box, 3] = 1.0
        self.renderer.highlight(styles, routes, focus=bool(boxes or routes))

    def picture(self) -> np.ndarray:
        """Return what is seen, drawn anew at twice the sharpness, (height, width, 3) uint8."""
        with self.surface.current():
            look = look_from(self.scene, self.surface.pixels(), self.camera)
            kept, self.renderer = self.renderer, Renderer(look)
            self._apply_focus()
            picture = draw_tiles(self.renderer)
            self.renderer = kept
        self.surface.redraw()
        return picture

    @property
    def changed(self) -> Region | None:
        """The part of the picture that has changed since it was drawn last; None if nothing has."""
        if self.renderer is None or self._stale:
            return whole(self.surface.pixels())
        return self.renderer.changed

    def draw(self, sharpness: float = 1.0, region: Region | None = None) -> None:
        """Draw into the current frame buffer.

        Args:
            sharpness: pixels of it for a unit of the picture's lines.
            region: the only part of the picture that is needed; None for everything.
        """
        size = self.surface.pixels()
        if self.scene is None:
            gloo.clear(color=(*self.ground, 1.0), depth=True)
            return
        if self.renderer is None or self._stale:
            self.renderer = Renderer(look_from(self.scene, size, self.camera, atlas=self._atlas))
            self._stale, self._atlas = False, None
            self._apply_focus()
        self.renderer.draw(sharpness=sharpness, region=region)
        self.renderer.changed = None

    def resized(self) -> None:
        """Make title and legend anew for the new size, and frame the scene anew if nobody has moved."""
        if self.scene is None:
            return
        size = self.surface.pixels()
        at_home = self.camera == self.home
        self.home = self._home_of(self.scene, size)
        if at_home:
            self.camera = self.home
        if self.renderer is not None and not self._stale:
            with self.surface.current():
                self.renderer.set_size(size, overlay_of(self.scene, self.renderer.look.atlas, size))
                self.renderer.set_camera(self.camera)
        self.surface.wait("still", STILL, self._refine)
        self.surface.redraw()

    # ---- movement

    def hold(self, key: str, down: bool) -> bool:
        """Tell that a key is held or let go; returns whether it is one that flies."""
        if key not in FLYING:
            return False
        (self.held.add if down else self.held.discard)(key)
        self._flight = None
        self._animate()
        return True

    def set_turntable(self, on: bool) -> None:
        """Let the scene turn by itself, or not."""
        self.turntable = on
        self._animate()

    def _animate(self) -> None:
        self._beat = perf_counter()
        self.surface.wait("beat", FRAME, self._go_on)

    def _go_on(self) -> None:
        now = perf_counter()
        passed, self._beat = min(now - self._beat, 0.25), now
        if self.camera is None or self.scene is None:
            return
        if self._flight is not None:
            start, end, began = self._flight
            share = min((now - began) / FLIGHT, 1.0)
            if share == 1.0:
                self._flight = None
            self._move(controls.between(start, end, share) if share < 1.0 else end)
        elif self.held:
            way = np.sum([FLYING[key] for key in self.held], axis=0) * passed * SPEED
            size = self.surface.pixels()
            height = controls.pixel_at(self.camera, self.camera.distance, size) * size[1]
            self._move(controls.fly(self.camera, *(way * height * (4 if self.fast else 1))))
        elif self.turntable:
            self._move(controls.turn(self.camera, passed * TURNTABLE / controls.TURN, 0.0))
        else:
            return
        self.surface.wait("beat", FRAME, self._go_on)

    def _move(self, camera: Camera) -> None:
        self.camera = camera
        if self.renderer is not None:
            self.renderer.set_camera(camera)
        self.surface.wait("still", STILL, self._refine)
        self.surface.redraw()
        self.moved()

    def _refine(self) -> None:
        """Pool the values for what is seen now: zooming in brings the real cells."""
        if self.renderer is None or self.scene is None or self._stale:
            return
        scene, shown = self.scene, self.renderer.look.atlas
        seen = self.camera, self.surface.pixels()

        def work(tell: Callable[[int, int], None]) -> Atlas | None:
            boxes = scene.pieces.boxes
            steps, parts = detail_for(boxes, *seen)
            same = (steps == shown.steps).all() and (parts == shown.parts).all()
            return None if same else build_atlas(boxes, steps, parts, tell)

        self.surface.beside(work, lambda atlas: self._sharpen(scene, atlas))

    def _sharpen(self, scene: Scene, atlas: Atlas | None) -> None:
        if atlas is None or scene is not self.scene or self.renderer is None or self._stale:
            return  # it is sharp, or another scene is shown meanwhile
        with self.surface.current():
            self.renderer.set_atlas(atlas)
            size = self.surface.pixels()
            self.renderer.set_size(size, overlay_of(scene, atlas, size))  # it says what a cell stands for
            self._apply_focus()
        self.surface.redraw()

    # ---- mouse; positions in the surface's own units

    def press(self, x: float, y: float) -> None:
        """Remember where a click or drag begins."""
        self._pressed = self._last = (x, y)
        self._flight = None

    def drag(self, x: float, y: float, button: int, *, shift: bool = False, ctrl: bool = False) -> None:
        """Turn (left), look around (left with Ctrl) or move (any other, or with Shift)."""
        if self.camera is None or self._last is None:
            return
        dx, dy = x - self._last[0], y - self._last[1]
        self._last = (x, y)
        if button == 1 and ctrl:
            self._move(controls.look_around(self.camera, dx, dy))
        elif button == 1 and not shift:
            self._move(controls.turn(self.camera, dx, dy))
        else:
            scale = self.surface.scale()
            self._move(controls.pan(self.camera, dx * scale, dy * scale, self.surface.pixels()))

    def release(self, x: float, y: float, button: int, *, ctrl: bool = False) -> None:
        """Tell of a click, which is a press and release in one place."""
        if self._pressed is None:
            return
        moved = max(abs(x - self._pressed[0]), abs(y - self._pressed[1]))
        self._pressed = self._last = None
        if moved <= CLICK and button in (1, 2):
            self.clicked(self.pick(x, y), "click" if button == 1 else "menu", ctrl)

    def double(self, x: float, y: float) -> None:
        """Tell of a double click."""
        self._pressed = None
        self.clicked(self.pick(x, y), "double", False)

    def wheel(self, x: float, y: float, ticks: float) -> None:
        """Approach what is under the cursor, or leave it."""
        if self.camera is None:
            return
        self._flight = None
        scale = self.surface.scale()
        point = controls.under(self.camera, x * scale, y * scale, self.surface.pixels())
        self._move(controls.approach(self.camera, WHEEL**ticks, point))

    def pick(self, x: float, y: float) -> Hit | None:
        """Return what is at a place of the surface."""
        if self.camera is None:
            return None
        scale = self.surface.scale()
        return self.picker.pick(*self.camera.ray(x * scale, y * scale, self.surface.pixels()))

    def hover(self, x: float, y: float) -> None:
        """Find what is under the cursor."""
        hit = self.pick(x, y)
        if hit == self.hit:
            return
        self.hit = hit
        if self.renderer is not None and not self._stale:
            with self.surface.current():
                self.renderer.point_at(None if hit is None else (hit.box, hit.row, hit.col))
            self.surface.redraw()
        self.hovered(hit)
