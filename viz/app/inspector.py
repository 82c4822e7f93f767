"""The inspector: one tensor in words, a heat map, a histogram, its extremes, and how one value came about."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from refgguf.viz.pages import figures_of, head_page, value_page
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import colour_of
from refgguf.viz.scene.picking import Hit

WIDTH = 340


class Picture(QWidget):
    """Shows an image as large as the inspector is wide, cells as sharp squares."""

    def __init__(self):
        super().__init__()
        self.image: QImage | None = None

    def show_cells(self, colours: np.ndarray) -> None:
        """Show (row, col, 3) uint8 colours."""
        data = np.ascontiguousarray(colours)
        height, width = data.shape[:2]
        self.image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        self.setFixedHeight(int(np.clip(WIDTH * height / width, 26, 240)))
        self.update()

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        if self.image is not None:
            QPainter(self).drawImage(QRectF(self.rect()), self.image)


class Histogram(QWidget):
    """Shows how a tensor's values are spread."""

    def __init__(self):
        super().__init__()
        self.setFixedHeight(64)
        self.counts = np.zeros(0)
        self.colour = QColor("#808080")

    def show_counts(self, counts: np.ndarray, colour: QColor) -> None:
        """Show counts in equal steps."""
        self.counts, self.colour = counts, colour
        self.update()

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        if not self.counts.size or not self.counts.max():
            return
        painter = QPainter(self)
        step = self.width() / len(self.counts)
        # heights are logarithmic: one outlier must be seen beside a thousand small values
        heights = np.log1p(self.counts) / np.log1p(self.counts.max()) * self.height()
        for i, height in enumerate(heights):
            bar = QRectF(i * step, self.height() - height, max(step - 1, 1), height)
            painter.fillRect(bar, self.colour)


class Inspector(QScrollArea):
    """Tells of one tensor.

    Attributes:
        weights: the file's tensors by name, for the sums behind values.
    """

    def __init__(self):
        super().__init__()
        self.setWidgetResizable(True)
        self.setMinimumWidth(WIDTH + 24)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.head, self.value, self.figures = QLabel(), QLabel(), QLabel()
        self.picture, self.histogram = Picture(), Histogram()
        inside = QWidget()
        inside.setObjectName("page")
        layout = QVBoxLayout(inside)
        for widget in (self.head, self.picture, self.value, self.histogram, self.figures):
            layout.addWidget(widget)
            if isinstance(widget, QLabel):
                widget.setWordWrap(True)
                widget.setTextFormat(Qt.TextFormat.RichText)
                widget.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addStretch(1)
        self.setWidget(inside)
        self.weights: dict = {}
        self._shown: tuple[Scene, int] | None = None
        self.clear()

    @property
    def box(self) -> int | None:
        """Number of the box that is told of."""
        return None if self._shown is None else self._shown[1]

    def clear(self) -> None:
        """Tell how to begin."""
        self._shown = None
        self.head.setText(
            "<p>Move over a box to read a value.<br>Click it to see it here.</p><p>? shows the keys.</p>"
        )
        self.value.clear()
        self.figures.clear()
        self.picture.hide()
        self.histogram.hide()

    def show_hit(self, scene: Scene, hit: Hit) -> None:
        """Tell of the box that was hit, and of the value that was."""
        box = scene.pieces.boxes[hit.box]
        step = (max(1, -(-box.plane.shape[0] // 160)), max(1, -(-box.plane.shape[1] // WIDTH)))
        self.picture.show_cells(colour_of(box.plane.pooled(*step), scene.scale(box), scene.theme.name))
        self.picture.show()
        self.head.setText(head_page(scene, hit))
        found, words = figures_of(scene, hit)
        self.histogram.setVisible(found is not None)
        if found is not None:
            self.histogram.show_counts(
                found.counts, QColor.fromRgbF(*scene.theme.hues[scene.scale(box).kind])
            )
        self.figures.setText(words)
        self._shown = (scene, hit.box)
        self.show_value(scene, hit)

    def show_value(self, scene: Scene, hit: Hit) -> None:
        """Tell of another value of the box that is shown; nothing happens if it lies in another box."""
        if self._shown == (scene, hit.box):
            self.value.setText(value_page(scene, hit, self.weights))
