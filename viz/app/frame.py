"""A picture in a browser: hands a view the mouse, keys and time of jupyter_rfb, and draws without a screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from jupyter_rfb import RemoteFrameBuffer

from refgguf.viz.app.view import View
from refgguf.viz.render.offscreen import HOLDING, Target, drawing

ENDLESS = "beat", "generate"  # what waits under these names calls itself again
STEP = 60  # what browsers report for a notch of a wheel, at the least


class Frame(RemoteFrameBuffer):
    """Shows a view in a browser.

    Attributes:
        view: what is seen, and how mouse and keys change it.
        pressed: called with each key, by its name in the browser.
    """

    _event_compatibility = 2

    def __init__(self, width: int, height: int):
        with drawing():  # says so if there is no OpenGL, before there is a widget
            pass
        self._logical, self._ratio = (width, height), 1.0
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._target = Target()
        self._button = 0
        self.closed = False
        self.pressed: Callable[[str], None] = lambda key: None
        super().__init__()
        self.css_width, self.css_height = f"{width}px", f"{height}px"
        self.max_buffered_frames = 2
        self.view = View(self)

    # ---- what the view needs

    def pixels(self) -> tuple[int, int]:
        """Return the size of the picture in pixels."""
        width, height = (max(int(side * self._ratio), 16) for side in self._logical)
        return width, height

    def scale(self) -> float:
        """Return how many pixels a unit of the mouse's coordinates has."""
        return self._ratio

    def redraw(self) -> None:
        """Ask for a new picture."""
        self.request_draw()

    def current(self) -> AbstractContextManager:
        """Make the hidden OpenGL context the current one while a block runs; other threads wait."""
        return drawing()

    def wait(self, name: str, milliseconds: int, then: Callable[[], None]) -> None:
        """Call something later; at once where no loop runs that could do it later, but for what would go on and on."""
        if self.closed:
            return
        if name in self._waiting:
            self._waiting.pop(name).cancel()
        loop = running_loop()
        if loop is not None:
            self._waiting[name] = loop.call_later(milliseconds / 1000, then)
        elif name not in ENDLESS:
            then()

    def beside(
        self, work: Callable[[Callable[[int, int], None]], object], then: Callable[[object], None]
    ) -> None:
        """Do work and call something with its result: a kernel does one thing at a time."""
        then(work(lambda done, total: None))

    # ---- what jupyter_rfb asks for

    def get_frame(self) -> np.ndarray | None:
        """Return the picture, (height, width, 3) uint8, None once it is closed; jupyter_rfb calls this."""
        if self.closed:
            return None
        with drawing():
            return self._target.draw(self.pixels(), self.view.draw)

    def handle_event(self, event: dict) -> None:
        """Tell the view what happened in the browser; jupyter_rfb calls this."""
        with HOLDING:
            self._handle(event)

    def _handle(self, event: dict) -> None:
        kind = event["type"]
        shift, ctrl = (name in event.get("modifiers", ()) for name in ("Shift", "Control"))
        if kind == "resize":
            self._logical = event["width"], event["height"]
            self._ratio = float(event.get("ratio") or event.get("pixel_ratio") or 1.0)
            self.view.resized()
        elif kind == "pointer_down":
            self._button = event["button"]
            self.view.press(event["x"], event["y"])
        elif kind == "pointer_move" and self._button and event.get("buttons"):
            self.view.drag(event["x"], event["y"], self._button, shift=shift, ctrl=ctrl)
        elif kind == "pointer_move":
            self.view.hover(event["x"], event["y"])
        elif kind == "pointer_up":
            self._button = 0
            self.view.release(event["x"], event["y"], event["button"], ctrl=ctrl)
        elif kind == "double_click" and event["button"] == 1:
            self.view.double(event["x"], event["y"])
        elif kind == "wheel":
            self.view.wheel(event["x"], event["y"], -event["dy"] / max(abs(event["dy"]), STEP))
        elif kind in ("key_down", "key_up"):
            self._key(event["key"], kind == "key_down", shift)
        elif kind == "close":
            self.closed = True
            for handle in self._waiting.values():
                handle.cancel()
            self._target.delete()

    def _key(self, key: str, down: bool, shift: bool) -> None:
        self.view.fast = shift
        if self.view.hold(key.lower(), down) or not down:
            return
        self.pressed(key)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
