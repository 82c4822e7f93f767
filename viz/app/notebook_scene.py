"""The widget shows a run, a trace or a file: the scene, the controls that belong to it, a step, what is selected."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

from refgguf.errors import InputError, RefggufError
from refgguf.viz.ablation import Ablation, ablations_for
from refgguf.viz.app.frame import running_loop
from refgguf.viz.app.keys import WELCOME
from refgguf.viz.app.notebook_panels import NotebookPanels, bars, heat_picture, histogram, page
from refgguf.viz.distribution import distribution_of
from refgguf.viz.finding import names_in
from refgguf.viz.heat_map import heat_map
from refgguf.viz.pages import BEGIN, figures_of, head_page, scene_page, value_page
from refgguf.viz.places import Place, alike, box_of_head, camera_of, deeper, place_to_watch, place_words
from refgguf.viz.render.offscreen import HOLDING
from refgguf.viz.scene.camera import Camera
from refgguf.viz.scene.colours import hue_kind
from refgguf.viz.scene.head_grid import has_heads
from refgguf.viz.scene.layout import readable
from refgguf.viz.scene.picking import Hit, cell_hit, hit_at
from refgguf.viz.scene.predictions import scores_of
from refgguf.viz.session import CancelledError, Session
from refgguf.viz.state import USUAL_ASPECT, Shown, ShownFile
from refgguf.viz.steps import around, example_of, steps_of
from refgguf.viz.work import STOPPED, Result, Work, changed, run_session, words_of

PAGE = 80  # milliseconds after which the page tells of the operation that is shown
EVERY = 0.15  # seconds between two figures of progress


class NotebookScene(NotebookPanels):
    """A scene in a notebook.

    Attributes:
        session: the model and its tokens; None for a trace or a file.
        scene: what is shown.
        view: camera and focus.
        selected: what was clicked last, as a Hit; None at first.
        frame: the picture.
        number: of the operation that is shown, -1 for none.
        following: whether the camera goes along with what is played where that is too small to be watched.
    """

    def __init__(self, work: Callable[[Work], Result], width: int, height: int, *, runs: bool = False):
        super().__init__(width, height, runs=runs)
        self.session: Session | None = None
        self.scene = self.selected = self.result = None
        self.place, self.steps, self.number = Place(), [], -1
        self.following = True
        self._said, self._told_at, self._setting = WELCOME, 0.0, False
        self._at: Work | None = None
        self._by_hand = False
        self._do(work)

    def _guarded(self, action: Callable[[], object]) -> Callable[[], object]:
        """Return an action for what the browser asks for: work is done beside it, and what is wrong is said below."""

        def guarded() -> object:
            self._by_hand, before = True, self._by_hand
            try:
                return action()
            except RefggufError as error:
                self.say(str(error))
            finally:
                self._by_hand = before

        return guarded

    @contextmanager
    def _set(self):
        before, self._setting = self._setting, True
        try:
            yield
        finally:
            self._setting = before

    def say(self, words: str) -> None:
        """Write below the picture; it stays until something else is said."""
        self._said = words
        self.words.value = html.escape(words)

    def _do(self, work: Callable[[Work], Result], then: Callable[[], None] = lambda: None) -> None:
        """Do work, telling how far it is, show what comes of it, and do what is to be done then.

        What Python asks for is there when its call returns. What the browser asks for is worked on in a thread of its
        own: meanwhile the picture can be turned, and the work be stopped.
        """
        self.stop()
        at = Work(self._tell_progress, self.view.sight_of)
        loop = running_loop() if self._by_hand else None
        if loop is not None:
            self._at = at
            self.stop_button.layout.display = None
            threading.Thread(target=self._beside, args=(loop, at, work, then), daemon=True).start()
            return
        try:
            result = work(at)
        except KeyboardInterrupt:
            self.say(STOPPED)
            raise
        except RefggufError:
            self.say(self._said)  # how far it was is of no interest any more
            raise
        self._finish(result, then)

    def _beside(self, loop, at: Work, work: Callable[[Work], Result], then: Callable[[], None]) -> None:
        """Work, and hand what comes of it to the thread of a loop, unless it is no longer wanted."""
        try:
            result = work(at)
        except CancelledError:
            return
        except Exception as error:
            words = words_of(error)
            loop.call_soon_threadsafe(lambda: self._at is at and self._fail(words))
        else:
            loop.call_soon_threadsafe(lambda: self._at is at and self._finish(result, then))

    def _finish(self, result: Result, then: Callable[[], None]) -> None:
        self.stop()
        if not self.frame.closed:
            with HOLDING:
                self._show(result)
            then()

    def _fail(self, words: str) -> None:
        self.stop()
        self.say(words)

    def stop(self) -> None:
        """Ask what is being worked on to end, and forget it."""
        if self._at is not None:
            self._at.stop_asked.set()
            self._at = None
        self.stop_button.layout.display = "none"

    def _tell_progress(self, words: str, done: int, total: int, of: str) -> None:
        if perf_counter() - self._told_at > EVERY:
            self._told_at = perf_counter()
            self.words.value = html.escape(f"{words} …" + (f" {done:,} of {total:,} {of}" if total else ""))

    def _show(self, result: Result) -> None:
        """Show what work has made."""
        before, shown = self.scene, result.scene.shown
        like = before is not None and alike(before, result.scene)
        kept, step = (self.selected, self.number) if like else (None, -1)
        self.result, self.scene, self.session = replace(result, atlas=None), result.scene, result.session
        self.selected, self.place = None, self.place if like else Place()
        self.view.show_scene(self.scene, result.atlas)
        run = isinstance(shown, Shown)
        self.steps = steps_of(self.scene) if run else []
        self._fill(shown, min(step, len(self.steps) - 1))
        self._select(None if kept is None else hit_at(self.scene.pieces.boxes, kept))
        if step >= 0:
            self.step_to(step)
        off = (
            f", {len(self.session.ablations)} switched off" if self.session and self.session.ablations else ""
        )
        outcome = shown.facts.outcome
        self.say(
            f"next token: {outcome}{off}" if outcome and before is not None else result.remark or WELCOME
        )

    def _fill(self, shown: Shown | ShownFile, step: int) -> None:
        """Bring the controls to what is shown."""
        with self._set():
            for control in (self.slider, self.player):
                control.max = max(len(self.steps) - 1, 0)
            self.step_row.layout.display = None if self.steps else "none"
            texts = shown.trace.token_texts if self.steps else []
            self.token_choice.options = [(f"{i}  {readable(text)}", i) for i, text in enumerate(texts)]
            self.token_choice.value = shown.token_index if texts else None
            self.search.options = sorted(names_in(self.scene))
            self.heads_button.layout.display = None if has_heads(shown) else "none"
            self.heads_button.value = self.in_grid
            if self.session is not None:
                self.prompt.value = self.session.prompt
                self.temperature.value = self.session.temperature
                self.target.value = self.session.target_text
                writes, speaks = self.session.target is not None, self.session.scores_vocabulary
                for control, there in (
                    (self.target, writes),
                    (self.off_button, bool(self.session.ablations)),
                    *((c, speaks) for c in (self.next_button, self.go_button, self.temperature)),
                ):
                    control.layout.display = None if there else "none"
        self._set_number(step)
        self._show_distribution()

    def _set_number(self, number: int) -> None:
        self.number = number
        with self._set():
            self.slider.value = self.player.value = number

    def _show_distribution(self) -> None:
        shown = self.scene.shown
        there = scores_of(shown) is not None and (self.session is None or self.session.scores_vocabulary)
        self.live.layout.display = None if there else "none"
        if there:
            found = distribution_of(shown, self.session, self.result.whole)
            self.live.value = bars(found, self.scene.theme.hues["logits"])

    @property
    def in_grid(self) -> bool:
        """Whether every head's pattern is shown in one grid."""
        return isinstance(self.scene.shown, Shown) and self.scene.shown.grid

    def _change(self, then: Callable[[], None] = lambda: None, **changes) -> None:
        """Show the same run with something changed about how it is shown, then do what is to be done."""

        def and_then() -> None:
            if self.session is not None:
                self.session.options.update(changes)  # runs to come are shown likewise
            then()

        self._do(changed(self.scene, self.result, **changes), and_then)

    def open_head(self, hit: Hit) -> None:
        """Leave the grid for the head that was hit, among everything else that is computed."""
        box = self.scene.pieces.boxes[hit.box]

        def then() -> None:
            near = box_of_head(self.scene, box.plane.tap, box.head)
            if near is not None:
                self._select(cell_hit(self.scene.pieces.boxes, near, hit.row, hit.col))
                self._go_to(Place("head", box.layer, box.head, near=near))

        self._change(then, grid=False, aspect=USUAL_ASPECT)

    def step(self, by: int = 1) -> None:
        """Go on by so many operations."""
        self.step_to(self.number + by)

    def step_to(self, number: int) -> None:
        """Let an operation and what flows into it glow; -1 for none."""
        number = min(max(number, -1), len(self.steps) - 1)
        self._set_number(number)
        if number < 0:
            self.operation.value = f"{len(self.steps)} operations" if self.steps else ""
            self._select(self.selected)
            return
        step = self.steps[number]
        self.operation.value = f"{number + 1} / {len(self.steps)} &nbsp; {html.escape(step.words)}"
        self.view.set_focus(set(step.boxes), set(step.routes), set(step.inputs))
        if self.player.playing and self.following and not self.view.held_by_hand:
            place = place_to_watch(self.scene, step.boxes, self.view.bound_for, self.frame.pixels())
            if place is not None:
                self._go_to(place)
        # the picture comes first, and a key that is held does not wait for pages that nobody can read
        self.frame.wait("page", PAGE, self._explain)

    def _need_session(self) -> Session:
        if self.session is None:
            raise InputError("nothing can be run here: this shows a trace or a file; give widget() a model")
        return self.session

    def _run(self, session: Session, then: Callable[[], None] = lambda: None) -> None:
        self._do(
            run_session(session, self.scene.lasting), then
        )  # the same colours as before, to compare with

    def _select(self, hit: Hit | None) -> None:
        self.selected = hit
        if hit is None:
            self.view.set_focus(set(), set())
            self.page.value = page(scene_page(self.scene) + BEGIN)
            self.offer_deeds(())
            return
        boxes, routes = around(self.scene, hit.box)
        self.view.set_focus({hit.box}, routes, boxes - {hit.box})
        self._tell(hit)
        closer = deeper(self.scene, self.place, hit)
        deeds = []
        if self.in_grid:
            box = self.scene.pieces.boxes[hit.box]
            words = f"Show layer {box.layer}, head {box.head} in the whole pass"
            deeds.append((words, self._guarded(lambda: self.open_head(hit))))
        deeds += [(f"Go to {place_words(self.scene, closer)}", lambda: self._go_to(closer))]
        for words, ablation in self._ablations():
            off = ablation in self.session.ablations
            words = f"Switch {'on again' if off else 'off'}: {words}"
            deeds.append((words, self._guarded(lambda a=ablation: self._run(self.session.toggled(a)))))
        self.offer_deeds(deeds)

    def _explain(self) -> None:
        """Tell of the operation that is shown: of the largest value that it gives the chosen token."""
        if 0 <= self.number < len(self.steps):
            self._tell(example_of(self.scene, self.steps[self.number]))

    def _tell(self, hit: Hit) -> None:
        weights = dict(self.session.model.file.tensors) if self.session else {}
        found, figures = figures_of(self.scene, hit)
        theme, box = self.scene.theme, self.scene.pieces.boxes[hit.box]
        map_ = heat_map(self.scene, hit.box)
        self.page.value = page(
            head_page(self.scene, hit)
            + value_page(self.scene, hit, weights)
            + heat_picture(map_, map_.cell_of(hit), theme.accent)
            + ("" if found is None else histogram(found.heights, theme.hues[hue_kind(box.kind)]))
            + figures
        )

    def _go_to(self, place: Place) -> None:
        self.place = place
        self._fly(camera_of(self.scene, place, self.frame.pixels()))
        self.say(place_words(self.scene, place))

    def _fly(self, camera: Camera) -> None:
        self.view.look(camera, fly=running_loop() is not None)

    def _ablations(self) -> list[tuple[str, Ablation]]:
        return ablations_for(self.scene, self.selected) if self.selected and self.session else []
