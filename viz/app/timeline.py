"""The timeline: the tokens, and a slider over the operations of the forward pass."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from refgguf.viz.app.legible import legible
from refgguf.viz.app.operations import Operations
from refgguf.viz.scene.layout import readable
from refgguf.viz.steps import Step

BEAT = 650  # milliseconds for each operation while playing


class Timeline(QWidget):
    """Tokens and operations.

    Signals:
        token_chosen: a token's position.
        step_chosen: an operation's number, -1 for none.
    """

    token_chosen = Signal(int)
    step_chosen = Signal(int)

    def __init__(self):
        super().__init__()
        self.steps: list[Step] = []
        self.tokens = QListWidget()
        self.tokens.setFlow(QListWidget.Flow.LeftToRight)
        self.tokens.setFixedHeight(46)
        self.tokens.setSpacing(2)
        self.tokens.setMouseTracking(False)
        self.tokens.itemClicked.connect(lambda item: self._token(self.tokens.row(item)))
        # while the button is held, the token under the mouse is the chosen one: this scrubs
        self.tokens.itemEntered.connect(lambda item: self._token(self.tokens.row(item)))
        self.chosen = -1
        self._read = 0  # rows that stand before the first token: what an encoder has read
        self.play_button = QToolButton(text="▶")
        self.play_button.setToolTip("Play the forward pass (Space)")
        self.play_button.clicked.connect(self.toggle)
        self.slider = Operations()
        self.slider.setRange(-1, -1)  # no operation, as long as nothing has run
        self.slider.valueChanged.connect(self._moved)
        self.words = QLabel()
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.back_button, self.on_button = QToolButton(text="‹"), QToolButton(text="›")
        for button, by, words in ((self.back_button, -1, "before (←)"), (self.on_button, 1, "next (→)")):
            button.setToolTip(f"Operation {words}")
            button.clicked.connect(lambda _=False, by=by: self.step(by))
        self.follow_button = QToolButton(text="◎", checkable=True, checked=True)
        self.follow_button.setToolTip(
            "While playing, go where an operation is too small to be seen from here (Y)"
        )
        row = QHBoxLayout()
        row.setSpacing(4)
        for button in (self.back_button, self.play_button, self.on_button, self.follow_button):
            row.addWidget(button)
        row.addWidget(self.slider, 3)
        row.addWidget(self.words, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 2)
        layout.addWidget(self.tokens)
        layout.addLayout(row)
        self.timer = QTimer(interval=BEAT)
        self.timer.timeout.connect(self._play_on)
        # the window's keys must not be eaten by the widgets that the mouse has touched last
        buttons = (self.back_button, self.play_button, self.on_button, self.follow_button)
        for widget in (self.tokens, *buttons):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    @property
    def current(self) -> Step | None:
        """The operation that is shown, or None."""
        number = self.slider.value()
        return self.steps[number] if 0 <= number < len(self.steps) else None

    @property
    def playing(self) -> bool:
        """Whether operation after operation is shown by itself."""
        return self.timer.isActive()

    @property
    def following(self) -> bool:
        """Whether the camera goes along with what is played."""
        return self.follow_button.isChecked()

    def show_run(
        self,
        token_texts: Sequence[str],
        chosen: int,
        steps: list[Step],
        at: int = -1,
        source_texts: Sequence[str] = (),
    ) -> None:
        """Show the tokens and operations of a run, and stay at one of them.

        Args:
            token_texts: texts of the tokens.
            chosen: position of the token whose predictions are shown.
            steps: the operations.
            at: number of the one to stay at, -1 for none.
            source_texts: texts that an encoder has read, shown before the others: they cannot be chosen.
        """
        self.steps = steps
        self.tokens.clear()
        read = [*source_texts, "→"] if source_texts else []
        self.tokens.addItems([legible(readable(text)) for text in (*read, *token_texts)])
        for row in range(len(read)):
            self.tokens.item(row).setFlags(Qt.ItemFlag.NoItemFlags)
        self._read = len(read)
        self.tokens.setCurrentRow(self._read + chosen)
        self.chosen = chosen
        self.tokens.scrollToItem(self.tokens.currentItem())
        self.slider.show_steps(steps)
        self.slider.blockSignals(True)
        self.slider.setRange(-1, len(steps) - 1)
        self.slider.setValue(min(at, len(steps) - 1))
        self.slider.blockSignals(False)
        if self.slider.value() < 0:
            self.stop()
        self._say()

    def _token(self, row: int) -> None:
        number = row - self._read
        if number >= 0 and number != self.chosen:
            self.chosen = number
            self.token_chosen.emit(number)

    def step(self, by: int) -> None:
        """Go on by so many operations."""
        self.slider.setValue(self.slider.value() + by)

    def go_to(self, number: int) -> None:
        """Go to an operation, -1 for none."""
        self.slider.setValue(number)

    def toggle(self) -> None:
        """Play or pause."""
        if self.timer.isActive():
            self.stop()
        elif self.steps:
            if self.slider.value() == self.slider.maximum():
                self.slider.setValue(-1)
            self.play_button.setText("❚❚")
            self.timer.start()
            self._play_on()

    def stop(self) -> None:
        """Pause."""
        self.timer.stop()
        self.play_button.setText("▶")

    def _play_on(self) -> None:
        if self.slider.value() >= self.slider.maximum():
            self.stop()
        else:
            self.step(1)

    def _moved(self, number: int) -> None:
        self._say()
        self.step_chosen.emit(number)

    def _say(self) -> None:
        number = self.slider.value()
        at = (
            f"{number + 1} / {len(self.steps)}   {self.steps[number].words}"
            if number >= 0
            else f"{len(self.steps)} operations; → steps through them, Space plays them" * bool(self.steps)
        )
        self.words.setText(at)
        self.words.setToolTip(at)  # there may be no room for all of it
