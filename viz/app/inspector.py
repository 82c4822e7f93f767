"""The inspector: one tensor in words, a heat map, a histogram, its extremes, and how one value came about."""

from __future__ import annotations

from html import escape

import numpy as np
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen
from PySide6.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from refgguf.viz.app.beside import Beside
from refgguf.viz.app.legible import Words
from refgguf.viz.heat_map import HeatMap, heat_map, value_in
from refgguf.viz.inspect import Statistics
from refgguf.viz.pages import BEGIN, figures_of, head_page, n_measured, scene_page, value_page
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import hue_kind
from refgguf.viz.scene.picking import Hit

WIDTH, NARROWEST, FLATTEST = 340, 150, 40
LOWEST, TALLEST = 56, 190  # pixels of the heat map
AT_ONCE = 100_000  # values that are measured while the window waits, some ten milliseconds
MEASURING = "<p>measuring …</p>"


class Picture(QWidget):
    """Shows an image as large as the inspector is wide, cells as sharp squares, one of them framed.

    Signals:
        pointed: row and column of the image's cell under the mouse.
        picked: the same of one that was clicked.
    """

    pointed = Signal(int, int)
    picked = Signal(int, int)

    def __init__(self):
        super().__init__()
        self.image: QImage | None = None
        self.cell: tuple[int, int] | None = None
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def show_cells(self, colours: np.ndarray) -> None:
        """Show (row, col, 3) uint8 colours."""
        data = np.ascontiguousarray(colours)
        height, width = data.shape[:2]
        self.image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        self.setFixedHeight(int(np.clip(WIDTH * height / width, LOWEST, TALLEST)))
        self.cell = None
        self.update()

    def mark(self, row: int, col: int) -> None:
        """Frame one cell of the image."""
        if (row, col) != self.cell:
            self.cell = row, col
            self.update()

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        if self.image is None:
            return
        painter = QPainter(self)
        painter.drawImage(QRectF(self.rect()), self.image)
        if self.cell is not None:
            wide, tall = self.width() / self.image.width(), self.height() / self.image.height()
            frame = QRectF(self.cell[1] * wide, self.cell[0] * tall, max(wide, 4.0), max(tall, 4.0))
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(self.palette().highlight().color(), 2))
            painter.drawRect(frame)

    def _at(self, event) -> tuple[int, int]:
        x, y = event.position().x() / self.width(), event.position().y() / self.height()
        row, col = int(y * self.image.height()), int(x * self.image.width())
        return min(max(row, 0), self.image.height() - 1), min(max(col, 0), self.image.width() - 1)

    def mouseMoveEvent(self, event) -> None:
        """Tell what is under the mouse; Qt calls this."""
        if self.image is not None:
            self.pointed.emit(*self._at(event))

    def mousePressEvent(self, event) -> None:
        """Tell what was clicked; Qt calls this."""
        if self.image is not None:
            self.picked.emit(*self._at(event))


class Histogram(QWidget):
    """Shows how a tensor's values are spread."""

    def __init__(self):
        super().__init__()
        self.setFixedHeight(64)
        self.heights = np.zeros(0)
        self.colour = QColor("#808080")

    def show_heights(self, heights: np.ndarray, colour: QColor) -> None:
        """Show bars from 0 to 1."""
        self.heights, self.colour = heights, colour
        self.update()

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        if not self.heights.size:
            return
        painter = QPainter(self)
        step = self.width() / len(self.heights)
        for i, height in enumerate(self.heights * self.height()):
            bar = QRectF(i * step, self.height() - height, max(step - 1, 1), height)
            painter.fillRect(bar, self.colour)


class Inspector(QScrollArea):
    """Tells of one tensor.

    Signals:
        pointed: what is under the mouse in the heat map, as a Hit.
        picked: what was clicked there.

    Attributes:
        weights: the file's tensors by name, for the sums behind values.
        measuring: takes the figures of large tensors.
        remark: what is to be said of all that is shown, such as why it cannot be run.
    """

    pointed = Signal(object)
    picked = Signal(object)

    def __init__(self):
        super().__init__()
        self.setWidgetResizable(True)
        self.setMinimumSize(NARROWEST, FLATTEST)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.head, self.value, self.figures = Words(), Words(), Words()
        self.picture, self.histogram = Picture(), Histogram()
        inside = QWidget()
        inside.setObjectName("page")
        layout = QVBoxLayout(inside)
        for widget in (self.head, self.value, self.picture, self.histogram, self.figures):
            layout.addWidget(widget)
            if isinstance(widget, QLabel):
                widget.setWordWrap(True)
                widget.setTextFormat(Qt.TextFormat.RichText)
                widget.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys are the picture's
        layout.addStretch(1)
        self.setWidget(inside)
        self.weights: dict = {}
        self.remark = ""
        self._shown: tuple[Scene, int] | None = None
        self.map: HeatMap | None = None
        self.measuring = Beside()
        self.measuring.failed.connect(self.figures.setText)
        self.picture.pointed.connect(lambda row, col: self.pointed.emit(self._hit(row, col)))
        self.picture.picked.connect(lambda row, col: self.picked.emit(self._hit(row, col)))
        self.clear()

    @property
    def box(self) -> int | None:
        """Number of the box that is told of."""
        return None if self._shown is None else self._shown[1]

    @property
    def marked_words(self) -> str:
        """What was marked with the mouse, to be copied."""
        return next((w.selectedText() for w in (self.head, self.value, self.figures) if w.selectedText()), "")

    def clear(self, scene: Scene | None = None) -> None:
        """Tell what the scene shows, and how to begin."""
        self._shown = None
        self.measuring.stop()
        why = f"<p><b>{escape(self.remark)}</b></p>" if self.remark else ""
        self.head.setText((scene_page(scene) + why if scene is not None else "") + BEGIN)
        self.value.clear()
        self.figures.clear()
        self.picture.hide()
        self.histogram.hide()

    def show_hit(self, scene: Scene, hit: Hit) -> None:
        """Tell of the box that was hit, and of the value that was."""
        if self._shown != (scene, hit.box):
            self._show_box(scene, hit)
        self.show_value(scene, hit)

    def _show_box(self, scene: Scene, hit: Hit) -> None:
        self.measuring.stop()
        self.map = heat_map(scene, hit.box)
        self.picture.show_cells(self.map.colours)
        self.picture.show()
        self.head.setText(head_page(scene, hit))
        self._shown = (scene, hit.box)
        if n_measured(scene, hit) <= AT_ONCE:
            self._show_figures(*figures_of(scene, hit))
        else:
            self._show_figures(None, MEASURING)
            self.measuring.do(lambda _: figures_of(scene, hit), lambda found: self._show_figures(*found))

    def _show_figures(self, found: Statistics | None, words: str) -> None:
        """Show figures of the box that is told of."""
        scene, number = self._shown
        self.histogram.setVisible(found is not None)
        if found is not None:
            hue = scene.theme.hues[hue_kind(scene.pieces.boxes[number].kind)]
            self.histogram.show_heights(found.heights, QColor.fromRgbF(*hue))
        some = f"<p>the heat map shows one row in {self.map.apart}</p>" if self.map.apart > 1 else ""
        self.figures.setText(some + words)

    def show_value(self, scene: Scene, hit: Hit) -> None:
        """Tell of another value of the box that is shown; nothing happens if it lies in another box."""
        if self._shown == (scene, hit.box):
            self.value.setText(value_page(scene, hit, self.weights))
            self.picture.mark(*self.map.cell_of(hit))

    def _hit(self, row: int, col: int) -> Hit:
        """Return the value at a cell of the heat map; of those that it stands for, the farthest from zero."""
        scene, number = self._shown
        return value_in(scene, number, self.map.step, row, col)
