"""The window in unusual sizes: nothing is hidden that there is room for, and the mouse hits what it points at."""

from __future__ import annotations

import numpy as np
import pytest

from tests.window.hand import key, mouse, place_of

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


@pytest.mark.parametrize("size", [(400, 300), (640, 480), (1400, 850)])
def test_a_window_of_any_size(window, spin, size):
    """It becomes as small as it is asked to, the scene stays whole in it, and hover finds the box under the mouse."""
    window.resize(*size)
    spin(seconds=0.6)
    assert (window.width(), window.height()) == size
    width, height = window.canvas.pixels()
    corners = [(*box.origin[:2], box.origin[2] + box.size[2]) for box in window.scene.pieces.boxes]
    seen = window.view.camera.project(np.array(corners), (width, height))
    assert ((seen[:, :2] >= 0) & (seen[:, :2] <= (width, height))).all()
    number, x, y = place_of(window, "spine")
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None and window.view.hit.box == number)
    roomy = size[1] > 600
    assert window.live.bars.isVisible()
    assert window.live.words.isVisible() == roomy
    assert window.live.heat.isVisible() or not roomy


def test_what_there_is_no_room_to_type_into(window, spin):
    """Where the window is too narrow for the search box, a dialog takes what is typed: no key means something else."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QInputDialog, QLineEdit

    window.resize(400, 300)
    assert spin(lambda: not window.search.isVisible(), 20)
    before = window.scene
    key(window, "Slash")
    assert spin(lambda: window.findChild(QInputDialog) is not None, 5)
    dialog = window.findChild(QInputDialog)
    assert dialog.isVisible()
    QTest.keyClicks(dialog.findChild(QLineEdit), "blk.1.attn_probs")
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert spin(lambda: window.selected is not None, 5)
    assert window.scene.pieces.boxes[window.selected.box].plane.tap == "blk.1.attn_probs"
    assert window.search.text() == "blk.1.attn_probs"
    assert spin(lambda: window.findChild(QInputDialog) is None, 5)
    assert window.scene is before
    window.resize(1400, 800)
    assert spin(window.search.isVisible, 20)
    key(window, "Slash")
    assert window.search.selectedText() == "blk.1.attn_probs"  # the next text takes its place
