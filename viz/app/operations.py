"""The operations of a forward pass as a strip of coloured cells, layer by layer, that is scrubbed like a slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap

from refgguf.viz.app.scrubber import Scrubber
from refgguf.viz.steps import Step

EDGE = 7.0  # pixels at both ends
CELL, TALL = 12.0, 34  # height of a cell, and of all
APART = 3.0  # between layers, where there is room
QUIET, DONE = (
    0.42,
    0.75,
)  # how much of its hue a cell has that is to come, or has been; the current one has all


class Operations(Scrubber):
    """A slider over the operations, -1 for none; each is a cell in the hue of what it makes, named by layer."""

    def __init__(self):
        super().__init__()
        self.setFixedHeight(TALL)
        self.setMinimumWidth(120)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.steps: Sequence[Step] = ()
        self.hues: Mapping[str, Sequence[float]] = {}
        self._key: tuple = ()
        self._strips: dict[float, QPixmap] = {}

    def show_steps(self, steps: Sequence[Step]) -> None:
        """Show operations; the range is for the caller to set."""
        self.steps, self._key = steps, ()
        self.update()

    def places(self) -> list[tuple[float, float]]:
        """Return where each operation's cell begins and ends, in pixels; layers stand apart."""
        n, layers = len(self.steps), [(step.stack, step.layer) for step in self.steps]
        breaks = sum(a != b for a, b in pairwise(layers))
        room = max(self.width() - 2 * EDGE, 1.0)
        apart = min(APART, 0.25 * room / max(breaks, 1))
        width = (room - apart * breaks) / max(n, 1)
        found, x = [], EDGE
        for i in range(n):
            if i and layers[i] != layers[i - 1]:
                x += apart
            found.append((x, x + width))
            x += width
        return found

    def number_at(self, x: float) -> int:
        """Return the operation whose cell lies nearest to x, -1 before the first."""
        places = self.places()
        if not places or x < places[0][0] - 1:
            return -1
        return min(range(len(places)), key=lambda i: max(places[i][0] - x, x - places[i][1], 0.0))

    def mousePressEvent(self, event) -> None:
        """Go to the operation under the mouse; Qt calls this."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.setValue(self.number_at(event.position().x()))

    def mouseMoveEvent(self, event) -> None:
        """Follow the mouse while its button is held; Qt calls this."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.setValue(self.number_at(event.position().x()))

    def paintEvent(self, event) -> None:
        """Paint; Qt calls this."""
        painter = QPainter(self)
        places, now = self.places(), self.value()
        middle = round(places[now][1]) if now >= 0 else 0
        # what has run is stronger than what is to come; neither changes from step to step
        for share, left, right in ((DONE, 0, middle), (QUIET, middle, self.width())):
            painter.setClipRect(left, 0, right - left, self.height())
            painter.drawPixmap(0, 0, self._strip(places, share))
        painter.setClipping(False)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if 0 <= now < len(places):
            left, right = places[now]
            self._cell(painter, now, left, right, 1.0)
            painter.setPen(QPen(self.palette().highlight().color(), 2))
            painter.drawRect(QRectF(left - 1.5, 2.5, max(right - left + 1, 4), CELL + 3))
        elif places:
            painter.setPen(QPen(self.palette().text().color(), 2))
            painter.drawLine(int(EDGE - 4), 3, int(EDGE - 4), int(CELL + 5))

    def _strip(self, places: Sequence[tuple[float, float]], share: float) -> QPixmap:
        """Return all cells with a share of their hues, and the layers' names, painted once for as long as they stay."""
        ratio = self.devicePixelRatioF()
        key = (id(self.hues), self.size(), ratio, self.palette().cacheKey(), self.font().key())
        if key != self._key:
            self._key, self._strips = key, {}
        if share not in self._strips:
            strip = QPixmap(self.size() * ratio)
            strip.setDevicePixelRatio(ratio)
            strip.fill(self.palette().window().color())
            painter = QPainter(strip)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setFont(self.font())
            for i, (left, right) in enumerate(places):
                self._cell(painter, i, left, right, share)
            self._names(painter, places)
            painter.end()
            self._strips[share] = strip
        return self._strips[share]

    def _cell(self, painter: QPainter, number: int, left: float, right: float, share: float) -> None:
        ground = self.palette().window().color()
        hue = QColor.fromRgbF(*self.hues.get(self.steps[number].kind, (0.5, 0.5, 0.5)))
        gap = 1.0 if right - left > 4 else 0.0
        painter.fillRect(QRectF(left, 4, max(right - left - gap, 0.8), CELL), mixed(ground, hue, share))

    def _names(self, painter: QPainter, places: Sequence[tuple[float, float]]) -> None:
        """Write each layer's name below its cells, as far as there is room."""
        font = painter.font()
        font.setPointSizeF(max(font.pointSizeF() * 0.8, 6.5))
        painter.setFont(font)
        painter.setPen(self.palette().placeholderText().color())
        free = 0.0
        for (stack, layer), group in groupby(
            range(len(self.steps)), key=lambda i: (self.steps[i].stack, self.steps[i].layer)
        ):
            members = list(group)
            left, right = places[members[0]][0], places[members[-1]][1]
            words = (
                [f"{stack}layer {layer}", f"{stack[:3]} {layer}".strip(), f"{layer}"]
                if layer is not None
                else []
            )
            for word in words:
                width = painter.fontMetrics().horizontalAdvance(word)
                if left >= free and width <= max(right - left, 14.0):
                    painter.drawText(QRectF(left, CELL + 6, width + 2, TALL - CELL - 6), 0, word)
                    free = left + width + 6
                    break


def mixed(one: QColor, other: QColor, share: float) -> QColor:
    """Return a colour between two."""
    a, b = one.getRgbF()[:3], other.getRgbF()[:3]
    return QColor.fromRgbF(*(x + (y - x) * share for x, y in zip(a, b, strict=True)))
