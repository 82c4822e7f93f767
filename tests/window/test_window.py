"""The window: it runs a model beside itself, and mouse and keys do what they should."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.inspect import place_words

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
    x, y, _ = window.canvas.camera.project(point[None], window.canvas.look_size())[0]
    return number, int(x / window.canvas.pixel_scale), int(y / window.canvas.pixel_scale)


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
    assert picture.shape[1::-1] == window.canvas.look_size()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 300


def test_hovering_reads_the_value_under_the_cursor(window, spin):
    """The status bar names tensor, place and value of what lies below the mouse."""
    number, x, y = place_of(window, "neurons", (0.3, 0.6))
    mouse(window, "move", x, y)
    assert spin(lambda: window.canvas.hit is not None, 5)
    hit = window.canvas.hit
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
    assert window.canvas.renderer.focus == 1.0
    assert window.canvas.renderer.slabs.marks[:, 2].sum() >= 2


def test_dragging_turns_and_the_picture_changes(window, spin):
    """A drag with the left button turns the camera by its length."""
    spin(seconds=0.2)
    before, picture = window.canvas.camera, seen(window)
    mouse(window, "Press", 200, 150)
    for i in range(1, 6):
        mouse(window, "move", 200 + 12 * i, 150)
        spin(seconds=0.04)
    mouse(window, "Release", 260, 150)
    spin(seconds=0.3)
    assert window.canvas.camera.azimuth < before.azimuth - 5
    assert (seen(window) != picture).any()
    key(window, "O")
    assert spin(lambda: window.canvas.camera == window.canvas.home, 10)


def test_a_double_click_goes_to_the_box(window, spin):
    """After a double click the box is much larger on the screen."""
    number, x, y = place_of(window, "pattern")

    def width() -> float:
        box = window.scene.pieces.boxes[number]
        ends = np.array([box.origin, (box.right, box.bottom, box.origin[2])])
        return float(np.ptp(window.canvas.camera.project(ends, window.canvas.look_size())[:, 0]))

    before = width()
    mouse(window, "Click", x, y)
    mouse(window, "DClick", x, y)
    assert spin(lambda: width() > 2 * before, 10)


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
    focus = set(np.flatnonzero(window.canvas.renderer.slabs.marks[:, 2]))
    assert focus == steps[1].boxes | steps[1].inputs
    key(window, "Home")
    spin(seconds=0.1)
    assert window.canvas.renderer.focus == 0.0


def test_choosing_a_token_shows_its_prediction(window, spin):
    """A click on a token marks its row and shows what follows it."""
    window.timeline.token_chosen.emit(1)
    spin(seconds=0.3)
    assert window.scene.shown.marked
    assert window.scene.shown.token_index == 1
    assert " after " in window.scene.shown.facts.outcome


def test_switching_a_head_off_changes_what_follows(window, spin):
    """Key 0 puts zeros in the selected head's output, everything after it changes, and again brings it back."""
    before = dict(window.scene.shown.trace)
    number, x, y = place_of(window, "pattern")
    head = window.scene.pieces.boxes[number].head
    for round_, zero in ((0, True), (1, False)):
        number, x, y = place_of(window, "pattern")
        mouse(window, "Click", x, y)
        spin(seconds=0.2)
        key(window, "0")
        assert spin(lambda: window.runner is None, 60)
        now = window.scene.shown.trace
        assert (not now["blk.0.attn_z"][:, head].any()) == zero
        assert np.array_equal(now["blk.0.attn_probs"], before["blk.0.attn_probs"])
        assert np.array_equal(now["logits"], before["logits"]) != zero
        assert round_ in (0, 1)


def test_the_next_token_is_appended(window, spin):
    """The most likely token is appended and run."""
    best = int(np.argmax(window.scene.shown.trace["logits"][-1]))
    key(window, "N")
    assert spin(lambda: window.runner is None, 60)
    assert window.scene.shown.trace.tokens.tolist() == [1, 2, 3, best]
    assert window.timeline.tokens.count() == 4


def test_finding_a_tensor(window, spin):
    """The search box understands names of all three vocabularies and says when there is none."""
    for name in ("blk.1.ffn_act", "kq_soft_max-1", "blocks.0.attn.hook_q"):
        window.find(name)
        assert window.canvas.renderer.focus == 1.0, name
    window.find("no such thing")
    assert "nothing in the picture is called" in window.statusBar().currentMessage()


def test_changing_the_theme(window, spin):
    """Key D makes the ground dark."""
    key(window, "D")
    spin(seconds=0.4)
    assert window.scene.theme.name == "dark"
    assert seen(window)[5, 5].max() < 40


def test_saving_what_is_seen(window, spin, tmp_path):
    """The picture that is saved has the size of the canvas."""
    from PIL import Image

    target = window.save(str(tmp_path / "seen.png"))
    with Image.open(target) as picture:
        assert picture.size == window.canvas.look_size()
    spin(seconds=0.2)
    assert window.save(str(tmp_path / "no" / "seen.png")) is None
    assert "does not exist" in window.statusBar().currentMessage()


def test_closing_while_it_runs(application, spin, errors, tmp_path):
    """A window that is closed in the middle of a run stops it."""
    import refgguf
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.session import Session
    from tests.support.models import FAMILIES

    model = refgguf.load(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = ViewerWindow(session=Session(model, [1, 2, 3]))
    window.show()
    window.close()
    spin(seconds=0.2)
    assert window.runner is None


def test_a_run_that_fails_says_why(window, spin):
    """An id outside the vocabulary becomes a sentence in the status bar; what was shown stays."""
    from dataclasses import replace

    scene = window.scene
    window.run(replace(window.session, ids=[10**6]))
    assert spin(lambda: window.runner is None, 30)
    assert "1000000" in window.statusBar().currentMessage().replace(",", "")
    assert window.scene is scene


def test_a_file_is_shown_without_running_it(application, spin, errors, tmp_path):
    """Without a prompt the weights are shown; hovering reads them, a click tells type and shape."""
    import refgguf
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.facts import shown_of_file
    from tests.support.models import FAMILIES

    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    window = ViewerWindow(
        shown=shown_of_file(file, colour="values"), remark="this model cannot be run because"
    )
    window.resize(900, 640)
    window.show()
    assert spin(lambda: window.canvas.renderer is not None, 30)
    assert window.statusBar().currentMessage() == "this model cannot be run because"
    _, x, y = place_of(window, "weight ffn")
    mouse(window, "move", x, y)
    assert spin(lambda: window.canvas.hit is not None, 5)
    hit = window.canvas.hit
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
