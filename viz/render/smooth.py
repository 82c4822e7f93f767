"""Draw at twice the size and average, where no driver smooths the edges: with software OpenGL, once nothing moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from vispy import gloo

from refgguf.viz.render.offscreen import DEPTH_24
from refgguf.viz.render.programs import CORNERS, bind, program_of, rectangles
from refgguf.viz.scene.regions import Region, whole

LARGEST = 8192  # pixels a side of the large picture; what is larger than that is drawn as it is
TIMES = 2


def confine(part: Region, size: tuple[int, int], times: int = 1) -> None:
    """Draw from now on into a part of the frame buffer that is current, and leave the rest of it as it is.

    Args:
        part: the part, in pixels of the picture.
        size: width and height of the picture.
        times: pixels of the frame buffer for one of the picture, in each direction.
    """
    left, top, right, bottom = (times * at for at in part)
    width, height = (times * side for side in size)
    gloo.set_viewport(0, 0, width, height)
    gloo.set_state(scissor_test=True)
    gloo.set_scissor(left, height - bottom, right - left, bottom - top)


class Smooth:
    """Draws smoothly into the frame buffer that is current."""

    def __init__(self):
        self.program = program_of("smooth")
        bind(self.program, {"a_corner": CORNERS})
        self.triangles = rectangles(1)
        self._size = (0, 0)
        self._buffer: gloo.FrameBuffer | None = None

    def draw(
        self,
        size: tuple[int, int],
        draw: Callable[[float], None],
        scale: float = 1.0,
        part: Region | None = None,
    ) -> None:
        """Draw.

        Args:
            size: width and height of the picture in pixels.
            draw: draws into the current frame buffer, given the pixels of it for a unit of the picture's lines.
            scale: the same for the picture itself.
            part: what of the picture is drawn, everything else staying as it is; None for all.
        """
        part = whole(size) if part is None else part
        width, height = (side * TIMES for side in size)
        if max(width, height) > LARGEST:
            confine(part, size)
            draw(scale)
            return
        if self._size != (width, height):
            self._make(width, height)
        with self._buffer:
            confine(part, size, TIMES)
            draw(scale * TIMES)
        confine(part, size)
        gloo.set_state(blend=False, depth_test=False, cull_face=False)
        self.program.draw("triangles", self.triangles)

    def _make(self, width: int, height: int) -> None:
        if self._buffer is not None:
            self._buffer.delete()
        picture = gloo.Texture2D(
            np.zeros((height, width, 4), np.uint8), interpolation="nearest", wrapping="clamp_to_edge"
        )
        self._buffer = gloo.FrameBuffer(
            color=picture, depth=gloo.RenderBuffer((height, width), format=DEPTH_24)
        )
        self.program["u_picture"] = picture
        self.program["u_texel"] = 1 / width, 1 / height
        self._size = (width, height)
