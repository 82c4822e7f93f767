"""Work in another thread of which only the newest counts: values for the picture, figures for the inspector."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter

from PySide6.QtCore import QObject, QRunnable, QThreadPool, Signal

from refgguf.viz.session import CancelledError
from refgguf.viz.work import words_of

FIRST, EVERY = 0.3, 0.15  # seconds before the first figure of progress, and between two
Tell = Callable[[int, int], None]


class _Work(QRunnable):
    def __init__(self, of: Beside, number: int, work: Callable[[Tell], object]):
        super().__init__()
        self.setAutoDelete(False)
        self.of, self.number, self.work = of, number, work
        self.stop_asked = threading.Event()
        self._due = 0.0

    def run(self) -> None:
        """Work in the thread; Qt calls this."""
        self._due = perf_counter() + FIRST
        try:
            result = self.work(self.tell)
        except CancelledError:
            return
        except Exception as error:  # a defect of ours, or no memory: the window stays, and says so
            self.of.broke.emit(self.number, words_of(error))
            return
        self.of.came.emit(self.number, result)

    def tell(self, done: int, total: int) -> None:
        """Tell how far the work is, and end it if it is no longer wanted."""
        if self.stop_asked.is_set():
            raise CancelledError
        if perf_counter() >= self._due:
            self._due = perf_counter() + EVERY
            self.of.went_on.emit(self.number, done, total)


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
        self._threads = QThreadPool()
        self._threads.setMaxThreadCount(1)
        self._work: _Work | None = None
        self._then: Callable[[object], None] | None = None
        self._number = 0
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
        self._forget()
        self._then, self._work = then, _Work(self, self._number, work)
        self._threads.start(self._work)

    def stop(self) -> None:
        """Ask what is worked on to end; nothing is called with its result."""
        if self.busy:
            self._forget()
            self.ended.emit()

    def end(self) -> None:
        """Stop, and wait until the other thread rests."""
        self._forget()
        self._threads.waitForDone()

    def _forget(self) -> None:
        self._number += 1
        self._then = None
        self._threads.clear()  # what has not begun
        if self._work is not None:
            self._work.stop_asked.set()

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
