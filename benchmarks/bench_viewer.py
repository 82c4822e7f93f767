"""The viewer: laying out, framing and picking; drawing a frame without and with what software OpenGL spends on it.

    python -m pytest benchmarks/bench_viewer.py --benchmark-enable

A 64-pixel target leaves what remains where there is a graphics card: Python and the driver's submission. Software
OpenGL still transforms every vertex there, so the last benchmark leaves the draw calls themselves out.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

import refgguf
from refgguf.errors import NoGLError
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene.build import build_scene, look_at
from refgguf.viz.scene.picking import Picker
from tests.support.scenes import tiny_scene
from tests.support.sparse_file import llama_7b

SIZE = (1920, 1080)


@pytest.fixture(scope="module")
def scene_7b(tmp_path_factory):
    """The structure of a 7B-shaped file, 1,731 boxes."""
    path = llama_7b(tmp_path_factory.mktemp("7b") / "7b.gguf")
    return build_scene(shown_of_file(refgguf.open(path), refgguf.load(path).taps, colour="bits"))


@pytest.fixture(scope="module")
def renderer(scene_7b):
    """A renderer of it, with a 64-pixel frame buffer current."""
    from refgguf.viz.render.offscreen import DEPTH_24, canvas

    try:
        canvas().set_current()
    except NoGLError as error:
        pytest.skip(str(error))
    from vispy import gloo

    from refgguf.viz.render.renderer import Renderer

    made = Renderer(look_at(scene_7b, SIZE))
    buffer = gloo.FrameBuffer(gloo.RenderBuffer((64, 64)), gloo.RenderBuffer((64, 64), format=DEPTH_24))
    with buffer:
        gloo.set_viewport(0, 0, 64, 64)
        yield made


def draw(renderer) -> None:
    """Draw one frame from a camera that has turned a little, and hand it to the driver."""
    from vispy import gloo

    camera = renderer.look.camera
    renderer.set_camera(replace(camera, azimuth=camera.azimuth + 0.1))
    renderer.draw()
    gloo.context.get_current_canvas().context.flush_commands()


def test_lay_out_a_7b_file(benchmark, tmp_path):
    """From an open file to everything in its place."""
    path = llama_7b(tmp_path / "7b.gguf")
    shown = shown_of_file(refgguf.open(path), refgguf.load(path).taps, colour="bits")
    assert len(benchmark(build_scene, shown).pieces.boxes) == 1731


def test_lay_out_many_heads(benchmark):
    """Frame a trace of 12 layers with 32 heads each."""
    look = benchmark(look_at, tiny_scene("many heads"), SIZE)
    assert look.camera.zoom > 0


def test_pick(benchmark, scene_7b):
    """Find what is under the cursor among 1,731 boxes."""
    box = scene_7b.pieces.boxes[900]
    look = look_at(scene_7b, SIZE)
    front = [(box.middle[0], box.middle[1], box.size[2])]
    x, y, _ = look.camera.project(front, SIZE)[0]
    hit = benchmark(Picker(scene_7b.pieces.boxes).pick, *look.camera.ray(x, y, SIZE))
    assert hit is not None


def test_draw_a_still_frame(benchmark, renderer):
    """A frame in which only the camera has moved, into 64 pixels."""
    benchmark(draw, renderer)


def test_draw_a_frame_with_all_values_new(benchmark, renderer):
    """A frame before which every value was uploaded anew."""

    def renewed() -> None:
        renderer.set_atlas(renderer.look.atlas)
        draw(renderer)

    benchmark(renewed)


def test_submit_a_frame(benchmark, renderer, monkeypatch):
    """What Python and vispy spend on a frame: the draw calls themselves are left out."""
    from vispy.gloo import gl

    draw(renderer)
    monkeypatch.setattr(gl, "glDrawElements", lambda *args: None)
    benchmark(draw, renderer)
