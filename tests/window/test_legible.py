"""Whatever characters a token has, the window's words tell which they are."""

from __future__ import annotations

import pytest

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


def test_what_no_font_has_is_written_as_its_code_point(application, window):
    """Text that a font has stays; a character that none has can still be told, in chips, bars and the inspector."""
    from refgguf.viz.app.legible import legible

    assert legible("Tom → × ² é") == "Tom → × ² é"
    nobodys = "\U0010abcd"  # for private use
    assert legible(f"a{nobodys}b") == "a‹10ABCD›b"
    window.timeline.show_run([nobodys, "x"], 1, [])
    assert window.timeline.tokens.item(0).text() in ("‹10ABCD›", "\\x10abcd")
    window.inspector.head.setText(f"<b>{nobodys}</b>")
    assert window.inspector.head.text() == "<b>‹10ABCD›</b>"
