"""How the window draws: where a processor draws, only what has changed, and all of the screen is right all the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest

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
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None, 20)
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
        assert spin(lambda n=count: len(regions) > n, 10)
        spin(seconds=0.02)
    width, height = window.canvas.pixels()
    assert regions[0] is None
    parts = [region for region in regions[1:] if region is not None]
    assert len(parts) >= 3
    assert min((r - left) * (b - t) for left, t, r, b in parts) < width * height / 4
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None, 20)
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
    assert spin(lambda: window.canvas.smooth, 20)
    assert regions
    assert None not in regions
    partly = on_screen(window)
    assert (seen(window) == partly).all()


def test_a_new_size_draws_everything(window, spin, regions):
    """A picture of another size has nothing of the last one in it."""
    window.timeline.step(1)
    spin(lambda: len(regions) > 0, 10)
    regions.clear()
    window.resize(760, 560)
    assert spin(lambda: None in regions, 10)
    assert spin(lambda: window.canvas.smooth and window.canvas.rough is None, 20)
    spin(seconds=0.1)
    partly = on_screen(window)
    assert (seen(window) == partly).all()


def test_nothing_is_not_used_up(application):
    """Python 3.11 does not run out of references to None, of which a version of PySide6 gives back too many."""
    before = sys.getrefcount(None)
    for _ in range(3000):
        application.processEvents()
    assert sys.version_info >= (3, 12) or min(before, sys.getrefcount(None)) > 1 << 50
