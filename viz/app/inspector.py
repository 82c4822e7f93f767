"""The inspector: one tensor in words, a heat map, a histogram, its extremes, and how one value came about."""

from __future__ import annotations

import html

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from refgguf.errors import RefggufError
from refgguf.trace import TracedTensor
from refgguf.viz.inspect import (
    Statistics,
    Sum,
    Term,
    attended,
    names_of,
    place_words,
    shape_words,
    statistics,
    sum_of,
)
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.colours import colour_of
from refgguf.viz.scene.overlay import number
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.predictions import percent, quoted
from refgguf.viz.state import ShownFile

WIDTH = 340
MOST_MEASURED = 4_000_000  # weights that figures are taken from


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
    """Tells of one tensor."""

    def __init__(self):
        super().__init__()
        self.setWidgetResizable(True)
        self.setMinimumWidth(WIDTH + 24)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.head, self.value, self.figures = QLabel(), QLabel(), QLabel()
        self.picture, self.histogram = Picture(), Histogram()
        inside = QWidget()
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
        self.clear()

    def clear(self) -> None:
        """Tell how to begin."""
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
        if isinstance(scene.shown, ShownFile):
            self._show_weight(scene, hit)
        else:
            self._show_tensor(scene, hit)

    def _show_weight(self, scene: Scene, hit: Hit) -> None:
        box = scene.pieces.boxes[hit.box]
        tensor = scene.shown.file[box.plane.tap]
        shape = " × ".join(f"{n:,}" for n in tensor.shape)
        bits = f"{tensor.bits_per_value:.4g} bits a weight" if tensor.bits_per_value else ""
        used = [t.name for t in scene.shown.taps.values() if tensor.name in t.weights]
        self.head.setText(
            f"<h3 style='margin:0'>{html.escape(tensor.name)}</h3><p><b>{shape}</b><br>"
            f"{html.escape(tensor.type)}, {bits}, {tensor.nbytes:,} bytes</p>{_line('makes', ', '.join(used))}"
        )
        place = ", ".join(str(i) for i in hit.index or ())
        said = "cannot be decoded" if hit.value is None else f"{hit.value:.6g}"
        self.value.setText(f"<p>[{place}]<br><b style='font-size:large'>{said}</b></p>")
        rows = slice(
            box.plane.first, box.plane.first + min(box.plane.n_rows, max(1, MOST_MEASURED // tensor.d_in))
        )
        try:
            values = tensor.dequantize(rows)
        except RefggufError as error:
            self.histogram.hide()
            self.figures.setText(f"<p>{html.escape(str(error))}</p>")
            return
        self._show_figures(scene, hit, statistics(values), "")

    def _show_tensor(self, scene: Scene, hit: Hit) -> None:
        box = scene.pieces.boxes[hit.box]
        trace = scene.shown.trace
        tensor = trace.tensor(box.plane.tap)
        names = "".join(
            f"<tr><td style='padding-right:8px'>{vocabulary}</td><td><code>{html.escape(name)}</code></td></tr>"
            for vocabulary, name in names_of(tensor)
        )
        title = html.escape(box.title or tensor.name)
        self.head.setText(
            f"<h3 style='margin:0'>{title}</h3><p>{html.escape(tensor.meaning)}</p>"
            f"<table>{names}</table><p><b>{html.escape(shape_words(tensor))}</b></p>"
            f"{_line('how', tensor.formula)}{_line('from', ', '.join(tensor.inputs))}"
            f"{_line('with', ', '.join(tensor.weights))}"
        )
        self._show_value(scene, hit)
        found = statistics(tensor.values)
        self._show_figures(
            scene, hit, found, "" if found is None else _extremes(found, tensor, trace.token_texts)
        )

    def _show_figures(self, scene: Scene, hit: Hit, found: Statistics | None, extremes: str) -> None:
        self.histogram.setVisible(found is not None)
        if found is None:
            self.figures.setText("<p>holds no finite number</p>")
            return
        hue = scene.theme.hues[scene.scale(scene.pieces.boxes[hit.box]).kind]
        self.histogram.show_counts(found.counts, QColor.fromRgbF(*hue))
        self.figures.setText(_figures(found) + extremes)

    def _show_value(self, scene: Scene, hit: Hit) -> None:
        box = scene.pieces.boxes[hit.box]
        trace = scene.shown.trace
        if hit.index is None:
            self.value.setText("<p>Nothing was computed here: the token went to other experts.</p>")
            return
        tensor = trace.tensor(box.plane.tap)
        place = html.escape(place_words(tensor, hit.index, trace.token_texts))
        parts = sum_of(trace, tensor.name, hit.index, self.weights)
        keys = _keys_words(attended(tensor, hit.index, trace.token_texts), scene.theme.hues["attention"])
        said = f"<b style='font-size:large'>{hit.value:.6g}</b>"
        self.value.setText(f"<p>{place}<br>{said}</p>{keys}{_sum_words(parts)}")


def _line(word: str, text: str) -> str:
    return f"<p style='margin:2px 0'>{word}: <code>{html.escape(text)}</code></p>" if text else ""


def _keys_words(keys: list[Term], hue: tuple[float, float, float]) -> str:
    """Write which tokens a query takes from, each with a bar as long as its share."""
    if not keys:
        return ""
    colour = QColor.fromRgbF(*hue).name()
    rows = "".join(
        f"<tr><td align='right' style='padding-right:8px'>{html.escape(quoted(t.name))}</td>"
        f"<td><span style='background-color:{colour}'>{'&nbsp;' * max(1, round(t.value * 30))}</span> "
        f"{html.escape(percent(t.value))}</td></tr>"
        for t in keys
    )
    return f"<p style='margin-bottom:0'>this token takes from</p><table>{rows}</table>"


def _sum_words(parts: Sum | None) -> str:
    if parts is None:
        return ""
    rows = "".join(
        f"<tr><td align='right' style='padding-right:8px'>{number(t.value)}</td><td>{html.escape(t.name)}</td></tr>"
        for t in parts.terms
    )
    more = parts.n_terms - len(parts.terms)
    if more > 0:
        rows += f"<tr><td align='right' style='padding-right:8px'>{number(parts.rest)}</td><td>{more:,} more</td></tr>"
    return f"<p style='margin-bottom:0'>the sum of</p><table>{rows}</table>"


def _figures(found: Statistics) -> str:
    odd = f"<br>{found.n_nan:,} NaN, {found.n_infinite:,} infinite" if found.n_nan or found.n_infinite else ""
    return (
        f"<p>{number(found.minimum)} … {number(found.maximum)}, mean {number(found.mean)} ± {number(found.deviation)}, "
        f"{found.zeros:.1%} zero{odd}</p>"
    )


def _extremes(found: Statistics, tensor: TracedTensor, token_texts: list[str]) -> str:
    rows = "".join(
        f"<tr><td align='right' style='padding-right:8px'>{number(float(tensor.values[at]))}</td>"
        f"<td>{html.escape(place_words(tensor, at, token_texts))}</td></tr>"
        for at in (*found.highest, *reversed(found.lowest))
    )
    return f"<p style='margin-bottom:0'>farthest out</p><table>{rows}</table>"
