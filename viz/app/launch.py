"""Open the window, or say in one sentence why it cannot be opened."""

from __future__ import annotations

import os
import subprocess
import sys

from refgguf.errors import NoDisplayError, ViewerError

PACKAGES = (
    "libegl1 libgl1 libfontconfig1 libglib2.0-0 libdbus-1-3 libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 "
    "libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xkb1 libxcb-shape0 libxcb-randr0 "
    "libx11-xcb1"
)
INSTEAD = "draw a picture with --save picture.png"
# Qt ends the process when a library of its platform is missing, so that is tried in another one first
PROBE = "from PySide6.QtWidgets import QApplication; QApplication([])"


def check_window() -> None:
    """Find out whether a window can be opened, before any time is spent on what it would show.

    Raises:
        ViewerError: PySide6 or a library that it needs is missing.
        NoDisplayError: there is no screen.
    """
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ImportError as error:
        raise ViewerError(
            f'the window needs PySide6 ({error}); install it with: pip install "refgguf[qt]", or {INSTEAD}'
        ) from error
    if not sys.platform.startswith("linux"):
        return
    wanted = ("DISPLAY", "WAYLAND_DISPLAY")
    if os.environ.get("QT_QPA_PLATFORM") is None and not any(os.environ.get(name) for name in wanted):
        raise NoDisplayError(f"there is no screen to open a window on (DISPLAY is not set); {INSTEAD}")
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoDisplayError(f"the screen does not answer; {INSTEAD}") from None
    if probe.returncode:
        said = " ".join(probe.stderr.split())
        if "could not connect" in said:
            raise NoDisplayError(f"the screen {os.environ.get('DISPLAY', '')} cannot be reached; {INSTEAD}")
        raise ViewerError(
            f"Qt cannot open a window; on Debian or Ubuntu: apt install {PACKAGES}; or {INSTEAD}"
        )
