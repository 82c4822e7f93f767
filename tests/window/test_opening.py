"""What the window opens: a model beside itself, a file that is not run, what cannot be opened; and how it ends."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from tests.support.interruptible import interruptible
from tests.support.models import FAMILIES
from tests.window.hand import key, mouse, place_of

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


def test_closing_while_it_runs(application, spin, errors, tmp_path):
    """A window that is closed in the middle of a run stops it."""
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.session import Session

    model = refgguf.load(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = ViewerWindow(session=Session(model, [1, 2, 3]))
    window.show()
    window.close()
    spin(seconds=0.2)
    assert not window.running_now


def test_a_file_is_shown_without_running_it(application, spin, errors, tmp_path):
    """Without a prompt the weights are shown; hovering reads them, a click tells type and shape."""
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.facts import shown_of_file

    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = ViewerWindow(
        shown=shown_of_file(file, colour="values"), remark="this model cannot be run because"
    )
    window.resize(900, 640)
    window.show()
    assert spin(lambda: window.view.renderer is not None)
    assert window.statusBar().currentMessage() == "this model cannot be run because"
    spin(seconds=0.5)  # the panels that are not needed go, and the canvas grows
    _, x, y = place_of(window, "weight ffn")
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None)
    hit = window.view.hit
    tensor = file[window.scene.pieces.boxes[hit.box].plane.tap]
    assert hit.value == tensor.dequantize()[hit.index]
    assert window.statusBar().currentMessage().startswith(tensor.name)
    mouse(window, "Click", x, y)
    spin(seconds=0.2)
    assert tensor.name in window.inspector.head.text()
    assert tensor.type in window.inspector.head.text()
    key(window, "N")
    window.close()
    spin(seconds=0.1)


def opened(spin, opening):
    """Return a window that opens its model itself, once it shows it or has given up."""
    from refgguf.viz.app.window import ViewerWindow

    window = ViewerWindow(opening=opening)
    window.resize(900, 640)
    window.show()
    assert spin(lambda: not window.running_now)
    return window


def test_a_model_is_opened_beside_the_window(application, spin, errors, tmp_path, monkeypatch):
    """The window is there while the model loads; what cannot be opened closes it and is told to the caller."""
    import threading

    from refgguf.errors import InputError
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.session import Session
    from refgguf.viz.work import Opened

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path, go_on = FAMILIES["llama"]().write(tmp_path / "llama.gguf"), threading.Event()

    def opening(say):
        say("loading")
        assert go_on.wait(240)
        return Opened(session=Session(refgguf.load(path), [1, 2]))

    window = ViewerWindow(opening=opening)
    window.show()
    assert spin(lambda: window.statusBar().currentMessage().startswith("loading"))
    assert window.scene is None
    go_on.set()
    assert spin(lambda: window.scene is not None)
    assert window.session.ids == [1, 2]
    window.close()

    def failing(say):
        raise InputError("there is no layer 9")

    window = opened(spin, failing)
    assert str(window.failure) == "there is no layer 9"
    assert not window.isVisible()


def test_the_block_of_a_clicked_weight(application, spin, errors, tmp_path, monkeypatch):
    """The inspector shows the bytes of the weight's block and the arithmetic that ends in the value under the mouse."""
    from refgguf.viz.facts import shown_of_file
    from refgguf.viz.work import Opened
    from refgguf.weights.anatomy import block_anatomy

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = opened(spin, lambda say: Opened(shown=shown_of_file(file, colour="values")))
    assert spin(lambda: window.view.renderer is not None)
    spin(seconds=0.5)
    _, x, y = place_of(window, "weight ffn")
    mouse(window, "Click", x, y)
    hit = window.selected
    found = block_anatomy(file[window.scene.pieces.boxes[hit.box].plane.tap], *hit.index)
    said = window.inspector.value.text()
    assert found.weight.formula in said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert str(found.weight.value) in said
    window.close()


def asked(path, text: str | None = None):
    """Return what opens a file as the command line would."""
    from refgguf.cli.options import Prompt
    from refgguf.cli.view import opening_of
    from refgguf.cli.view_request import Request

    return opening_of(Request(str(path), Prompt(text=text)))


def test_a_file_is_seen_before_it_is_known_how_it_computes(application, spin, errors, tmp_path, monkeypatch):
    """The tensors come first, the edges between them when the model is understood; the view and selection stay."""
    from refgguf.viz.app.window import ViewerWindow

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = FAMILIES["llama"]().write(tmp_path / "llama.gguf")
    window = ViewerWindow(opening=asked(path))
    seen_first = []
    kept, window._show_result = window._show_result, lambda r: (seen_first.append(r.scene), kept(r))[1]
    window.show()
    assert spin(lambda: len(seen_first) == 2 and not window.running_now)
    first, second = seen_first
    assert not first.pieces.routes
    assert second.pieces.routes
    assert [b.origin for b in first.pieces.boxes] == [b.origin for b in second.pieces.boxes]
    window.close()


def test_a_model_that_cannot_be_run(application, spin, errors, tmp_path, monkeypatch):
    """Its tensors are shown, with or without a prompt, and the window says why they are all there is."""
    from tests.support.gguf_bytes import GGUFBytes

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    values = np.arange(64, dtype=np.float32)
    builder = GGUFBytes().key("general.architecture", "string", "perceptron")
    builder.tensor("blk.0.ffn_up.weight", "F32", (8, 8), values.tobytes())
    path = builder.write(tmp_path / "unknown.gguf")
    for text in (None, "Once upon a time"):
        window = opened(spin, asked(path, text))
        assert spin(lambda w=window: "cannot be run" in w.statusBar().currentMessage())
        assert "perceptron" in window.statusBar().currentMessage()
        window.statusBar().clearMessage()  # as soon as the mouse moves; the inspector goes on saying it
        assert "perceptron" in window.inspector.head.text()
        assert window.session is None
        window.find("blk.0.ffn_up.weight")
        window.close()


def test_keys_before_there_is_anything(application, spin, errors, tmp_path):
    """While the model loads every key does nothing, or says so; none is an error."""
    import threading

    from PySide6.QtTest import QTest

    from refgguf.errors import InputError
    from refgguf.viz.app.keys import KEYS
    from refgguf.viz.app.window import NAMES, ViewerWindow

    go_on = threading.Event()

    def opening(say):
        assert go_on.wait(240)
        raise InputError("nothing came of it")

    window = ViewerWindow(opening=opening)
    window.show()
    keys = {name: key for key, name in NAMES.items()}
    for name in KEYS:
        if name not in keys:
            QTest.keyClicks(window.canvas.native, name)
        elif name != "Escape":  # which would end the loading
            QTest.keyClick(window.canvas.native, keys[name])
    window.help.hide()
    go_on.set()
    assert spin(lambda: window.failure is not None)


def test_the_terminal_closes_the_window(application, tmp_path):
    """Ctrl-C in the terminal, or whoever ends the process, closes the window as its button does."""
    import signal
    import subprocess
    import sys

    path = FAMILIES["llama"]().write(tmp_path / "llama.gguf")
    code = "import sys; from refgguf.cli import main; print('up', flush=True); main(sys.argv[1:])"
    for number in (signal.SIGINT, signal.SIGTERM):
        process = interruptible(
            [sys.executable, "-c", PRINTS_WHEN_OPEN + code, "view", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "up\n"
        assert process.stdout.readline() == "open\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert "Traceback" not in said


PRINTS_WHEN_OPEN = """
import refgguf.viz.app.view as view
show = view.View.show_scene
view.View.show_scene = lambda *args, **words: (show(*args, **words), print("open", flush=True))[0]
"""


def test_a_prompt_for_a_file_that_has_not_run(application, spin, errors, tmp_path, monkeypatch):
    """A file that is only looked at takes a prompt once it is known that it can be run, and then shows the run."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    window = opened(spin, asked("demo"))
    assert spin(lambda: window.prompt.isVisible() and not window.running_now)
    assert window.session is None
    assert not window.next_button.isVisible()
    key(window, "I")
    assert window.focusWidget() is window.prompt
    window.prompt.setText("Mia had a red kite.")
    window.prompt.returnPressed.emit()
    assert spin(lambda: window.session is not None and not window.running_now)
    assert window.scene.shown.facts.prompt == "Mia had a red kite."
    assert spin(window.next_button.isVisible)
    assert spin(lambda: window.view.camera == window.view.home)  # of the run, not of the file
    window.close()
