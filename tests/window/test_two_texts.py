"""Models that are no plain decoders in the window: T5 writes one text of another, and BERT writes none."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.session import Session
from tests.support.speaking_translator import speaking_bert, speaking_t5
from tests.window.hand import hand, key, mouse, place_of

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


@pytest.fixture
def reading(application, spin, settled, errors, tmp_path, monkeypatch):
    """Open windows in which a model has read "a cat sat", and close them in the end."""
    from refgguf.viz.app.window import ViewerWindow

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    opened = []

    def on(write) -> ViewerWindow:
        model = refgguf.load(write(tmp_path / "model.gguf"))
        window = ViewerWindow(session=Session(model, model.tokenize("a cat sat"), "a cat sat"))
        opened.append(window)
        window.resize(1100, 700)
        window.show()
        settled(window)
        return window

    yield on
    for window in opened:
        window.close()
    spin(seconds=0.1)


def typed(window, spin, field, text: str) -> None:
    """Type a text into a field, press Enter and wait for what comes of it."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    field.setFocus()
    field.selectAll()
    QTest.keyClicks(field, text)
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert spin(lambda: not window.running_now)


def test_a_decoder_writes_on(reading, spin):
    """N and a click on a bar lengthen what is written; what is read, and the prompt, stay."""
    window = reading(speaking_t5)
    read, wrote = list(window.session.ids), list(window.session.target)
    assert spin(window.target.isVisible)  # once Qt has laid the tools out anew
    assert window.target.text() == window.session.target_text
    best = int(np.argmax(window.scene.shown.trace["logits"][-1]))
    key(window, "N")
    assert spin(lambda: len(window.session.target) == len(wrote) + 1 and not window.running_now)
    assert (window.session.ids, window.session.target) == (read, [*wrote, best])
    token = window.live.bars.candidates[1].token
    hand(window.live.bars, "Click", 150, 19 + 9)
    assert spin(lambda: len(window.session.target) == len(wrote) + 2 and not window.running_now)
    assert window.session.target[-1] == token
    assert window.prompt.text() == "a cat sat"


def test_both_texts_can_be_typed(reading, spin):
    """What is typed as written is what the decoder has written; another text to read lets it write anew."""
    window = reading(speaking_t5)
    encode = window.session.model.tokenize
    typed(window, spin, window.target, "a dog")
    assert window.session.target == encode("a dog", add_special=False)
    assert window.session.prompt == "a cat sat"
    typed(window, spin, window.prompt, "sat")
    assert window.session.ids == encode("sat")
    assert len(window.session.target) == 12
    _, x, y = place_of(window, "pattern")
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None)
    assert "source 1 't'" in window.statusBar().currentMessage()


def test_an_encoder_has_no_next_token(reading, spin):
    """There are no buttons for it, its key says why, and a head can be switched off all the same."""
    window = reading(speaking_bert)
    for widget in (window.next_button, window.go_button, window.target, window.live_dock):
        assert not widget.isVisible()
    for name in "NG":
        key(window, name)
        assert "nothing of what comes next" in window.statusBar().currentMessage()
        assert not window.generating
    before = window.scene.shown.trace["pooled"].copy()
    _, x, y = place_of(window, "pattern")
    mouse(window, "Click", x, y)
    key(window, "Z")
    assert spin(lambda: bool(window.session.ablations) and not window.running_now)
    assert not np.array_equal(window.scene.shown.trace["pooled"], before)
    assert spin(window.off_button.isVisible)


def test_what_was_read_stands_before_what_is_written(reading, spin):
    """The tokens that were read lead the row and cannot be chosen; a click on one that is written chooses that."""
    window = reading(speaking_t5)
    tokens, read = window.timeline.tokens, window.scene.shown.source_texts
    assert [tokens.item(i).text() for i in range(len(read))] == [text.strip() for text in read]
    assert tokens.count() == len(read) + 1 + len(window.scene.shown.trace.tokens)
    assert tokens.currentRow() == tokens.count() - 1
    for row, chosen in ((1, None), (len(read) + 3, 2)):
        at = tokens.visualItemRect(tokens.item(row)).center()
        hand(tokens.viewport(), "Click", at.x(), at.y())
        assert spin(lambda: not window.running_now)
        assert window.scene.shown.marked == (chosen is not None)
    assert window.scene.shown.token_index == 2
    key(window, "N")
    assert spin(lambda: not window.scene.shown.marked and not window.running_now)
    assert len(window.session.target) == 3
