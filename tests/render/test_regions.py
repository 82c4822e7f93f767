"""A part of a picture that is drawn anew is what it is when everything is."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.render import offscreen
from refgguf.viz.scene.build import look_at, with_arcs
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.regions import area, whole
from refgguf.viz.state import ArcChoice
from refgguf.viz.steps import steps_of
from tests.support.scenes import tiny_scene

pytestmark = pytest.mark.render
SIZE = (500, 340)


class Screen:
    """A frame buffer that keeps what was drawn before."""

    def __init__(self):
        from vispy import gloo

        from refgguf.viz.render.smooth import Smooth

        self.smoother = Smooth()
        shape = SIZE[::-1]
        depth = gloo.RenderBuffer(shape, format=offscreen.DEPTH_24)
        self.buffer = gloo.FrameBuffer(color=gloo.RenderBuffer(shape), depth=depth)

    def draw(self, renderer, region, smooth: bool) -> np.ndarray:
        """Draw a region of the picture, everything if None, and return all of it."""
        from vispy import gloo

        from refgguf.viz.render.smooth import confine

        part = region or whole(SIZE)
        with self.buffer:
            if smooth:
                self.smoother.draw(
                    SIZE, lambda scale: renderer.draw(sharpness=scale, region=region), 1.0, part
                )
            else:
                confine(part, SIZE)
                renderer.draw(region=region)
            renderer.changed = None
            confine(whole(SIZE), SIZE)
            return gloo.read_pixels((0, 0, *SIZE), alpha=False).copy()

    def close(self) -> None:
        """Give the memory back; pictures are whole again."""
        from vispy import gloo

        gloo.set_state(scissor_test=False)
        self.buffer.delete()


@pytest.fixture
def screen(opengl):
    """A screen, with the context that it needs."""
    opengl.set_current()
    made = Screen()
    yield made
    made.close()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("shape", "camera"),
    [
        ("grouped queries", "overview"),
        ("grouped queries", "head:1.2"),
        ("four experts", "layer:1"),
        ("parallel", "-25,8,2"),
    ],
)
def test_a_step_is_drawn_where_it_changes_something(screen, shape, camera, smooth):
    """Step after step, the parts that changed make up the very picture that drawing everything gives."""
    from refgguf.viz.render.renderer import Renderer

    scene = tiny_scene(shape)
    renderer = Renderer(look_at(with_arcs(scene, ArcChoice(0, 0)), SIZE, *parse_camera(camera)))
    steps, shares = steps_of(scene), []
    for step in steps[:: max(1, len(steps) // 7)]:
        styles = renderer.plain_styles()
        styles[list(step.inputs), 2], styles[list(step.boxes), 2] = 0.55, 1.0
        renderer.highlight(styles, step.routes, focus=True)
        shares.append(same_as_all_of_it(screen, renderer, smooth))
        renderer.point_at((min(step.boxes), 0, 1))
        shares.append(same_as_all_of_it(screen, renderer, smooth))
    renderer.point_at(None)
    same_as_all_of_it(screen, renderer, smooth)
    assert shares[0] == 1.0  # everything else has stepped back
    assert camera != "overview" or np.median(shares) < 0.2


def same_as_all_of_it(screen, renderer, smooth: bool) -> float:
    """Draw what has changed, compare with drawing everything; returns the share of the picture that has changed."""
    region = renderer.changed
    partly = screen.draw(renderer, region, smooth)
    assert (partly == screen.draw(renderer, None, smooth)).all()
    return 0.0 if region is None else area(region) / area(whole(SIZE))
