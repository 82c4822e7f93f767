"""The window: what mouse, keys and panels do to the scene and to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QMenu

from refgguf.errors import RefggufError
from refgguf.viz.app.help import Help
from refgguf.viz.app.keys import KEYS, WELCOME
from refgguf.viz.app.legible import legible
from refgguf.viz.app.looking import Looking
from refgguf.viz.app.style import palette_of, sheet_of
from refgguf.viz.distribution import distribution_of
from refgguf.viz.facts import colours_are_fixed
from refgguf.viz.finding import names_in
from refgguf.viz.inspect import hit_words
from refgguf.viz.places import Place, alike, deeper, place_words
from refgguf.viz.render.picture import check_picture, free_picture, save_picture
from refgguf.viz.scene.colours import theme_of
from refgguf.viz.scene.head_grid import has_heads
from refgguf.viz.scene.picking import Hit, hit_at
from refgguf.viz.session import Session
from refgguf.viz.settings import SLOTS
from refgguf.viz.state import THEMES, Shown, ShownFile
from refgguf.viz.steps import Step, around, example_of, steps_of
from refgguf.viz.work import Opened, Result, changed, open_first
from refgguf.viz.work import show as show_work

NAMES = {
    Qt.Key.Key_Right: "ArrowRight",
    Qt.Key.Key_Left: "ArrowLeft",
    Qt.Key.Key_Home: "Home",
    Qt.Key.Key_Backspace: "Backspace",
    Qt.Key.Key_Escape: "Escape",
}  # of keys without a letter, as in KEYS
PAGE = 100  # milliseconds that an operation is on the screen before the inspector tells of it
Opening = Callable[[Callable[[str], None]], Opened]


class ViewerWindow(Looking):
    """Shows one run of a model, a saved trace, or a file's weights.

    Args:
        shown: what to show at once.
        session: the model and its tokens, to run; None for what cannot be run.
        remark: what to say first in the status bar, such as why the model cannot be run.
        opening: opens the model beside the window, instead of the three above; is given a function to tell what it
            does.
        theme: how the panels look until something is shown.
    """

    def __init__(
        self,
        shown: Shown | ShownFile | None = None,
        session: Session | None = None,
        remark: str = "",
        opening: Opening | None = None,
        theme: str = "light",
    ):
        super().__init__()
        self.session = session
        self.result: Result | None = None
        self._untold: Step | None = None
        self.help = Help(self)
        self._connect()
        self._dress(shown.theme if shown else theme)
        self.opening = opening is not None
        if opening is not None:
            self._start(open_first(opening))
        elif session is not None:
            self.run(session)
        elif shown is not None:
            self._start(show_work(shown, remark=remark))
        self._show_tools()

    def _connect(self) -> None:
        self.view.hovered, self.view.clicked = self._hovered, self._clicked
        self.timeline.token_chosen.connect(self.choose_token)
        self.timeline.step_chosen.connect(self._show_step)
        self.live.temperature_changed.connect(self._temperature_changed)
        self.live.token_chosen.connect(self.append)
        self.prompt.returnPressed.connect(self._prompt_entered)
        self.target.returnPressed.connect(lambda: self._prompt_entered(written=True))
        self.search.returnPressed.connect(lambda: self.find(self.search.text()))
        self.next_button.clicked.connect(self.next_token)
        self.go_button.clicked.connect(self.toggle_generation)
        self.off_button.clicked.connect(self.restore)
        self.grid_button.clicked.connect(self.toggle_grid)
        self.stop_button.clicked.connect(self.cancel)
        self.inspector.pointed.connect(self._pointed)
        self.inspector.picked.connect(self._select)
        self.canvas.native.installEventFilter(self)
        self.canvas.native.frameSwapped.connect(self._picture_shown)

    def _dress(self, theme: str) -> None:
        self.view.ground = theme_of(theme).ground
        # to the application: below a style sheet, a window's own palette does not reach its panels
        QApplication.setPalette(palette_of(theme_of(theme)))
        self.setStyleSheet(sheet_of(theme_of(theme)))
        self.timeline.slider.hues = theme_of(theme).hues

    def _show_tools(self) -> None:
        session = self.session
        for action in self.running:
            action.setVisible(session is not None and session.scores_vocabulary)
        for action in self.writing:
            action.setVisible(session is not None and session.target is not None)
        for action in self.asking:
            action.setVisible(self.session is not None or self.begin is not None)
        shown = None if self.scene is None else self.scene.shown
        self.grid_action.setVisible(has_heads(shown))
        self.grid_button.setChecked(isinstance(shown, Shown) and shown.grid)
        self.off_action.setVisible(bool(self.session and self.session.ablations))

    # ---- showing

    def _show_result(self, result: Result) -> str:
        """Show what a job has made; returns what to say of it."""
        first, before = self.scene is None, self.place
        like = not first and alike(self.scene, result.scene)
        step = self.timeline.slider.value() if like else -1
        kept = self.selected if like else None
        self.scene, self.selected = result.scene, None
        self.result = replace(result, atlas=None)  # which the view keeps as long as it is shown
        self.session, self.begin = result.session, result.begin
        shown = result.scene.shown
        self.place = before if like else Place()
        run = isinstance(shown, Shown)
        self.timeline_dock.setVisible(run)
        self.show_live(self._logits() is not None)
        self.layout().activate()  # the canvas has its size before the scene is framed for it
        self.view.show_scene(result.scene, result.atlas)
        self._dress(shown.theme)
        steps = steps_of(result.scene) if run else []
        texts, read = (shown.trace.token_texts, shown.source_texts) if run else ([], [])
        self.timeline.show_run(texts, shown.token_index if run else 0, steps, step, read)
        self.inspector.weights = dict(self.session.model.file.tensors) if self.session else {}
        self.inspector.remark = result.remark
        self._select(None if kept is None else hit_at(result.scene.pieces.boxes, kept))
        if step >= 0:
            self._show_step(step)
        self.offer_names(sorted(names_in(result.scene)))
        self._show_tools()
        off = len(self.session.ablations) if self.session else 0
        self.setWindowTitle(f"{shown.facts.name}{f', {off} switched off' if off else ''} - refgguf")
        if self.session is not None:
            self.prompt.setText(self.session.prompt)
            self.target.setText(self.session.target_text)
        self._show_distribution()
        if first:
            self.look_first()
        arrived = self.arrive()
        if first and not self.settings.hint_seen:
            self.hint.show()
            self.place_hint()
        if first:
            return self.settings.complaint or WELCOME
        return arrived or (f"next token: {shown.facts.outcome}" if shown.facts.outcome else WELCOME)

    def _show_distribution(self) -> None:
        if self._logits() is not None:
            found = distribution_of(
                self.scene.shown, self.session, self.result.whole if self.result else None
            )
            self.live.show_distribution(found, self.scene.theme)

    def show_again(self, **changes) -> None:
        """Show the same run with something changed about how it is shown."""
        if self.scene is not None and self.result is not None:
            result = self.result
            if self.session is not None:
                self.session.options.update(changes)
            self._start(changed(self.scene, result, **changes))

    def choose_token(self, token: int) -> None:
        """Mark a token's rows and show what the model predicts after it."""
        self.show_again(token=token, marked=True)

    def step_token(self, by: int) -> None:
        """Choose a neighbour of the token that is shown."""
        if self.scene is not None and isinstance(self.scene.shown, Shown):
            last = len(self.scene.shown.trace.tokens) - 1
            self.choose_token(min(max(self.scene.shown.token_index + by, 0), last))

    def play(self) -> None:
        """Play the forward pass, or pause."""
        self.timeline.toggle()

    def step(self, by: int = 1) -> None:
        """Go on by so many operations."""
        self.timeline.step(by)

    def step_to(self, number: int) -> None:
        """Let an operation and what flows into it glow; -1 for none."""
        self.timeline.go_to(number)

    def other_theme(self) -> None:
        """Change between light and dark."""
        if self.scene is not None:
            at = THEMES.index(self.scene.shown.theme)
            self.show_again(theme=THEMES[(at + 1) % len(THEMES)])

    def other_colour(self) -> None:
        """Let the colours of a file's weights say something else."""
        shown = None if self.scene is None else self.scene.shown
        if why := colours_are_fixed(shown):
            self.statusBar().showMessage(why)
        else:
            self.show_again(colour=shown.next_colour)

    def _show_step(self, number: int) -> None:
        if number < 0:
            self._select(self.selected)
            return
        step = self.timeline.steps[number]
        self.view.set_focus(set(step.boxes), set(step.routes), set(step.inputs))
        if self.timeline.playing:
            self.follow(step)
        self._untold = step

    def _picture_shown(self) -> None:
        """Tell of an operation once its picture is on the screen, unless another follows: none waits for pages."""
        step, self._untold = self._untold, None
        if step is not None:
            self.canvas.wait("page", PAGE, lambda: self._explain(step))

    def _explain(self, step: Step) -> None:
        """Tell of an operation: of the value under the cursor, or of the largest that it gives the chosen token."""
        if self.timeline.current is step:
            under = self.view.hit if self.view.hit and self.view.hit.box in step.boxes else None
            self.inspector.show_hit(self.scene, under or example_of(self.scene, step))

    # ---- what was pointed at

    def _hovered(self, hit: Hit | None) -> None:
        if hit is None or self.scene is None:
            self.statusBar().clearMessage()
            return
        self.statusBar().showMessage(legible(hit_words(self.scene, hit)))
        step = self.timeline.current
        if step is not None and hit.box in step.boxes and hit.box != self.inspector.box:
            self.inspector.show_hit(self.scene, hit)
        else:
            self.inspector.show_value(self.scene, hit)

    def _pointed(self, hit: Hit) -> None:
        self.statusBar().showMessage(legible(hit_words(self.scene, hit)))

    def _select(self, hit: Hit | None) -> None:
        self.selected = hit
        if hit is None:
            self.view.set_focus(set(), set())
            self.inspector.clear(self.scene)
            return
        self.inspector.show_hit(self.scene, hit)
        boxes, routes = around(self.scene, hit.box)
        self.view.set_focus({hit.box}, routes, boxes - {hit.box})

    def _clicked(self, hit: Hit | None, how: str, ctrl: bool) -> None:
        self.canvas.native.setFocus()
        self._take_hint_away()
        if self.scene is None:
            return
        self._select(hit)
        if how == "double" and hit is not None and self.grid_button.isChecked():
            self.open_head(hit)
        elif how == "double":
            self.go_to(Place() if hit is None else deeper(self.scene, self.place, hit))
        elif how == "menu" and hit is not None:
            self.menu(hit).popup(self.cursor().pos())
        elif ctrl and hit is not None:
            self.toggle_selected()

    def menu(self, hit: Hit) -> QMenu:
        """Return the menu of what can be done where something was hit."""
        menu = QMenu(self)
        if self.grid_button.isChecked():
            box = self.scene.pieces.boxes[hit.box]
            words = f"Show layer {box.layer}, head {box.head} in the whole pass"
            menu.addAction(words, lambda: self.open_head(hit))
        closer = deeper(self.scene, self.place, hit)
        menu.addAction(f"Go to {place_words(self.scene, closer)}", lambda: self.go_to(closer))
        for words, ablation in self._ablations():
            off = ablation in self.session.ablations
            words = f"Switch {'on again' if off else 'off'}: {words}"
            menu.addAction(words, lambda a=ablation: self.run(self.session.toggled(a)))
        text = hit_words(self.scene, hit)
        menu.addAction("Copy name, place and value", lambda: QApplication.clipboard().setText(text))
        return menu

    def cancel(self) -> None:
        """Stop what runs, and take the page of keys away."""
        self.help.hide()
        super().cancel()

    def _take_hint_away(self) -> None:
        if self.hint.isVisible():
            self.hint.hide()
            try:
                self.settings.see_hint()
            except RefggufError as error:
                self.statusBar().showMessage(str(error))

    # ---- keys, files, end

    def eventFilter(self, watched, event) -> bool:
        """Keep the hint in its place, and keys that were let go elsewhere from flying on; Qt calls this."""
        if event.type() == QEvent.Type.Resize and self.hint.isVisible():
            self.place_hint()
        if event.type() == QEvent.Type.Resize and self.help.isVisible():
            self.help.place()
        if event.type() == QEvent.Type.FocusOut:
            self.view.held.clear()
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Do what a key stands for; Qt calls this."""
        self._take_hint_away()
        ctrl = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        self.view.fast = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        name = chr(event.key()).lower() if 32 < event.key() < 127 else ""
        if event.matches(QKeySequence.StandardKey.Copy) and self.inspector.marked_words:
            QApplication.clipboard().setText(self.inspector.marked_words)
        elif name in SLOTS and name:
            self.use_slot(name, keep=ctrl)
        elif not ctrl and self.view.hold(name, True):
            pass
        elif (
            action := KEYS.get(event.text().lower()) or KEYS.get(NAMES.get(event.key()))
        ) is not None and not ctrl:
            action(self)
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """Stop flying when a key is let go; Qt calls this."""
        name = chr(event.key()).lower() if 32 < event.key() < 127 else ""
        if event.isAutoRepeat() or not self.view.hold(name, False):
            super().keyReleaseEvent(event)

    def show_help(self) -> None:
        """Show the keys, or take them away."""
        if self.help.isVisible():
            self.help.hide()
        else:
            self.help.show_over()

    def save(self, path: str | None = None) -> Path | None:
        """Save what is seen as a picture; the first free name in the current folder if none is given."""
        if self.scene is None:
            return None
        target = Path(path) if path else free_picture(self.scene.shown.facts.name)
        try:
            check_picture(target)
            self.statusBar().showMessage("drawing the picture …")
            self.statusBar().repaint()  # before what follows, which takes a processor seconds
            save_picture(self.view.picture(), target)
        except RefggufError as error:
            self.statusBar().showMessage(str(error))
            return None
        self.statusBar().showMessage(f"saved {target.resolve()}")
        return target

    def closeEvent(self, event) -> None:
        """Stop what runs before the window goes; Qt calls this."""
        self.hide()
        self.generating = False
        self.stop()
        self.timeline.stop()
        for job in self._ending:
            job.wait()  # ends at its next layer
        self.inspector.measuring.end()
        self.canvas.end()
        super().closeEvent(event)
