"""The page of keys, as a card over the canvas."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from refgguf.viz.app.keys import help_page

ROOM = 34  # pixels around the page
MOST = 0.94  # of the window's size


class Help(QFrame):
    """Shows what keys and mouse do, over a window that goes on; a click, Escape or ? take it away."""

    def __init__(self, parent: QWidget):
        super().__init__(parent)
        self.setObjectName("help")
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.page = QLabel(help_page())
        self.page.setObjectName("keys")
        inside = QScrollArea(frameShape=QFrame.Shape.NoFrame)
        inside.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inside.setWidget(self.page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 10, 14, 14)
        layout.addWidget(inside)
        self.hide()

    def place(self) -> None:
        """Put it into the middle of its window, as large as it needs to be and the window allows."""
        room, wanted = self.parentWidget().size(), self.page.sizeHint()
        self.page.resize(wanted)
        width = min(wanted.width() + ROOM, int(room.width() * MOST))
        height = min(wanted.height() + ROOM, int(room.height() * MOST))
        self.setGeometry((room.width() - width) // 2, (room.height() - height) // 2, width, height)

    def show_over(self) -> None:
        """Show it above everything else in its window."""
        self.place()
        self.show()
        self.raise_()

    def mousePressEvent(self, event) -> None:
        """Take it away; Qt calls this."""
        self.hide()
