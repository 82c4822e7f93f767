"""A slider that goes to where it is pressed, and follows the mouse from there."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSlider, QStyle


class Scrubber(QSlider):
    """A horizontal slider for scrubbing."""

    def __init__(self):
        super().__init__(Qt.Orientation.Horizontal)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the window's keys are not for it

    def mousePressEvent(self, event) -> None:
        """Go to the mouse; Qt calls this."""
        if event.button() == Qt.MouseButton.LeftButton:
            handle = self.style().pixelMetric(QStyle.PixelMetric.PM_SliderLength, None, self)
            x, room = int(event.position().x() - handle / 2), self.width() - handle
            self.setValue(QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), x, room))
        super().mousePressEvent(event)  # the handle is under the mouse now, and is dragged
