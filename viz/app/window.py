"""The window: canvas, inspector, timeline, prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QMainWindow,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QToolBar,
    QWidget,
)

from refgguf.errors import RefggufError
from refgguf.viz.app.canvas import SceneCanvas
from refgguf.viz.app.inspector import Inspector
from refgguf.viz.app.keys import HELP, KEYS
from refgguf.viz.app.timeline import Timeline
from refgguf.viz.app.worker import Runner
from refgguf.viz.inspect import hit_words, names_of
from refgguf.viz.render.picture import save_picture
from refgguf.viz.scene.anatomy import local
from refgguf.viz.scene.build import Scene, build_scene, look_at
from refgguf.viz.scene.camera import CLOSE, NAMED, Camera, aim
from refgguf.viz.scene.framing import fit, outline_points
from refgguf.viz.scene.picking import Hit
from refgguf.viz.session import Ablation, Session
from refgguf.viz.state import THEMES, Shown, ShownFile
from refgguf.viz.steps import around, steps_of


class ViewerWindow(QMainWindow):
    """Shows one run of a model, or a saved trace.

    Args:
        shown: what to show at once, or None if `session` is to run first.
        session: the model and its tokens; None for what cannot be run.
        remark: what to say first in the status bar, such as why the model cannot be run.
    """

    def __init__(
        self, shown: Shown | ShownFile | None = None, session: Session | None = None, remark: str = ""
    ):
        super().__init__()
        self.session = session
        self.scene: Scene | None = None
        self.selected: Hit | None = None
        self.outcome_before = ""
        self.runner: Runner | None = None
        self.setWindowTitle("refgguf")
        self.resize(1440, 900)
        self.canvas = SceneCanvas(self._hovered, self._clicked)
        self.setCentralWidget(self.canvas.native)
        self.inspector, self.timeline = Inspector(), Timeline()
        self._dock("Inspector", self.inspector, Qt.DockWidgetArea.RightDockWidgetArea)
        self._dock("Timeline", self.timeline, Qt.DockWidgetArea.BottomDockWidgetArea)
        self.timeline.token_chosen.connect(self.choose_token)
        self.timeline.step_chosen.connect(self._show_step)
        self._tools()
        self.busy, self.stop_button = QProgressBar(), QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop)
        for widget in (self.busy, self.stop_button):
            self.statusBar().addPermanentWidget(widget)
            widget.hide()
        if session is not None:
            self.inspector.weights = dict(session.model.file.tensors)
        if shown is not None:
            self.show_scene(build_scene(shown))
            if remark:
                self.statusBar().showMessage(remark)
        elif session is not None:
            self.run(session)

    def _dock(self, name: str, widget: QWidget, area: Qt.DockWidgetArea) -> None:
        dock = QDockWidget(name, self)
        dock.setObjectName(name)
        dock.setWidget(widget)
        self.addDockWidget(area, dock)

    def _tools(self) -> None:
        bar = QToolBar("Tools")
        bar.setMovable(False)
        self.prompt, self.next_button, self.temperature = (
            QLineEdit(),
            QPushButton("Next token"),
            QDoubleSpinBox(),
        )
        self.search = QLineEdit(placeholderText="Find a tensor")
        self.prompt.returnPressed.connect(self._prompt_entered)
        self.search.returnPressed.connect(lambda: self.find(self.search.text()))
        self.next_button.clicked.connect(self.next_token)
        self.temperature.setRange(0.0, 5.0)
        self.temperature.setSingleStep(0.1)
        self.temperature.valueChanged.connect(self._temperature_changed)
        self.next_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        if self.session is not None:
            self.prompt.setText(self.session.prompt)
            words = QLabel(" Prompt "), QLabel(" temperature ")
            for widget in (words[0], self.prompt, self.next_button, words[1], self.temperature):
                bar.addWidget(widget)
        self.search.setMaximumWidth(220)
        bar.addWidget(self.search)
        self.addToolBar(bar)

    # ---- running

    def run(self, session: Session) -> None:
        """Run a session beside the window, and show what comes of it."""
        self.stop()
        self.session = session
        self.runner = Runner(session, self)
        self.runner.progressed.connect(self._progressed)
        self.runner.finished_scene.connect(self._finished)
        self.runner.failed.connect(self._failed)
        self.busy.setRange(0, 0)
        self.busy.show()
        self.stop_button.show()
        self.statusBar().showMessage(f"running {len(session.ids):,} tokens …")
        self.runner.start()

    def stop(self) -> None:
        """Stop what is running, if anything is."""
        if self.runner is not None:
            self.runner.stop()
            self.runner = None
        self.busy.hide()
        self.stop_button.hide()

    def _progressed(self, done: int, total: int) -> None:
        self.busy.setRange(0, total)
        self.busy.setValue(done)

    def _finished(self, scene: Scene) -> None:
        if self.sender() is not self.runner:  # one that was stopped meanwhile
            return
        self.stop()
        before, self.outcome_before = self.outcome_before, scene.shown.facts.outcome
        self.show_scene(scene)
        self.prompt.setText(self.session.prompt)
        change = f"{before}  →  " if before and before != self.outcome_before else ""
        self.statusBar().showMessage(f"next token: {change}{self.outcome_before}")

    def _failed(self, message: str) -> None:
        self.stop()
        self.statusBar().showMessage(message)

    def _prompt_entered(self) -> None:
        try:
            self.run(self.session.with_text(self.prompt.text()))
        except RefggufError as error:
            self.statusBar().showMessage(str(error))
        self.canvas.native.setFocus()

    def next_token(self) -> None:
        """Draw the next token and run on with it."""
        if self.session is None or self.scene is None or self.runner is not None:
            return
        logits = [t for t in self.scene.shown.trace.tensors if t.kind == "logits" and t.layer is None]
        if logits:
            self.run(self.session.extended(self.session.next_token(logits[-1].values[-1])))

    def _temperature_changed(self, value: float) -> None:
        self.session.temperature = value

    def toggle_selected(self) -> None:
        """Switch the selected head or block off, or on again, and run anew."""
        if self.selected is None or self.session is None or self.scene is None:
            self.statusBar().showMessage("select a head or a feed-forward network first, by a click")
            return
        box = self.scene.pieces.boxes[self.selected.box]
        ablation = ablation_of(self.scene, self.selected.box)
        if ablation is None:
            self.statusBar().showMessage(
                f"{local(box.plane.tap)} cannot be switched off; choose a head or neurons"
            )
        else:
            self.run(self.session.toggled(ablation))

    # ---- showing

    def show_scene(self, scene: Scene) -> None:
        """Show a scene, from where the last one was seen."""
        first = self.scene is None
        self.scene, self.selected = scene, None
        self.canvas.show_scene(scene, keep_camera=not first)
        shown = scene.shown
        if isinstance(shown, ShownFile):
            self.timeline.show_run([], 0, [])
        else:
            self.timeline.show_run(shown.trace.token_texts, shown.token_index, steps_of(scene))
        self.timeline.parentWidget().setVisible(not isinstance(shown, ShownFile))
        self.inspector.clear()
        off = (
            f", {len(self.session.ablations)} switched off" if self.session and self.session.ablations else ""
        )
        self.setWindowTitle(f"{shown.facts.name}{off} - refgguf")
        if first:
            self.statusBar().showMessage(
                "drag to turn, wheel to come closer, double click to go there, ? for keys"
            )

    def show_again(self, **changes) -> None:
        """Show the same run with something changed about how it is shown."""
        if self.scene is not None:
            if self.session is not None:
                self.session.options.update(changes)
            self.show_scene(build_scene(replace(self.scene.shown, **changes)))

    def choose_token(self, token: int) -> None:
        """Mark a token's rows and show what the model predicts after it."""
        self.show_again(token=token, marked=True)

    def other_theme(self) -> None:
        """Change between light and dark."""
        if self.scene is not None:
            at = THEMES.index(self.scene.shown.theme)
            self.show_again(theme=THEMES[(at + 1) % len(THEMES)])

    def _show_step(self, number: int) -> None:
        if number < 0:
            self.canvas.set_focus(set(), set())
            return
        step = self.timeline.steps[number]
        self.canvas.set_focus(set(step.boxes | step.inputs), set(step.routes))

    def find(self, text: str) -> None:
        """Go to the first tensor whose name holds a text."""
        if self.scene is None or not text.strip():
            return
        wanted = text.strip().lower()
        for number, box in enumerate(self.scene.pieces.boxes):
            names = [box.plane.tap, box.title]
            if isinstance(self.scene.shown, Shown):
                names += [name for _, name in names_of(self.scene.shown.trace.tensor(box.plane.tap))]
            if any(wanted in name.lower() for name in names):
                self.canvas.set_focus(*around(self.scene, number))
                self.go_to([number])
                self.canvas.native.setFocus()
                return
        self.statusBar().showMessage(f"nothing in the picture is called {text!r}")

    # ---- looking

    def go_to(self, numbers: list[int]) -> None:
        """Fly to some boxes."""
        boxes = [self.scene.pieces.boxes[i] for i in numbers]
        points = outline_points(self.scene.pieces, boxes)
        width, height = self.canvas.look_size()
        camera = aim(Camera(*CLOSE), points.min(axis=0), points.max(axis=0))
        area = (width * 0.18, height * 0.14, width * 0.82, height * 0.74)
        self.canvas.look(fit(camera, points, (width, height), area))

    def look_from(self, name: str) -> None:
        """Fly to one of the named cameras."""
        if self.scene is not None:
            camera = None if name == "overview" else Camera(*NAMED[name])
            self.canvas.look(look_at(self.scene, self.canvas.look_size(), camera).camera)

    def _hovered(self, hit: Hit | None) -> None:
        if hit is None or self.scene is None:
            self.statusBar().clearMessage()
            return
        self.statusBar().showMessage(hit_words(self.scene, hit))

    def _clicked(self, hit: Hit | None, double: bool) -> None:
        self.canvas.native.setFocus()
        if self.scene is None:
            return
        self.selected = hit
        if hit is None:
            self.canvas.set_focus(set(), set())
            self.inspector.clear()
            if double:
                self.look_from("overview")
            return
        self.inspector.show_hit(self.scene, hit)
        self.canvas.set_focus(*around(self.scene, hit.box))
        if double:
            self.go_to([hit.box])

    # ---- keys and files

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Do what a key stands for; Qt calls this."""
        action = KEYS.get(event.text().lower()) or KEYS.get(event.key())
        if action is None:
            super().keyPressEvent(event)
        else:
            action(self)

    def show_help(self) -> None:
        """Show the keys."""
        QMessageBox.information(self, "Keys", HELP)

    def save(self, path: str | None = None) -> Path | None:
        """Save what is seen as a picture; the first free name in the current folder if none is given."""
        if self.scene is None:
            return None
        name = self.scene.shown.facts.name.replace("/", "-")
        free = (Path(f"{name}-{n}.png") for n in range(1, 10_000))
        target = Path(path) if path else next(p for p in free if not p.exists())
        try:
            save_picture(self.canvas.picture(), target)
        except RefggufError as error:
            self.statusBar().showMessage(str(error))
            return None
        self.statusBar().showMessage(f"saved {target.resolve()}")
        return target

    def closeEvent(self, event) -> None:
        """Stop what runs before the window goes; Qt calls this."""
        self.stop()
        self.timeline.stop()
        self.canvas.close()
        super().closeEvent(event)


def ablation_of(scene: Scene, number: int) -> Ablation | None:
    """Return what to switch off for a box: a head's output, or what a feed-forward network adds."""
    box = scene.pieces.boxes[number]
    boxes = scene.pieces.boxes
    if box.role in ("q", "pattern", "z"):
        outputs = [b for b in boxes if b.layer == box.layer and b.role == "z" and b.head == box.head]
        return Ablation(outputs[0].plane.tap, box.head) if outputs else None
    added = f"blk.{box.layer}.ffn_out"
    if box.role in ("neurons", "expert", "router") and added in scene.shown.graph:
        return Ablation(added)
    return None


def open_window(
    shown: Shown | ShownFile | None = None, session: Session | None = None, remark: str = ""
) -> int:
    """Open the window and stay until it is closed; returns Qt's exit code."""
    application = QApplication.instance() or QApplication([])
    window = ViewerWindow(shown, session, remark)
    window.show()
    return application.exec()
