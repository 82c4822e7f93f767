"""Open the window, or say in one sentence why it cannot be opened."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from refgguf.errors import NoDisplayError, ViewerError

if TYPE_CHECKING:
    from refgguf.viz.app.window import Opening, ViewerWindow
    from refgguf.viz.scene.camera import CameraWords
    from refgguf.viz.session import Session
    from refgguf.viz.state import Shown, ShownFile

PACKAGES = (
    "libegl1 libgl1 libfontconfig1 libglib2.0-0 libdbus-1-3 libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 "
    "libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xkb1 libxcb-shape0 libxcb-randr0 "
    "libx11-xcb1"
)
UNSEEN = ("offscreen", "minimal")  # Qt's platforms without a screen
INSTEAD = "draw a picture with --save picture.png"
MANY = 1 << 60  # references to an object: more than any session gives back
PATIENCE = 60  # seconds for a screen to answer: it may be far away, or its machine busy
SILENT = 3  # seconds of that after which the user is told what is waited for
# what Qt does without a platform's libraries or screen is to end the process, so it is tried in another one
PROBE = "from PySide6.QtWidgets import QApplication; QApplication([])"
_connected: list[Callable[[], None]] = []  # each leaves a screen that has been asked for an answer


def check_window() -> None:
    """Find out whether a window can be opened, before any time is spent on what it would show.

    Raises:
        ViewerError: PySide6 or a library that it needs is missing.
        NoDisplayError: there is no screen.
    """
    if importlib.util.find_spec("PySide6") is None:
        raise ViewerError(
            f'the window needs PySide6, which is not installed: pip install "refgguf[qt]", or {INSTEAD}'
        )
    _hold_constants()
    if not sys.platform.startswith("linux"):
        return
    screens = [os.environ.get(name) for name in ("WAYLAND_DISPLAY", "DISPLAY")]
    platform = os.environ.get("QT_QPA_PLATFORM")
    if not platform and not any(screens):
        raise NoDisplayError(f"there is no screen to open a window on (DISPLAY is not set); {INSTEAD}")
    if platform and platform.partition(":")[0] in UNSEEN:
        raise NoDisplayError(
            f"QT_QPA_PLATFORM={platform} lets Qt open windows that nobody sees; unset it, or {INSTEAD}"
        )
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ImportError as error:
        raise _lacking(str(error)) from error
    if (platform or "xcb") == "xcb" and not screens[0]:
        _check_x11()
    else:
        _check_by_trying()


def _hold_constants() -> None:
    """Keep Python 3.11 from running out of None, True and False under PySide6 6.12.0.

    That version gives back references that it never took: to None in each call that returns nothing, so that the
    interpreter aborts after some ten thousand of them (a minute of painting), and to True in each signal that is sent,
    after some hundred or thousand. From Python 3.12 on, these three are never freed.
    """
    if sys.version_info < (3, 12) and sys.implementation.name == "cpython":
        for constant in (None, True, False):
            held = ctypes.c_ssize_t.from_address(id(constant))  # CPython counts in an object's first word
            held.value = max(held.value, MANY)


def _lacking(said: str) -> ViewerError:
    """Return the error for a library of the system that is missing, from the words of the dynamic linker."""
    name = re.search(r"[\w.+-]+\.so[.\d]*", said)
    what = f"{name[0]} is missing" if name else " ".join(said.split())[:160]
    return ViewerError(
        f"the window cannot be opened, {what}; on Debian or Ubuntu: apt install {PACKAGES}; or {INSTEAD}"
    )


def _check_x11() -> None:
    """Load what Qt would load to reach an X11 screen, and ask that screen for an answer; takes milliseconds."""
    from PySide6.QtCore import QLibraryInfo

    plugins = QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)
    try:
        ctypes.CDLL(f"{plugins}/platforms/libqxcb.so")
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError as error:
        raise _lacking(str(error)) from error
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_answers(xcb)), daemon=True)
    thread.start()
    screen = os.environ.get("DISPLAY", "")
    thread.join(SILENT)
    if not found:
        _say_waiting(f"the screen {screen}")
    thread.join(PATIENCE - SILENT)
    if not found:
        raise NoDisplayError(f"the screen {screen} has not answered for {PATIENCE} seconds; {INSTEAD}")
    if not found[0]:
        raise NoDisplayError(f"the screen {screen} cannot be reached; {INSTEAD}")


def _say_waiting(screen: str) -> None:
    """Tell whoever started the window what keeps it."""
    print(
        f"waiting up to {PATIENCE} seconds for {screen} to answer; Ctrl-C ends this",
        file=sys.stderr,
        flush=True,
    )


def _answers(xcb: ctypes.CDLL) -> bool:
    """Connect to the screen that DISPLAY names, and stay connected until `_leave_screen` is called.

    A virtual screen starts anew when the last of those connected to it leaves, and refuses whoever comes meanwhile:
    Qt, which comes next.
    """
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(None, None)
    _connected.append(lambda: xcb.xcb_disconnect(connection))
    return xcb.xcb_connection_has_error(connection) == 0


def _leave_screen() -> None:
    """Leave the screens that have been asked for an answer."""
    while _connected:
        _connected.pop()()


def _check_by_trying() -> None:
    """Let another process open a Qt application, on Wayland or whatever the user has chosen."""
    talk = threading.Timer(SILENT, lambda: _say_waiting("the screen"))
    talk.daemon = True
    talk.start()
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoDisplayError(f"the screen has not answered for {PATIENCE} seconds; {INSTEAD}") from None
    finally:
        talk.cancel()
    if probe.returncode:
        if "could not connect" in probe.stderr:
            raise NoDisplayError(f"the screen cannot be reached; {INSTEAD}")
        raise _lacking(probe.stderr)


def open_window(
    shown: Shown | ShownFile | None = None,
    session: Session | None = None,
    remark: str = "",
    opening: Opening | None = None,
    theme: str = "light",
    size: tuple[int, int] | None = None,
    view: CameraWords | None = None,
) -> int:
    """Open the window and stay until it is closed; returns Qt's exit code.

    Args:
        shown: as of `ViewerWindow`, and so the next four.
        session: what can be run.
        remark: what to say first.
        opening: opens the model.
        theme: how the panels look until something is shown.
        size: width and height of the window in pixels; its own if None.
        view: from where everything is seen first; as the window would if None.

    Raises:
        RefggufError: what should be opened cannot be.
    """
    from PySide6.QtCore import QEvent
    from PySide6.QtWidgets import QApplication

    from refgguf.viz.app.window import ViewerWindow

    application = QApplication.instance() or QApplication([])
    _leave_screen()
    application.setStyle("Fusion")
    window = ViewerWindow(shown, session, remark, opening, theme)
    window.first_view = view
    if size is not None:
        window.resize(*size)
    window.show()
    with _closed_by_signals(window):
        code = application.exec()
    failure = window.failure
    # the window goes while Qt is there: what Python collects only at its end may meet a Qt that has ended
    window.deleteLater()
    application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    del window
    gc.collect()
    if failure is not None:
        raise failure
    return code


def _is_heard(name: str) -> bool:
    """Whether this signal exists and whoever started the process (nohup, say) did not have it ignored."""
    return hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN


@contextmanager
def _closed_by_signals(window: ViewerWindow) -> Iterator[None]:
    """Let Ctrl-C in the terminal, and whoever ends the process, close the window as its button does."""
    from PySide6.QtCore import QTimer

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if _is_heard(name)]
    asked: list[int] = []  # a signal may come in the middle of a picture: the window goes between two
    before = {
        name: signal.signal(getattr(signal, name), lambda number, _: asked.append(number)) for name in names
    }
    awake = QTimer(interval=250)  # Python sees a signal only when it has something to do
    awake.timeout.connect(lambda: window.close() if asked else None)
    awake.start()
    try:
        yield
    finally:
        awake.stop()
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
