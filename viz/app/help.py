"""The page of keys, beside the window or over it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from refgguf.viz.app.keys import help_page

ROOM = 44  # pixels around the page
MOST = 0.94  # of the window's size


class Help(QDialog):
    """Shows what keys and mouse do, while the window goes on; Escape or ? take it away."""

    def __init__(self, parent: QWidget):
        super().__init__(parent, windowTitle="Keys and mouse")
        self.page = QLabel(help_page())
        self.page.setMargin(12)
        inside = QScrollArea(frameShape=QFrame.Shape.NoFrame)
        inside.setWidget(self.page)
        inside.viewport().setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(inside)

    def show_over(self, window: QWidget) -> None:
        """Show it in the middle of a window, as large as it needs to be and the window allows."""
        most, wanted = window.size() * MOST, self.page.sizeHint()
        self.resize(min(wanted.width() + ROOM, most.width()), min(wanted.height() + ROOM, most.height()))
        middle = window.geometry().center()
        self.move(middle.x() - self.width() // 2, middle.y() - self.height() // 2)
        self.show()

    def keyPressEvent(self, event) -> None:
        """Take it away with the key that shows it; Qt calls this."""
        if event.text() in ("?", "h") or event.key() == Qt.Key.Key_Escape:
            self.hide()
        else:
            super().keyPressEvent(event)
