"""How the window draws: where a processor draws, only what has changed, and all of the screen is right all the same."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

from tests.support.models import FAMILIES
from tests.window.hand import mouse, place_of, seen

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


@pytest.fixture
def regions(window, spin, monkeypatch) -> list:
    """What of the picture is drawn from now on: None for everything."""
    if not window.canvas.software:
        pytest.skip("a graphics card draws everything")
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None)
    drawn, draw = [], window.view.draw
    monkeypatch.setattr(
        window.view, "draw", lambda scale, region=None: (drawn.append(region), draw(scale, region))
    )
    return drawn


def on_screen(window) -> np.ndarray:
    """Return the pixels that were drawn, as they are."""
    from vispy import gloo

    window.canvas.make_current()
    return gloo.read_pixels((0, 0, *window.canvas.pixels()), alpha=False).copy()


def test_a_step_draws_what_it_changes(window, spin, regions):
    """After the first step, which changes everything, parts are drawn; at rest the picture is as if drawn at once."""
    for _ in range(5):
        count = len(regions)
        window.timeline.step(1)
        assert spin(lambda n=count: len(regions) > n)
        spin(seconds=0.02)
    width, height = window.canvas.pixels()
    assert regions[0] is None
    parts = [region for region in regions[1:] if region is not None]
    assert len(parts) >= 3
    assert min((r - left) * (b - t) for left, t, r, b in parts) < width * height / 4
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None)
    spin(seconds=0.1)
    partly = on_screen(window)
    assert (seen(window) == partly).all()
    assert regions[-1] is None  # which was drawn to be seen
    window.timeline.step(1)
    spin(seconds=0.3)
    saved = window.view.picture()  # which is whole, although what was drawn last was a part
    assert np.abs(saved.astype(int) - seen(window)).max(axis=2).mean() < 8  # of 255: only edges differ


def test_pointing_draws_the_box_alone(window, spin, regions):
    """Where only the cell under the cursor changes, only its box is drawn; so is what is under the cursor next."""
    for share in ((0.5, 0.5), (0.9, 0.9)):
        _, x, y = place_of(window, "pattern", share)
        mouse(window, "move", x, y)
        spin(seconds=0.1)
    assert window.view.hit is not None
    assert spin(lambda: window.canvas.smooth)
    assert regions
    assert None not in regions
    partly = on_screen(window)
    assert (seen(window) == partly).all()


def test_a_new_size_draws_everything(window, spin, regions):
    """A picture of another size has nothing of the last one in it."""
    window.timeline.step(1)
    spin(lambda: len(regions) > 0)
    regions.clear()
    window.resize(760, 560)
    assert spin(lambda: None in regions)
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None)
    spin(seconds=0.1)
    partly = on_screen(window)
    assert (seen(window) == partly).all()


@pytest.mark.parametrize("constant", [None, True, False])
def test_constants_are_not_used_up(application, window, constant):
    """Python 3.11 does not run out of references to constants, of which a version of PySide6 gives back too many."""
    before = sys.getrefcount(constant)
    for _ in range(3000):
        window.canvas.reading.told.emit(1, 1)
        application.processEvents()
    assert sys.version_info >= (3, 12) or min(before, sys.getrefcount(constant)) > 1 << 50


def test_what_was_worked_on_is_let_go(window, spin):
    """Of the values that were read beside the window for a picture, the newest alone are kept."""
    from refgguf.viz.app.beside import Beside

    class Values:
        """Stands for what takes much memory."""

    beside, made, came = Beside(), [], []

    def work(tell) -> Values:
        values = Values()
        made.append(weakref.ref(values))
        return values

    for number in range(5):
        beside.do(work, lambda values: came.append(type(values)))
        assert spin(lambda n=number: len(came) == n + 1)
    beside.end()
    beside.do(work, lambda values: came.append("after the end"))
    spin(seconds=0.05)
    gc.collect()
    assert came == [Values] * 5
    assert [values() for values in made] == [None] * 5


def test_a_scene_is_prepared_beside_the_window(window, spin, monkeypatch):
    """Values are pooled, and the camera that sees everything is found, by the job: the window only draws."""
    from refgguf.viz import work
    from refgguf.viz.app import view
    from refgguf.viz.scene import build

    threads = []

    def heard(module, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, **k: (threads.append(threading.current_thread()), real(*a, **k))[1]
        )

    for module, name in ((work, "build_atlas"), (build, "build_atlas"), (view, "camera_of")):
        heard(module, name)
    for change in (window.other_theme, lambda: window.step_token(-1), window.toggle_arcs, window.toggle_grid):
        before, count = window.scene, len(threads)
        change()
        assert spin(lambda b=before: window.scene is not b and not window.running_now)
        assert spin(lambda: window.view.renderer.look.scene is window.scene)
        assert len(threads) >= count + 2
    assert threading.main_thread() not in threads


@pytest.fixture
def large(application, errors, tmp_path, monkeypatch):
    """Return what opens a window on a file's values that counts as large, and who decodes them."""
    from refgguf.cli.options import Prompt
    from refgguf.cli.view import opening_of
    from refgguf.cli.view_request import Request
    from refgguf.tensor import Tensor
    from refgguf.viz import state, work
    from refgguf.viz.app import running
    from refgguf.viz.app.window import ViewerWindow

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(state, "MOST_DECODED", 0)
    monkeypatch.setattr(work, "BOXES", 1)  # every figure of progress is told, however quickly it is over
    monkeypatch.setattr(running, "EVERY", 0.0)
    path = FAMILIES["llama"]().write(tmp_path / "llama.gguf")
    threads, may, real = [], threading.Event(), Tensor.dequantize

    def decode(*arguments, **options):
        threads.append(threading.current_thread())
        may.wait(240)
        return real(*arguments, **options)

    monkeypatch.setattr(Tensor, "dequantize", decode)
    window = ViewerWindow(opening=opening_of(Request(str(path), Prompt(), colour="values")))
    said = []
    window.statusBar().messageChanged.connect(said.append)
    window.show()
    yield window, threads, may, said
    may.set()
    window.close()


def test_weights_are_read_beside_the_window(large, spin):
    """The structure of a large file is there before any weight is read, and no weight is read by the window itself."""
    window, threads, may, said = large
    assert spin(lambda: bool(threads))
    assert window.scene.shown.colour == "bits"
    assert window.view.renderer is not None
    may.set()
    assert spin(lambda: window.scene.shown.colour == "values" and not window.running_now)
    assert spin(lambda: window.view.renderer.look.scene is window.scene)
    assert threading.main_thread() not in threads
    assert any(words.startswith("reading weights for the ") and words.endswith(" boxes") for words in said)


def test_reading_weights_can_be_stopped(large, spin):
    """Stopped in the middle, the window keeps the structure that it shows, and says so."""
    window, threads, may, _ = large
    assert spin(lambda: bool(threads))
    window.cancel()
    may.set()
    assert spin(lambda: all(job.isFinished() for job in window._ending))
    spin(seconds=0.2)
    assert window.scene.shown.colour == "bits"
    assert not window.running_now
    assert "what is shown is what was shown before" in window.statusBar().currentMessage()


def test_coming_closer_reads_beside_the_window(large, spin, monkeypatch):
    """What is decoded for a closer look tells how far it is; stopped, the picture stays as it was."""
    from refgguf.viz.app import beside
    from refgguf.viz.app.running import SHARPENING
    from refgguf.viz.places import Place, camera_of
    from refgguf.viz.work import STOPPED

    monkeypatch.setattr(beside, "FIRST", 0.0)
    window, threads, may, _ = large
    may.set()
    assert spin(lambda: window.scene is not None and window.scene.shown.colour == "values")
    assert spin(lambda: not window.running_now and not window.canvas.reading.busy)
    assert spin(lambda: window.view.renderer.look.scene is window.scene)
    spin(seconds=0.5)
    boxes = window.scene.pieces.boxes
    number = next(i for i, box in enumerate(boxes) if box.role == "weight ffn")
    threads.clear()
    may.clear()
    before = window.view.renderer.look.atlas
    closest = Place("cell", boxes[number].layer, None, number, (1, 1))
    window.view.look(camera_of(window.scene, closest, window.canvas.pixels()), fly=False)
    assert spin(lambda: bool(threads))
    assert spin(lambda: window.statusBar().currentMessage().startswith(SHARPENING))
    assert window.statusBar().currentMessage().endswith(f"of {len(boxes)} boxes")
    assert not window.stop_button.isHidden()
    assert not window.busy.isHidden()
    window.stop_button.click()
    assert window.statusBar().currentMessage() == STOPPED
    assert window.stop_button.isHidden()
    assert window.busy.isHidden()
    may.set()
    spin(seconds=0.3)
    assert window.view.renderer.look.atlas is before
    window.view.look(window.view.camera, fly=False)  # the next look reads it
    assert spin(lambda: window.view.renderer.look.atlas is not before)
    assert threading.main_thread() not in threads
