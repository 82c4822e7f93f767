"""The next token: its distribution as it is now, at the temperature that is set, beside what it was before."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from refgguf.viz.app.legible import Words, legible
from refgguf.viz.app.scrubber import Scrubber
from refgguf.viz.distribution import N_BARS, Candidate, Distribution
from refgguf.viz.scene.colours import Theme
from refgguf.viz.scene.predictions import percent

FEWEST = 4  # bars, where there is little room
ROW = 19
LEAST = 120, 52  # pixels of all of it
LINES = 3  # of words below the slider that always have room
HOTTEST = 200  # hundredths of a temperature at the slider's right end


class Bars(QWidget):
    """Probabilities as bars; an outline tells what they were before.

    Signals:
        chosen: the token of the bar that was clicked.
    """

    chosen = Signal(int)

    def __init__(self):
        super().__init__()
        self.candidates: list[Candidate] = []
        self.colour = QColor("#b07a1e")
        self.setMinimumHeight(FEWEST * ROW)
        self.setMaximumHeight(N_BARS * ROW)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click a token to append it")

    def sizeHint(self) -> QSize:
        """Return the room for all; Qt calls this."""
        return QSize(240, N_BARS * ROW)

    def show_candidates(self, candidates: list[Candidate], colour: QColor) -> None:
        """Show them, the best first."""
        self.candidates, self.colour = candidates, colour
        self.update()

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        words, figures = 0.34 * self.width(), 46
        room = self.width() - words - figures
        ink = self.palette().text().color()
        for i, candidate in enumerate(self.candidates[: max(self.height() // ROW, 1)]):
            y = i * ROW
            painter.setPen(ink)
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            middle, room_for_words = Qt.TextElideMode.ElideMiddle, int(words - 8)
            text = painter.fontMetrics().elidedText(legible(candidate.text), middle, room_for_words)
            painter.drawText(QRectF(0, y, room_for_words, ROW), right, text)
            painter.fillRect(QRectF(words, y + 4, max(room * candidate.share, 1), ROW - 8), self.colour)
            if candidate.before is not None:
                pen = QPen(ink, 1, Qt.PenStyle.DotLine)
                painter.setPen(pen)
                painter.drawRect(QRectF(words, y + 3, max(room * candidate.before, 1), ROW - 7))
                painter.setPen(ink)
            longest = max(candidate.share, candidate.before or 0.0)
            at = QRectF(words + room * longest + 5, y, figures, ROW)
            painter.drawText(
                at, Qt.AlignmentFlag.AlignVCenter, percent(candidate.share) if candidate.share else "0"
            )

    def mousePressEvent(self, event) -> None:
        """Choose the token of a bar; Qt calls this."""
        row = int(event.position().y() // ROW)
        if 0 <= row < len(self.candidates):
            self.chosen.emit(self.candidates[row].token)


class Live(QWidget):
    """The distribution of the next token, and the temperature that it is drawn at.

    Signals:
        temperature_changed: the new one.
        token_chosen: a token to append.
    """

    temperature_changed = Signal(float)
    token_chosen = Signal(int)

    def __init__(self):
        super().__init__()
        self.title, self.bars, self.words = Words(), Bars(), QLabel()
        for label in (self.title, self.words):
            label.setWordWrap(True)
        self.slider = Scrubber()
        self.slider.setRange(0, HOTTEST)
        self.temperature = QDoubleSpinBox()
        self.temperature.setRange(0.0, 5.0)
        self.temperature.setSingleStep(0.1)
        self.temperature.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.slider.valueChanged.connect(self._slid)
        self.temperature.valueChanged.connect(self._changed)
        self.bars.chosen.connect(self.token_chosen)
        self.heat = QWidget()
        row = QHBoxLayout(self.heat)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("temperature"))
        row.addWidget(self.slider, 1)
        row.addWidget(self.temperature)
        layout = QVBoxLayout(self)
        layout.addWidget(self.title)
        layout.addWidget(self.bars)
        layout.addWidget(self.heat)
        layout.addWidget(self.words)
        self.words.setMinimumHeight(LINES * self.words.fontMetrics().lineSpacing())
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setMaximumHeight(N_BARS * ROW + 170)
        self.setMinimumSize(*LEAST)

    def resizeEvent(self, event) -> None:
        """Leave away what a small window has no room for, the words first; Qt calls this."""
        around, apart = self.layout().contentsMargins(), self.layout().spacing()
        used = around.top() + around.bottom() + self.title.sizeHint().height() + apart + FEWEST * ROW
        for widget, tall in (
            (self.heat, self.heat.sizeHint().height()),
            (self.words, self.words.minimumHeight()),
        ):
            used += tall + apart
            widget.setVisible(used <= self.height())
        self.bars.setMinimumHeight(ROW if self.heat.isHidden() else FEWEST * ROW)
        super().resizeEvent(event)

    def _slid(self, hundredths: int) -> None:
        self.temperature.setValue(hundredths / 100)

    def _changed(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round(value * 100))
        self.slider.blockSignals(False)
        self.temperature_changed.emit(value)

    def show_distribution(self, found: Distribution, theme: Theme) -> None:
        """Show the candidates, and what there is to say of them."""
        self.title.setText(found.title)
        self.bars.show_candidates(found.candidates, QColor.fromRgbF(*theme.hues["logits"]))
        self.words.setText(found.words)
