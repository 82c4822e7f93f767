"""What the inspector does while one waits for it."""

from __future__ import annotations

import threading

import pytest

from tests.window.hand import mouse, place_of

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


def test_figures_of_a_large_tensor(window, spin, monkeypatch):
    """They are taken beside the window, once for a tensor; everything else is told at once."""
    from refgguf.viz.app import inspector

    threads, may, measure = [], threading.Event(), inspector.figures_of

    def slow(scene, hit):
        threads.append(threading.current_thread())
        assert may.wait(240)
        return measure(scene, hit)

    monkeypatch.setattr(inspector, "AT_ONCE", 0)
    monkeypatch.setattr(inspector, "figures_of", slow)
    for role in ("spine", "pattern"):
        _, x, y = place_of(window, role)
        mouse(window, "Click", x, y)
        assert window.inspector.box == window.selected.box
    said = window.inspector
    assert f"{window.selected.value:.6g}" in said.value.text()
    assert "measuring" in said.figures.text()
    assert not said.histogram.isVisible()
    may.set()
    assert spin(lambda: "measuring" not in said.figures.text())
    found, words = measure(window.scene, window.selected)
    assert words in said.figures.text()
    assert (said.histogram.heights == found.heights).all()
    assert said.histogram.isVisible()
    count = len(threads)
    mouse(window, "Click", x, y)
    spin(seconds=0.3)
    assert len(threads) == count
    assert threading.main_thread() not in threads
