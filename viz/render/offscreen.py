"""Draw pictures without a screen: an OpenGL context of its own, in tiles, several samples to a pixel."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from refgguf.errors import NoGLError
from refgguf.viz.scene.build import Look

if TYPE_CHECKING:
    from refgguf.viz.render.renderer import Renderer

SAMPLES, FINE = 2, 3  # in each direction, to a pixel: usually, and of a picture that is kept
TILE = 1024  # pixels of the picture; a frame buffer of TILE · FINE is within every driver's limits
DEPTH_24 = 0x81A6  # GL_DEPTH_COMPONENT24; vispy's default of 16 bits is too coarse for a long scene
HOLDING = threading.RLock()  # held by the thread that draws
_blocks: list = []  # of `drawing`, one within the other
PACKAGES = "apt install libegl1 libgl1 libfontconfig1"


def prepare() -> None:
    """Choose how OpenGL is reached; must run before vispy or PyOpenGL is imported first.

    What the user has set in the environment stays.
    """
    if sys.platform.startswith("linux"):
        os.environ.setdefault("EGL_PLATFORM", "surfaceless")
        os.environ.setdefault("PYOPENGL_PLATFORM", "egl")


@cache
def canvas():
    """Return the one hidden canvas of this process, its context current.

    vispy never frees such contexts, so there is only one.

    Raises:
        NoGLError: there is no OpenGL library or driver; the message says what to install.
    """
    prepare()
    try:
        from vispy import app, gloo

        hidden = app.Canvas(size=(64, 64), show=False, app="egl", config={"depth_size": 24})
        gloo.gl.use_gl("gl2")
        hidden.set_current()
        version = gloo.gl.glGetParameter(gloo.gl.GL_VERSION)
    except Exception as error:  # vispy, ctypes and drivers each raise their own
        raise NoGLError(
            f"cannot draw: no OpenGL ({_reason(error)}); on Debian or Ubuntu: {PACKAGES}"
        ) from error
    check_version(str(version or ""))
    return hidden


@contextmanager
def drawing() -> Iterator[None]:
    """Make the hidden context this thread's own while the block runs, and nobody's after it.

    A context belongs to one thread at a time, and notebooks draw from several: what a cell asks for comes in one, what
    the browser does in another.

    Raises:
        NoGLError: there is no OpenGL.
    """
    with HOLDING:
        hidden = canvas()
        hidden.set_current()
        _blocks.append(hidden)
        try:
            yield
        finally:
            _blocks.pop()
            if not _blocks:
                _let_go()


def _let_go() -> None:
    from vispy.app.backends import _egl
    from vispy.ext import egl

    egl.eglBindAPI(egl.EGL_OPENGL_API)  # each thread has a choice of its own, and begins with another
    egl.eglMakeCurrent(_egl._EGL_DISPLAY, egl.EGL_NO_SURFACE, egl.EGL_NO_SURFACE, egl.EGL_NO_CONTEXT)


def check_version(version: str) -> None:
    """Refuse a driver that cannot run the shaders.

    Raises:
        NoGLError: it is older than OpenGL 2.1, or gives no version.
    """
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < (2, 1):
        raise NoGLError(
            f"cannot draw: OpenGL 2.1 is needed, and the driver offers {version or 'nothing'}; install a newer "
            f"driver, or the one that needs no graphics card: on Debian or Ubuntu: {PACKAGES}"
        )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def render(look: Look, samples: int = SAMPLES) -> np.ndarray:
    """Draw a look.

    Args:
        look: what to draw, and how large.
        samples: in each direction, to a pixel.

    Returns:
        (height, width, 3) uint8 sRGB.

    Raises:
        NoGLError: there is no OpenGL.
    """
    with drawing():
        from refgguf.viz.render.renderer import Renderer

        return draw_tiles(Renderer(look), samples)


def draw_tiles(renderer: Renderer, samples: int = SAMPLES) -> np.ndarray:
    """Draw what a renderer holds into a picture, in the OpenGL context that is current; as `render` does."""
    from vispy import gloo

    width, height = renderer.look.size
    picture = np.empty((height, width, 3), np.uint8)
    side = TILE * samples
    buffer = gloo.FrameBuffer(
        color=gloo.RenderBuffer((side, side)), depth=gloo.RenderBuffer((side, side), format=DEPTH_24)
    )
    with buffer:
        gloo.set_viewport(0, 0, side, side)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                renderer.draw(sharpness=samples, part=_part(left, top, width, height))
                tile = gloo.read_pixels((0, 0, side, side), alpha=False)
                rows, cols = min(TILE, height - top), min(TILE, width - left)
                tile = tile[: rows * samples, : cols * samples]
                picture[top : top + rows, left : left + cols] = average(tile, samples)
    buffer.delete()
    return picture


def _part(left: int, top: int, width: int, height: int) -> np.ndarray:
    """Return the matrix that enlarges the tile at (left, top) to all of clip space."""
    x, y = 2 * (left + TILE / 2) / width - 1, 1 - 2 * (top + TILE / 2) / height
    matrix = np.eye(4)
    matrix[0, 0], matrix[1, 1] = width / TILE, height / TILE
    matrix[0, 3], matrix[1, 3] = -x * width / TILE, -y * height / TILE
    return matrix


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Return sRGB → light, and light in 4096 steps → sRGB."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    steps = np.linspace(0, 1, 16385)
    back = np.where(steps <= 0.0031308, steps * 12.92, 1.055 * steps ** (1 / 2.4) - 0.055)
    return light.astype(np.float32), np.rint(back * 255).astype(np.uint8)


def average(picture: np.ndarray, samples: int) -> np.ndarray:
    """Reduce a picture by a whole factor, averaging light rather than its code numbers.

    Args:
        picture: (rows · samples, cols · samples, 3) uint8 sRGB.
        samples: the factor.
    """
    if samples == 1:
        return picture
    light, back = _tables()
    rows, cols = picture.shape[0] // samples, picture.shape[1] // samples
    total = np.zeros((rows, cols, 3), np.float32)
    for i in range(samples):
        for j in range(samples):
            total += light[picture[i::samples, j::samples]]
    return back[np.rint(total * np.float32(16384 / samples**2)).astype(np.int32)]


class Target:
    """A frame buffer that is drawn into again and again; needs the hidden canvas' context to be current."""

    def __init__(self):
        self._buffer = None
        self._size = (0, 0)

    def draw(
        self, size: tuple[int, int], draw: Callable[[float], None], samples: int = SAMPLES
    ) -> np.ndarray:
        """Draw a picture.

        Args:
            size: width and height in pixels.
            draw: draws into the current frame buffer, given the pixels of it for a pixel of the picture.
            samples: in each direction, to a pixel.

        Returns:
            (height, width, 3) uint8 sRGB.
        """
        from vispy import gloo

        width, height = size[0] * samples, size[1] * samples
        if self._size != (width, height):
            self.delete()
            self._buffer = gloo.FrameBuffer(
                color=gloo.RenderBuffer((height, width)),
                depth=gloo.RenderBuffer((height, width), format=DEPTH_24),
            )
            self._size = (width, height)
        with self._buffer:
            gloo.set_viewport(0, 0, width, height)
            draw(float(samples))
            picture = gloo.read_pixels((0, 0, width, height), alpha=False)
        return average(picture, samples)

    def delete(self) -> None:
        """Give the memory back."""
        if self._buffer is not None:
            self._buffer.delete()
            self._buffer, self._size = None, (0, 0)
