"""The canvas of the window: hands a view the mouse, time and threads of Qt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from PySide6.QtCore import QTimer
from PySide6.QtGui import QOffscreenSurface, QOpenGLContext
from PySide6.QtOpenGLWidgets import QOpenGLWidget
from vispy import app, gloo

from refgguf.errors import NoGLError
from refgguf.viz.app.beside import Beside, Tell
from refgguf.viz.app.view import View
from refgguf.viz.render.offscreen import check_version
from refgguf.viz.render.smooth import Smooth, confine
from refgguf.viz.scene.regions import Region, area, joined, whole

SMOOTHED = 350  # milliseconds without change after which software OpenGL draws smooth edges
SMALL = 6  # a part of the picture that is so many times smaller than all of it is drawn smoothly at once
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "gdi generic")
GL_RENDERER, GL_VERSION = 0x1F01, 0x1F02


def driver() -> str:
    """Return the name of the OpenGL driver that windows have.

    Raises:
        NoGLError: there is none, or one that is too old.
    """
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        raise NoGLError(
            "the window cannot be opened, this screen has no OpenGL driver; on Debian or Ubuntu: "
            "apt install libgl1-mesa-dri; or draw a picture with --save picture.png"
        )
    name, version = (str(context.functions().glGetString(what) or "") for what in (GL_RENDERER, GL_VERSION))
    context.doneCurrent()
    check_version(version)
    return name


class SceneCanvas(app.Canvas):
    """A canvas that shows a view's scene.

    Attributes:
        view: what is seen, and how mouse and keys change it.
        reading: pools values for the picture.
        software: whether a processor draws, which takes several times longer with smooth edges: they come once
            nothing moves.
        smooth: whether the picture that is asked for has them.
        rough: the part of the picture that is on the screen without them; None for nothing.
    """

    def __init__(self):
        self.software = any(word in driver().lower() for word in SOFTWARE)
        self.smooth, self._smoother = False, None
        self.rough: Region | None = None
        self._buffer = -1  # what was drawn into last
        config = {"samples": 0 if self.software else 4, "depth_size": 24}
        super().__init__(app="pyside6", title="refgguf", keys=None, show=False, config=config)
        gloo.gl.use_gl("gl2")
        self.native.setMouseTracking(True)
        if self.software:  # which draws only what has changed: the rest must still be there
            self.native.setUpdateBehavior(QOpenGLWidget.UpdateBehavior.PartialUpdate)
        self.reading = Beside()
        self._timers: dict[str, QTimer] = {}
        self._then: dict[str, Callable[[], None]] = {}
        self.closed = False
        self.view = View(self)

    # ---- what the view needs

    def pixels(self) -> tuple[int, int]:
        """Return the size of the picture in pixels."""
        width, height = self.physical_size
        return max(int(width), 16), max(int(height), 16)

    def scale(self) -> float:
        """Return how many pixels a unit of the mouse's coordinates has."""
        return float(self.pixel_scale)

    def redraw(self) -> None:
        """Ask for a new picture."""
        self.smooth = False
        self.update()
        if self.software:
            self.wait("smooth", SMOOTHED, self._draw_smooth)

    def _draw_smooth(self) -> None:
        self.smooth = True
        if self.rough is not None or self.view.changed is not None:
            self.update()

    def make_current(self) -> None:
        """Make this canvas' OpenGL context the current one, in which drawing is not confined to a part."""
        self.set_current()
        gloo.set_state(scissor_test=False)

    def current(self) -> AbstractContextManager:
        """Make this canvas' OpenGL context the current one."""
        self.make_current()
        return nullcontext()  # nothing else draws in this thread

    def wait(self, name: str, milliseconds: int, then: Callable[[], None]) -> None:
        """Call something later; what waits under the same name is forgotten."""
        if self.closed:
            return
        self._then[name] = then
        if name not in self._timers:
            self._timers[name] = QTimer(singleShot=True)
            self._timers[name].timeout.connect(lambda: self._then[name]())
        self._timers[name].start(milliseconds)

    def beside(self, work: Callable[[Tell], object], then: Callable[[object], None]) -> None:
        """Do work in another thread, and call something with its result afterwards; only the newest work counts."""
        self.reading.do(work, then)

    def end(self) -> None:
        """Stop timers and threads; nothing is called afterwards."""
        self.closed = True
        for timer in self._timers.values():
            timer.stop()
        self.reading.end()
        self.close()

    # ---- events of vispy

    def on_draw(self, event) -> None:
        """Draw the scene."""
        if self.closed:
            return
        if not self.software:
            gloo.set_viewport(0, 0, *self.pixels())
            self.view.draw(self.scale())
            return
        size, part = self.pixels(), self._part()
        all_of_it = part == whole(size)
        draw = partial(self.view.draw, region=None if all_of_it else part)
        if self.smooth or SMALL * area(part) <= area(whole(size)):
            self._smoother = self._smoother or Smooth()
            self._smoother.draw(size, draw, self.scale(), part)
            self.rough = None if self.smooth else self.rough
        else:
            confine(part, size)
            draw(self.scale())
            self.rough = joined(self.rough, part)

    def _part(self) -> Region:
        """Return what of the picture is to be drawn: what has changed, or everything if it is not known what has."""
        before, self._buffer = self._buffer, self.native.defaultFramebufferObject()
        part = joined(self.view.changed, self.rough if self.smooth else None)
        return whole(self.pixels()) if part is None or self._buffer != before else part

    def on_resize(self, event) -> None:
        """Tell the view."""
        if not self.closed:
            self._buffer = -1  # a new one, although it may have the old one's number
            self.view.resized()

    def on_mouse_press(self, event) -> None:
        """Tell the view."""
        self.view.press(*event.pos)

    def on_mouse_move(self, event) -> None:
        """Tell the view."""
        if event.is_dragging:
            self.view.drag(
                *event.pos, event.button, shift=_held(event, "Shift"), ctrl=_held(event, "Control")
            )
        else:
            self.view.hover(*event.pos)

    def on_mouse_release(self, event) -> None:
        """Tell the view."""
        self.view.release(*event.pos, event.button, ctrl=_held(event, "Control"))

    def on_mouse_double_click(self, event) -> None:
        """Tell the view."""
        if event.button == 1:
            self.view.double(*event.pos)

    def on_mouse_wheel(self, event) -> None:
        """Tell the view."""
        self.view.wheel(*event.pos, float(event.delta[1]))


def _held(event, key: str) -> bool:
    return any(getattr(m, "name", m) == key for m in event.modifiers)
