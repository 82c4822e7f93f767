"""Running a model beside the window: jobs, the next token, what is switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np

from refgguf.errors import RefggufError
from refgguf.viz.ablation import NOTHING_TO_SWITCH, Ablation, ablation_of, ablations_for
from refgguf.viz.app.jobs import Job
from refgguf.viz.app.legible import legible
from refgguf.viz.app.panels import Panels
from refgguf.viz.places import NO_ARCS_IN_GRID, arcs_at
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.predictions import scores_of
from refgguf.viz.session import NO_NEXT, Session
from refgguf.viz.state import Shown
from refgguf.viz.work import STOPPED, Begin, Result, Work, begin_session, run_session

EVERY = 0.15  # seconds between two figures of progress
SHARPENING = "reading values for the picture"
FIRST = 60  # milliseconds that the first picture has before more is made


class Running(Panels):
    """A window that runs things beside itself; what it shows of them is said by the class that inherits it.

    Attributes:
        session: the model and its tokens; None for what cannot be run, or has not been.
        begin: makes a session of a text, where only the file is shown so far; None otherwise.
        scene: what is shown.
        selected: what was clicked last.
        job: what is being worked on, or None.
        generating: whether token after token is drawn.
        opening: whether the window opens its model itself.
        failure: why that could not be opened at all.
    """

    def __init__(self):
        super().__init__()
        self.session: Session | None = None
        self.begin: Begin | None = None
        self.scene: Scene | None = None
        self.selected: Hit | None = None
        self.job: Job | None = None
        self._ending: list[Job] = []
        self._told_at = 0.0
        self.generating = False
        self.opening = False
        self.failure: RefggufError | None = None
        self.canvas.reading.told.connect(self._reading)
        self.canvas.reading.ended.connect(self._read)
        self.canvas.reading.failed.connect(self.statusBar().showMessage)

    def _show_result(self, result: Result) -> str:
        raise NotImplementedError

    def _show_distribution(self) -> None:
        raise NotImplementedError

    def show_again(self, **changes) -> None:
        """Show the same run with something changed about how it is shown."""
        raise NotImplementedError

    @property
    def running_now(self) -> bool:
        """Whether something is worked on."""
        return self.job is not None

    def run(self, session: Session) -> None:
        """Run a session beside the window, and show what comes of it."""
        like = self.scene.lasting if self.scene is not None and self.session is not None else None
        self._start(run_session(session, like))

    def _start(self, work: Callable[[Work], Result]) -> None:
        self.stop()
        self.job = Job(work, self.view.sight_of)
        self.job.told.connect(self._told)
        self.job.finished_result.connect(self._finished)
        self.job.failed.connect(self._failed)
        self._told_at = 0.0
        self.stop_button.show()
        self.job.start()

    def stop(self) -> None:
        """Ask what is being worked on to end, and forget it."""
        if self.job is not None:
            self.job.ask_to_stop()
            self._ending = [job for job in self._ending if job.isRunning()] + [self.job]
            self.job = None
        self.busy.hide()
        self.stop_button.hide()

    def cancel(self) -> None:
        """Stop what runs, as the user wants it, and give the keys back to the picture."""
        self.canvas.native.setFocus()
        self._generate(False)
        if self.job is not None:
            self.stop()
            self.statusBar().showMessage(STOPPED)
        elif not self.stop_button.isHidden():
            self.canvas.reading.stop()
            self.statusBar().showMessage(STOPPED)

    def _is_told_by_job(self) -> bool:
        """Tell whether the signal that is heard comes from what is worked on now; one that is gone sends as None."""
        return self.job is not None and self.sender() is self.job

    def _told(self, words: str, done: int, total: int, of: str) -> None:
        # each change of the panels has the whole window drawn anew, which software OpenGL takes its time for
        if self._is_told_by_job() and (not total or perf_counter() - self._told_at > EVERY):
            self._told_at = perf_counter()
            self._show_progress(words, done, total, of)

    def _show_progress(self, words: str, done: int, total: int, of: str) -> None:
        # nothing is said of how far it is where that is not known: a bar that moves all the time costs more
        # than the work that it tells of
        self.busy.setVisible(total > 0)
        self.busy.setRange(0, max(total, 1))
        self.busy.setValue(done)
        self.statusBar().showMessage(f"{words} …" + (f" {done:,} of {total:,} {of}" if total else ""))

    def _reading(self, done: int, total: int) -> None:
        if self.job is None:  # of which is told otherwise
            self.stop_button.show()
            self._show_progress(SHARPENING, done, total, "boxes")

    def _read(self) -> None:
        if self.job is None and not self.stop_button.isHidden():
            self.busy.hide()
            self.stop_button.hide()
            if self.statusBar().currentMessage().startswith(SHARPENING):
                self.statusBar().clearMessage()

    def _finished(self, result: Result) -> None:
        if not self._is_told_by_job():  # but by one that was stopped meanwhile
            return
        self.stop()
        said = self._show_result(result)
        self.statusBar().showMessage(legible(result.remark or said))
        if result.then is not None:
            # the picture comes first: the canvas draws before this begins
            self.canvas.wait("then", FIRST, lambda: self.job is None and self._start(result.then))
        if self.generating:
            self.next_token()

    def _failed(self, message: str) -> None:
        if not self._is_told_by_job():
            return
        error = self.job.error
        self.stop()
        self._generate(False)
        self.statusBar().showMessage(message)
        if self.opening and self.scene is None and error is not None:
            self.failure = error  # there is nothing to show, and the caller says why
            self.close()

    # ---- the model

    def _prompt_entered(self, written: bool = False) -> None:
        """Run what was typed; a decoder goes on from its own text if that was typed too, else it writes anew."""
        text = self.prompt.text()
        try:
            if self.session is not None:
                same = text == self.session.prompt  # which may be none, where token ids were given
                session = replace(self.session, target=None) if same else self.session.with_text(text)
                if self.session.target is not None and (written or self.target.isModified()):
                    session = session.with_target(self.target.text())
                self.run(session)
            elif self.begin is not None:
                self._start(begin_session(self.begin, text, theme=self.scene.shown.theme))
        except RefggufError as error:
            self.statusBar().showMessage(str(error))
        self.canvas.native.setFocus()

    def type_prompt(self) -> None:
        """Let the keys write into the prompt."""
        if self.asking[-1].isVisible():  # there is something to run
            self.write_into(self.prompt)

    def _logits(self) -> np.ndarray | None:
        return None if self.scene is None else scores_of(self.scene.shown)

    def next_token(self) -> None:
        """Draw the token after the one whose predictions are shown, and run on with it."""
        logits = self._logits()
        if self.session is None or self.running_now:
            return
        if logits is None or not self.session.scores_vocabulary:
            self._generate(False)
            self.statusBar().showMessage(f"{self.session.model.name} {NO_NEXT}")
            return
        try:
            self.append(self.session.next_token(logits[self.scene.shown.token_index]))
        except RefggufError as error:
            self._generate(False)
            self.statusBar().showMessage(str(error))

    def append(self, token: int) -> None:
        """Append a token after the one whose predictions are shown, and run anew."""
        if self.session is not None and self.scene is not None:
            shown = self.scene.shown
            self.run(self.session.extended(token, shown.token_index if shown.marked else None))

    def toggle_generation(self) -> None:
        """Generate token after token, or stop."""
        self._generate(not self.generating)
        if self.generating:
            self.next_token()

    def _generate(self, on: bool) -> None:
        self.generating = on and self.session is not None
        self.go_button.setChecked(self.generating)

    def _temperature_changed(self, value: float) -> None:
        if self.session is not None:
            self.session.temperature = value
            self._show_distribution()

    def _ablations(self) -> list[tuple[str, Ablation]]:
        if self.selected is None or self.session is None or self.scene is None:
            return []
        return ablations_for(self.scene, self.selected)

    def toggle_selected(self) -> None:
        """Switch the selected head, expert or network off, or on again, and run anew."""
        chosen = ablation_of(self._ablations())
        if chosen is None:
            self.statusBar().showMessage(NOTHING_TO_SWITCH)
        else:
            self.run(self.session.toggled(chosen))

    def restore(self) -> None:
        """Switch everything on again."""
        if self.session is not None and self.session.ablations:
            self.run(replace(self.session, ablations=frozenset()))

    def toggle_arcs(self) -> None:
        """Draw attention as arcs: of the selected head or layer, or of every layer; or no longer."""
        if self.scene is None or not isinstance(self.scene.shown, Shown):
            return
        if self.scene.shown.grid:
            self.statusBar().showMessage(NO_ARCS_IN_GRID)
            return
        choice = arcs_at(self.scene, None if self.selected is None else self.selected.box)
        self.show_again(arcs=None if self.scene.shown.arcs is not None else choice)
