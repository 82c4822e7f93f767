"""Tells whoever wants to know that kernels are being compiled, which takes seconds the first time.

It imports nothing that is slow, so that a program can ask before it knows whether it needs any kernel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watch:
    """Counts the seconds spent compiling, and says so once when they become noticeable.

    Example:
        watch.announce(lambda: print("compiling kernels …"))
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._say: Callable[[], None] | None = None
        self._after = 0.0
        self._depth = 0
        self._began = 0.0
        self._timer: threading.Timer | None = None

    def announce(self, say: Callable[[], None] | None, after: float = 1.0) -> None:
        """Ask to be told.

        Args:
            say: called once, from any thread, while kernels are being compiled; None asks no more.
            after: only once so many seconds have gone into it, so that a single small kernel is no news.
        """
        self._say, self._after = say, after

    def started(self) -> None:
        """Count from here; calls may be nested, since a kernel compiles the helpers it calls."""
        self._depth += 1
        if self._depth > 1:
            return
        self._began = time.monotonic()
        if self._say is not None:
            self._timer = threading.Timer(max(0.0, self._after - self.seconds), self._tell)
            self._timer.daemon = True
            self._timer.start()

    def ended(self) -> None:
        """Count to here."""
        self._depth -= 1
        if self._depth > 0:
            return
        self.seconds += time.monotonic() - self._began
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        say, self._say = self._say, None
        if say is not None:
            say()


watch = Watch()
