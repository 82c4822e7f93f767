"""What a hand does to the window: Qt sends the mouse and keys to the canvas."""

from __future__ import annotations

import numpy as np


def place_of(window, role: str, share=(0.5, 0.5)):
    """Return the number of a box with a role, and where on the canvas a part of its front is."""
    boxes = window.scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == role)
    point = np.array(boxes[number].origin) + np.array(boxes[number].size) * (*share, 1.0)
    x, y, _ = window.view.camera.project(point[None], window.canvas.pixels())[0]
    return number, int(x / window.canvas.scale()), int(y / window.canvas.scale())


def mouse(window, action: str, x: int, y: int, button: str = "LeftButton"):
    """Let Qt send a mouse event to the canvas."""
    hand(window.canvas.native, action, x, y, button)


def hand(widget, action: str, x: int, y: int, button: str = "LeftButton"):
    """Let Qt send a mouse event to any widget."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    at = QPoint(x, y)
    if action == "move":
        QTest.mouseMove(widget, at)
    else:
        pressed, plain = getattr(Qt.MouseButton, button), Qt.KeyboardModifier.NoModifier
        getattr(QTest, f"mouse{action}")(widget, pressed, plain, at)


def key(window, name: str):
    """Let Qt send a key to the canvas."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    QTest.keyClick(window.canvas.native, getattr(Qt.Key, f"Key_{name}"))


def press(window, name: str, modifier: str = "NoModifier"):
    """Let Qt send a key with a modifier to the canvas."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    modifiers = getattr(Qt.KeyboardModifier, modifier)
    QTest.keyClick(window.canvas.native, getattr(Qt.Key, f"Key_{name}"), modifiers)


def seen(window) -> np.ndarray:
    """Return the pixels of the canvas."""
    image = window.canvas.native.grabFramebuffer().convertToFormat(image_format())
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return data[:, : 4 * image.width()].reshape(image.height(), image.width(), 4)[..., :3].copy()


def image_format():
    """Return Qt's name for 8-bit RGBA."""
    from PySide6.QtGui import QImage

    return QImage.Format.Format_RGBA8888


def drag(window, spin, start, end, *, steps: int = 6, button: str = "LeftButton", widget=None):
    """Press, move and let go; the canvas drops what moves faster than it looks."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    widget = window.canvas.native if widget is None else widget
    button, plain = getattr(Qt.MouseButton, button), Qt.KeyboardModifier.NoModifier
    QTest.mousePress(widget, button, plain, QPoint(*start))
    for i in range(1, steps + 1):
        at = (a + (b - a) * i // steps for a, b in zip(start, end, strict=True))
        QTest.mouseMove(widget, QPoint(*at))
        spin(seconds=0.04)
    QTest.mouseRelease(widget, button, plain, QPoint(*end))
