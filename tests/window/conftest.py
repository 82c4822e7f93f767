"""Tests of the window: skipped, with the reason, where there is no Qt, no screen or no OpenGL for windows.

They need a process of their own (`xvfb-run -a python -m pytest tests/window`): a process that has drawn without a
screen has chosen another way to OpenGL.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time

import pytest

import refgguf
from tests.support.models import FAMILIES

ROUNDS = 10  # of events in which nothing may move


@pytest.fixture(scope="session")
def application(request):
    """Qt, on a real or virtual screen."""
    for module, package in (("PySide6", "qt"), ("pytestqt", "test-window")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[{package}]'")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("there is no screen; run: xvfb-run -a python -m pytest tests/window")
    if os.environ.get("EGL_PLATFORM") == "surfaceless":
        pytest.skip("this process draws without a screen; run tests/window in one of its own")
    from refgguf.errors import ViewerError
    from refgguf.viz.app.launch import check_window

    try:
        check_window()
    except ViewerError as error:
        pytest.skip(str(error))
    qt = request.getfixturevalue("qapp")  # of pytest-qt
    qt.setStyle("Fusion")
    return qt


@pytest.fixture
def errors(application):
    """Errors in Qt's callbacks, which would otherwise only be printed."""
    from pytestqt.exceptions import capture_exceptions

    with capture_exceptions() as found:
        yield found
    assert not found


@pytest.fixture
def spin(application):
    """Let Qt work until something is so."""

    def until(condition=lambda: False, seconds: float = 120.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            application.processEvents()
            if condition():
                return True
            time.sleep(0.005)
        return condition()

    return until


@pytest.fixture
def settled(spin):
    """Wait until a window shows something and Qt has laid it out: its canvas and camera stay as they are."""

    def wait(window) -> None:
        assert spin(lambda: window.scene is not None and window.view.renderer is not None)
        assert spin(lambda: not window.running_now)
        seen: list = []

        def still() -> bool:
            seen.append((window.canvas.pixels(), window.view.camera))
            return len(seen) > ROUNDS and all(one == seen[-1] for one in seen[-ROUNDS:])

        assert spin(still)

    return wait


@pytest.fixture
def window_on(application, spin, settled, errors, tmp_path, monkeypatch):
    """Open windows on a tiny Llama that has run three tokens, and close them in the end."""
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.session import Session

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    opened = []

    def on(**sizes) -> ViewerWindow:
        model = refgguf.load(FAMILIES["llama"](**sizes).write(tmp_path / "llama.gguf"))
        window = ViewerWindow(session=Session(model, [1, 2, 3]))
        opened.append(window)
        window.resize(900, 640)
        window.show()
        settled(window)
        return window

    yield on
    for window in opened:
        window.close()
    spin(seconds=0.1)


@pytest.fixture
def window(window_on):
    """A window on a tiny Llama that has run three tokens."""
    return window_on()
