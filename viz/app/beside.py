"""Work in another thread of which only the newest counts: values for the picture, figures for the inspector."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from PySide6.QtCore import QObject, Signal

from refgguf.viz.session import CancelledError
from refgguf.viz.work import words_of

FIRST, EVERY = 0.3, 0.15  # seconds before the first figure of progress, and between two
Tell = Callable[[int, int], None]


class Beside(QObject):
    """Does one thing at a time in another thread; what is asked for anew takes the place of what was.

    Signals:
        told: how much is done, of how much, of what takes longer than a moment.
        ended: nothing is worked on any more, whatever has come of it.
        failed: why nothing came of it, in one sentence.
    """

    told = Signal(int, int)
    ended = Signal()
    failed = Signal(str)
    # from the other thread, each with the number of the work
    came, broke, went_on = Signal(int, object), Signal(int, str), Signal(int, int, int)

    def __init__(self):
        super().__init__()
        # one of Python's: Qt's pool never lets go of the Python objects that it has run, nor of what they hold
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._stop_asked = threading.Event()
        self._then: Callable[[object], None] | None = None
        self._number, self._ended = 0, False
        self.came.connect(self._came)
        self.broke.connect(self._broke)
        self.went_on.connect(self._went_on)

    @property
    def busy(self) -> bool:
        """Whether something is worked on that is still wanted."""
        return self._then is not None

    def do(self, work: Callable[[Tell], object], then: Callable[[object], None]) -> None:
        """Do work in the other thread, and call something with its result afterwards, in this one.

        Args:
            work: is given what hears how much is done, of how much, and ends the work if it is no longer wanted.
            then: is called with the result, unless something else was asked for meanwhile.
        """
        if self._ended:
            return
        self._forget()
        self._then, self._stop_asked = then, threading.Event()
        self._thread.submit(self._run, self._number, work, self._stop_asked)

    def stop(self) -> None:
        """Ask what is worked on to end; nothing is called with its result."""
        if self.busy:
            self._forget()
            self.ended.emit()

    def end(self) -> None:
        """Stop, and wait until the other thread rests; what is asked for afterwards is not done."""
        self._ended = True
        self._forget()
        self._thread.shutdown(cancel_futures=True)

    def _run(self, number: int, work: Callable[[Tell], object], stop_asked: threading.Event) -> None:
        """Work, in the other thread."""
        due = perf_counter() + FIRST

        def tell(done: int, total: int) -> None:
            nonlocal due
            if stop_asked.is_set():
                raise CancelledError
            if perf_counter() >= due:
                due = perf_counter() + EVERY
                self.went_on.emit(number, done, total)

        if stop_asked.is_set():  # before it began
            return
        try:
            result = work(tell)
        except CancelledError:
            return
        except Exception as error:  # a defect of ours, or no memory: the window stays, and says so
            self.broke.emit(number, words_of(error))
            return
        self.came.emit(number, result)

    def _forget(self) -> None:
        self._number += 1
        self._then = None
        self._stop_asked.set()

    def _came(self, number: int, result: object) -> None:
        if number == self._number and self._then is not None:
            then, self._then = self._then, None
            self.ended.emit()
            then(result)

    def _broke(self, number: int, words: str) -> None:
        if number == self._number and self.busy:
            self._then = None
            self.ended.emit()
            self.failed.emit(words)

    def _went_on(self, number: int, done: int, total: int) -> None:
        if number == self._number and self.busy:
            self.told.emit(done, total)
