"""Work beside the window, in a thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QThread, Signal

from refgguf.errors import RefggufError
from refgguf.viz.session import CancelledError
from refgguf.viz.work import Eye, Result, Work, words_of


class Job(QThread):
    """Does one piece of work in a thread.

    Signals:
        told: what it does, how much is done, of how much (0 if that is not known), and of what.
        finished_result: what came of it.
        failed: one sentence.
    """

    told = Signal(str, int, int, str)
    finished_result = Signal(object)
    failed = Signal(str)

    def __init__(self, work: Callable[[Work], Result], sight: Eye | None = None):
        super().__init__()  # without a parent, which would keep it, and all that it knows, as long as itself
        self.function = work
        self.error: RefggufError | None = None
        self.work = Work(self.told.emit, sight)

    def run(self) -> None:
        """Work in the thread; Qt calls this."""
        try:
            result = self.function(self.work)
        except CancelledError:
            return
        except Exception as error:  # a defect of ours, perhaps: the window stays, and says so
            self.error = error if isinstance(error, RefggufError) else None
            self.failed.emit(words_of(error))
            return
        if not self.work.stop_asked.is_set():
            self.finished_result.emit(result)

    def ask_to_stop(self) -> None:
        """Ask the work to end at the next step."""
        self.work.stop_asked.set()
