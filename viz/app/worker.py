"""Run a session beside the window, with progress and a way to stop."""

from __future__ import annotations

import threading

from PySide6.QtCore import QThread, Signal

from refgguf.errors import RefggufError
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.session import CancelledError, Session


class Runner(QThread):
    """Runs one session and builds its scene.

    Signals:
        progressed: layers done, of how many.
        finished_scene: the scene.
        failed: one sentence.
    """

    progressed = Signal(int, int)
    finished_scene = Signal(object)
    failed = Signal(str)

    def __init__(self, session: Session, parent=None):
        super().__init__(parent)
        self.session = session
        self.stop_asked = threading.Event()

    def run(self) -> None:
        """Run in the thread; Qt calls this."""
        try:
            scene: Scene = build_scene(self.session.run(self.progressed.emit, self.stop_asked))
        except CancelledError:
            return
        except RefggufError as error:
            self.failed.emit(str(error))
            return
        except MemoryError:
            self.failed.emit("there is not enough memory for all intermediate tensors; give a shorter prompt")
            return
        if not self.stop_asked.is_set():
            self.finished_scene.emit(scene)

    def stop(self) -> None:
        """End the run at the next layer, and wait for that."""
        self.stop_asked.set()
        self.wait()
