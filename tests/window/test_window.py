"""The window: it runs a model beside itself, and mouse and keys do what they should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import refgguf
from refgguf.viz.inspect import place_words
from tests.support.models import FAMILIES

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


def place_of(window, role: str, share=(0.5, 0.5)):
    """Return the number of a box with a role, and where on the canvas a part of its front is."""
    boxes = window.scene.pieces.boxes
    number = next(i for i, b in enumerate(boxes) if b.role == role)
    point = np.array(boxes[number].origin) + np.array(boxes[number].size) * (*share, 1.0)
    x, y, _ = window.view.camera.project(point[None], window.canvas.pixels())[0]
    return number, int(x / window.canvas.scale()), int(y / window.canvas.scale())


def mouse(window, action: str, x: int, y: int):
    """Let Qt send a mouse event to the canvas."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    at = QPoint(x, y)
    if action == "move":
        QTest.mouseMove(window.canvas.native, at)
    else:
        left, plain = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        getattr(QTest, f"mouse{action}")(window.canvas.native, left, plain, at)


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


def test_the_scene_is_seen(window, spin):
    """Once the model has run, the canvas shows the scene, and it is as large as the canvas."""
    spin(seconds=0.3)
    picture = seen(window)
    assert picture.shape[1::-1] == window.canvas.pixels()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 300


def test_hovering_reads_the_value_under_the_cursor(window, spin):
    """The status bar names tensor, place and value of what lies below the mouse."""
    number, x, y = place_of(window, "neurons", (0.3, 0.6))
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None, 5)
    hit = window.view.hit
    assert hit.box == number
    tensor = window.scene.shown.trace.tensor(window.scene.pieces.boxes[number].plane.tap)
    said = window.statusBar().currentMessage()
    assert said.startswith(tensor.name)
    assert place_words(tensor, hit.index, window.scene.shown.trace.token_texts) in said
    assert f"{tensor.values[hit.index]:.6g}" in said


def test_a_click_inspects_and_lights_up_the_flow(window, spin):
    """After a click the inspector tells of the tensor, and the rest of the scene steps back."""
    _, x, y = place_of(window, "neurons")
    mouse(window, "Click", x, y)
    spin(seconds=0.2)
    assert window.selected is not None
    assert "ffn_act" in window.inspector.head.text()
    assert window.view.renderer.focus == 1.0
    assert window.view.renderer.slabs.marks[:, 2].sum() >= 2


def test_dragging_turns_and_the_picture_changes(window, spin):
    """A drag with the left button turns the camera by its length."""
    spin(seconds=0.2)
    before, picture = window.view.camera, seen(window)
    mouse(window, "Press", 200, 150)
    for i in range(1, 6):
        mouse(window, "move", 200 + 12 * i, 150)
        spin(seconds=0.04)
    mouse(window, "Release", 260, 150)
    spin(seconds=0.3)
    assert window.view.camera.azimuth < before.azimuth - 5
    assert (seen(window) != picture).any()
    key(window, "O")
    assert spin(lambda: window.view.camera == window.view.home, 10)


def test_double_clicks_go_deeper_and_backspace_comes_back(window, spin):
    """Layer, head, box, cell: each double click shows the box larger, Backspace leads the same way back."""
    number, _, _ = place_of(window, "pattern")

    def width() -> float:
        box = window.scene.pieces.boxes[number]
        ends = np.array([box.origin, (box.right, box.bottom, box.origin[2])])
        return float(np.ptp(window.view.camera.project(ends, window.canvas.pixels())[:, 0]))

    spin(seconds=0.3)
    widths = [width()]
    for level in ("layer", "head", "box", "cell"):
        _, x, y = place_of(window, "pattern", (0.4, 0.6))
        mouse(window, "DClick", x, y)
        assert window.place.level == level
        assert spin(lambda: window.view._flight is None, 10)
        widths.append(width())
    assert all(b > a for a, b in pairwise(widths))
    for level in ("box", "head", "layer", "overview"):
        press(window, "Backspace")
        assert window.place.level == level
    assert spin(lambda: window.view.camera == window.view.home, 10)


def test_stepping_through_the_operations(window, spin):
    """The arrow keys go from operation to operation; what each makes and is made from is in focus."""
    steps = window.timeline.steps
    assert [s.tap for s in steps] == [
        n for n in window.scene.shown.trace.names if n in {s.tap for s in steps}
    ]
    key(window, "Right")
    key(window, "Right")
    spin(seconds=0.2)
    assert window.timeline.slider.value() == 1
    focus = set(np.flatnonzero(window.view.renderer.slabs.marks[:, 2]))
    assert focus == steps[1].boxes | steps[1].inputs
    key(window, "Home")
    spin(seconds=0.1)
    assert window.view.renderer.focus == 0.0


def test_choosing_a_token_shows_its_prediction(window, spin):
    """A click on a token marks its row and shows what follows it."""
    window.timeline.token_chosen.emit(1)
    assert spin(lambda: window.scene.shown.marked, 20)
    assert window.scene.shown.token_index == 1
    assert " after " in window.scene.shown.facts.outcome


def test_switching_a_head_off_changes_what_follows(window, spin):
    """Key Z puts zeros in the selected head's output, everything after it changes, and again brings it back."""
    before = dict(window.scene.shown.trace)
    number, x, y = place_of(window, "pattern")
    head = window.scene.pieces.boxes[number].head
    for round_, zero in ((0, True), (1, False)):
        number, x, y = place_of(window, "pattern")
        mouse(window, "Click", x, y)
        spin(seconds=0.2)
        key(window, "Z")
        assert spin(lambda: not window.running_now, 60)
        now = window.scene.shown.trace
        assert (not now["blk.0.attn_z"][:, head].any()) == zero
        assert np.array_equal(now["blk.0.attn_probs"], before["blk.0.attn_probs"])
        assert np.array_equal(now["logits"], before["logits"]) != zero
        assert round_ in (0, 1)


def test_the_next_token_is_appended(window, spin):
    """The most likely token is appended and run."""
    best = int(np.argmax(window.scene.shown.trace["logits"][-1]))
    key(window, "N")
    assert spin(lambda: not window.running_now, 60)
    assert window.scene.shown.trace.tokens.tolist() == [1, 2, 3, best]
    assert window.timeline.tokens.count() == 4


def test_finding_a_tensor(window, spin):
    """The search box understands names of all three vocabularies and says when there is none."""
    for name in ("blk.1.ffn_act", "kq_soft_max-1", "blocks.0.attn.hook_q"):
        window.find(name)
        assert window.view.renderer.focus == 1.0, name
    window.find("no such thing")
    assert "nothing in the picture is called" in window.statusBar().currentMessage()


def test_changing_the_theme(window, spin):
    """Key L makes the ground dark."""
    key(window, "L")
    assert spin(lambda: window.scene.theme.name == "dark", 20)
    spin(seconds=0.4)
    assert window.palette().window().color().lightness() < 60
    assert seen(window)[5, 5].max() < 40


def test_saving_what_is_seen(window, spin, tmp_path):
    """The picture that is saved has the size of the canvas."""
    from PIL import Image

    target = window.save(str(tmp_path / "seen.png"))
    with Image.open(target) as picture:
        assert picture.size == window.canvas.pixels()
    spin(seconds=0.2)
    assert window.save(str(tmp_path / "no" / "seen.png")) is None
    assert "does not exist" in window.statusBar().currentMessage()


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


def test_a_run_that_fails_says_why(window, spin):
    """An id outside the vocabulary becomes a sentence in the status bar; what was shown stays."""
    from dataclasses import replace

    scene = window.scene
    window.run(replace(window.session, ids=[10**6]))
    assert spin(lambda: not window.running_now, 30)
    assert "1000000" in window.statusBar().currentMessage().replace(",", "")
    assert window.scene is scene


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
    assert spin(lambda: window.view.renderer is not None, 30)
    assert window.statusBar().currentMessage() == "this model cannot be run because"
    spin(seconds=0.5)  # the panels that are not needed go, and the canvas grows
    _, x, y = place_of(window, "weight ffn")
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None, 5)
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
    assert spin(lambda: not window.running_now, 60)
    return window


def test_a_model_is_opened_beside_the_window(application, spin, errors, tmp_path, monkeypatch):
    """The window is there while the model loads; what cannot be opened closes it and is told to the caller."""
    import threading

    from refgguf.errors import InputError
    from refgguf.viz.app.jobs import Opened
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.session import Session

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path, go_on = FAMILIES["llama"]().write(tmp_path / "llama.gguf"), threading.Event()

    def opening(say):
        say("loading")
        assert go_on.wait(60)
        return Opened(session=Session(refgguf.load(path), [1, 2]))

    window = ViewerWindow(opening=opening)
    window.show()
    assert spin(lambda: window.statusBar().currentMessage().startswith("loading"), 20)
    assert window.scene is None
    go_on.set()
    assert spin(lambda: window.scene is not None, 60)
    assert window.session.ids == [1, 2]
    window.close()

    def failing(say):
        raise InputError("there is no layer 9")

    window = opened(spin, failing)
    assert str(window.failure) == "there is no layer 9"
    assert not window.isVisible()


def test_the_distribution_moves_with_the_temperature(window, spin):
    """At 0 one token has everything; hotter, the best has less and less; the bars are the softmax of the logits."""
    logits = window.scene.shown.trace["logits"][-1].astype(np.float64)
    best = []
    for temperature in (0.0, 0.5, 2.0):
        window.live.temperature.setValue(temperature)
        best.append(window.live.bars.candidates[0].share)
    assert best[0] == 1.0 > best[1] > best[2]
    shares = np.exp((logits - logits.max()) / 2.0)
    assert best[2] == pytest.approx(float((shares / shares.sum()).max()))
    assert window.session.temperature == 2.0


def test_before_and_after_switching_off(window, spin):
    """With a block switched off by Ctrl click the bars tell what they were with nothing switched off; X restores."""
    whole = window.scene.shown.trace["logits"][-1]
    window.live.temperature.setValue(1.0)
    _, x, y = place_of(window, "neurons")
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    control = Qt.KeyboardModifier.ControlModifier
    QTest.mouseClick(window.canvas.native, Qt.MouseButton.LeftButton, control, QPoint(x, y))
    assert spin(lambda: bool(window.session.ablations) and not window.running_now, 60)
    spin(seconds=0.1)
    assert not window.scene.shown.trace["blk.0.ffn_out"].any()
    shares = window.session.probabilities(whole)
    for candidate in window.live.bars.candidates:
        assert candidate.before == pytest.approx(float(shares[candidate.token]))
    assert "blk.0.ffn_out" in window.live.words.text()
    key(window, "X")
    assert spin(lambda: not window.session.ablations and not window.running_now, 60)
    assert np.array_equal(window.scene.shown.trace["logits"][-1], whole)


def test_typing_a_prompt_runs_it(window, spin):
    """A model without a tokenizer says so in one sentence; tokens of bars that are clicked are appended."""
    token = window.live.bars.candidates[0].token
    window.live.bars.chosen.emit(token)
    assert spin(lambda: not window.running_now and len(window.session.ids) == 4, 60)
    assert window.session.ids == [1, 2, 3, token]


def test_views_are_kept_for_the_next_session(window, spin, tmp_path):
    """Ctrl and a number keeps a view in the user's folder, the number brings it back; a bad file is one sentence."""
    from refgguf.viz.settings import Settings

    name = window.scene.shown.facts.name
    press(window, "3")
    assert "no view is kept under 3" in window.statusBar().currentMessage()
    kept = window.view.camera
    press(window, "3", "ControlModifier")
    assert Settings().view(name, "3") == kept
    key(window, "V")
    assert spin(lambda: window.view._flight is None and window.view.camera != kept, 10)
    press(window, "3")
    assert spin(lambda: window.view.camera == kept, 10)
    Settings().path.write_text("{not json", encoding="utf-8")
    assert "cannot be read" in Settings().complaint
    assert Settings().view(name, "3") is None


def test_flying_with_keys(window, spin):
    """While W is held the camera moves forward; it stops when the key is let go."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    before = window.view.camera
    QTest.keyPress(window.canvas.native, Qt.Key.Key_W)
    assert spin(lambda: window.view.camera != before, 5)
    QTest.keyRelease(window.canvas.native, Qt.Key.Key_W)
    spin(seconds=0.1)
    moved = np.array(window.view.camera.target) - np.array(before.target)
    assert moved @ before.backward < 0
    still = window.view.camera
    spin(seconds=0.2)
    assert window.view.camera == still


def test_the_hint_of_the_first_start(window, spin):
    """It is there at the first start, a click takes it away, and it is not there the next time."""
    from refgguf.viz.settings import Settings

    assert window.hint.isVisible()
    mouse(window, "Click", 5, 5)
    assert not window.hint.isVisible()
    assert Settings().hint_seen


def test_the_block_of_a_clicked_weight(application, spin, errors, tmp_path, monkeypatch):
    """The inspector shows the bytes of the weight's block and the arithmetic that ends in the value under the mouse."""
    from refgguf.viz.app.jobs import Opened
    from refgguf.viz.facts import shown_of_file
    from refgguf.weights.anatomy import block_anatomy

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = opened(spin, lambda say: Opened(shown=shown_of_file(file, colour="values")))
    assert spin(lambda: window.view.renderer is not None, 30)
    spin(seconds=0.5)
    _, x, y = place_of(window, "weight ffn")
    mouse(window, "Click", x, y)
    hit = window.selected
    found = block_anatomy(file[window.scene.pieces.boxes[hit.box].plane.tap], *hit.index)
    said = window.inspector.value.text()
    assert found.weight.formula in said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert str(found.weight.value) in said
    window.close()


def test_attention_as_arcs_of_the_selected_head(window, spin):
    """Key C draws the selected head's attention as arcs, and again takes them away."""
    number, x, y = place_of(window, "pattern")
    mouse(window, "Click", x, y)
    key(window, "C")
    assert spin(lambda: window.scene.shown.arcs is not None, 20)
    box = window.scene.pieces.boxes[number]
    assert (window.scene.shown.arcs.layer, window.scene.shown.arcs.head) == (box.layer, box.head)
    spin(seconds=0.3)
    key(window, "C")
    assert spin(lambda: window.scene.shown.arcs is None, 20)
