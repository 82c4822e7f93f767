"""Keys go to the picture, wherever the mouse has clicked beside it; only where one types do they go to a text."""

from __future__ import annotations

import pytest

from tests.window.hand import hand, key

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


def test_a_click_beside_the_picture_keeps_the_keys_there(application, window, spin):
    """After a click on any panel the arrow keys still step, and what was marked with the mouse can be copied."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    window.activateWindow()
    window.canvas.native.setFocus()
    key(window, "Right")
    spin(seconds=0.3)  # the inspector tells of the operation
    panels = (window.inspector.head, window.inspector.viewport(), window.live.words, window.timeline.words)
    for panel in (*panels, window.timeline.tokens.viewport(), window.timeline.slider):
        hand(panel, "Click", 4, 4)
        assert window.focusWidget() is window.canvas.native, panel
    window.inspector.head.setSelection(0, 5)
    QTest.keyClick(window.canvas.native, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == window.inspector.head.selectedText() != ""
    assert window.scene.shown.arcs is None  # that is C alone
