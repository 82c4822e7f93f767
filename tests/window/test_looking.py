"""The window shows a scene, and mouse and keys move the eye: hover, click, drag, levels, views, find, save."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import refgguf
from refgguf.viz.inspect import place_words
from refgguf.viz.scene.build import camera_at
from refgguf.viz.scene.camera import parse_camera
from tests.support.models import FAMILIES
from tests.window.hand import hand, key, mouse, place_of, press, seen

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


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
    assert spin(lambda: window.view.hit is not None)
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
    assert spin(lambda: window.view.camera == window.view.home)


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
        assert spin(lambda: window.view._flight is None)
        widths.append(width())
    assert all(b > a for a, b in pairwise(widths))
    for level in ("box", "head", "layer", "overview"):
        press(window, "Backspace")
        assert window.place.level == level
    assert spin(lambda: window.view.camera == window.view.home)


def test_going_home_takes_no_time(window, spin, monkeypatch):
    """The camera of the overview, which takes long to be found among many boxes, is not found anew."""
    from refgguf.viz.app import looking

    window.find("attn_probs")
    assert spin(lambda: window.view.camera == window.view.bound_for != window.view.home, 10)
    found = []
    monkeypatch.setattr(looking, "camera_of", lambda *_: found.append(True))
    key(window, "O")
    assert window.view.bound_for == window.view.home
    assert spin(lambda: window.view.camera == window.view.home, 10)
    assert not found


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
    assert spin(lambda: window.scene.theme.name == "dark")
    spin(seconds=0.4)
    assert window.palette().window().color().lightness() < 60
    panels = (window.live.title, window.live.bars, window.timeline.words, window.timeline.tokens)
    for panel in (*panels, window.inspector.head):  # on dark, words are light
        assert panel.palette().text().color().lightness() > 180
        assert panel.palette().windowText().color().lightness() > 180
    assert seen(window)[5, 5].max() < 40


def test_what_is_still_to_be_found_outlives_a_change_of_what_is_shown(application, tmp_path):
    """A key pressed before a model's flow is read neither drops the flow nor is undone by it."""
    from refgguf.viz.facts import shown_of_file
    from refgguf.viz.work import Opened, Work, changed, open_first

    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "file.gguf"))
    first, whole = shown_of_file(file, colour="bits"), shown_of_file(file, colour="bits")
    at = Work(lambda *_: None)
    result = open_first(lambda say: Opened(shown=first, then=lambda: (whole, "all of it")))(at)
    for changes in ({"theme": "dark"}, {"colour": "type"}):
        result = changed(result.scene, result, **changes)(at)
    last = result.then(at)
    assert (last.scene.shown.theme, last.scene.shown.colour, last.remark) == ("dark", "type", "all of it")
    assert last.then is None


def test_choosing_what_colours_say(window, spin, tmp_path):
    """Key K goes round values, bits, types, numbers of weights; of a run it says why there is nothing to choose."""
    from refgguf.viz.app.window import ViewerWindow
    from refgguf.viz.facts import shown_of_file

    key(window, "K")
    assert "what was computed" in window.statusBar().currentMessage()
    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "file.gguf"))
    other = ViewerWindow(shown_of_file(file, colour="values"))
    other.resize(900, 640)
    other.show()
    assert spin(lambda: other.scene is not None and other.view.renderer is not None)
    camera = other.view.camera
    for colour in ("bits", "type", "parameters", "values"):
        before = seen(other)
        key(other, "K")
        assert spin(lambda c=colour: other.scene.shown.colour == c)
        spin(seconds=0.3)
        assert (seen(other) != before).any()
        assert other.view.camera == camera
    other.close()


def test_saving_what_is_seen(window, spin, tmp_path, monkeypatch):
    """The picture that is saved has the size of the canvas; one that could not be saved is not drawn."""
    from PIL import Image

    target = window.save(str(tmp_path / "seen.png"))
    with Image.open(target) as picture:
        assert picture.size == window.canvas.pixels()
    spin(seconds=0.2)
    drawn = []
    monkeypatch.setattr(window.view, "picture", lambda: drawn.append(True))
    assert window.save(str(tmp_path / "no" / "seen.png")) is None
    assert "does not exist" in window.statusBar().currentMessage()
    assert not drawn


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
    assert spin(lambda: window.view._flight is None and window.view.camera != kept)
    press(window, "3")
    assert spin(lambda: window.view.camera == kept)
    Settings().path.write_text("{not json", encoding="utf-8")
    assert "cannot be read" in Settings().complaint
    assert Settings().view(name, "3") is None


def test_flying_with_keys(window, spin):
    """While W is held the camera moves forward; it stops when the key is let go."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    before = window.view.camera
    QTest.keyPress(window.canvas.native, Qt.Key.Key_W)
    assert spin(lambda: window.view.camera != before)
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


def test_the_menu_of_what_was_hit(window, spin):
    """A right click offers to go there, to switch parts off, and to copy what is there."""
    from PySide6.QtWidgets import QApplication, QMenu

    _, x, y = place_of(window, "pattern")
    mouse(window, "Click", x, y, "RightButton")
    assert spin(lambda: QApplication.activePopupWidget() is not None)
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    words = [action.text() for action in menu.actions()]
    assert words[0].startswith("Go to layer 0")
    assert any(text.startswith("Switch off") for text in words)
    menu.actions()[-1].trigger()
    assert QApplication.clipboard().text().startswith("blk.0.attn_probs")
    menu.close()


def test_the_page_of_keys(window, spin):
    """? shows every key over the window, nothing of it cut off, and takes it away again."""
    window.resize(1400, 800)
    press(window, "Question", "ShiftModifier")
    assert spin(window.help.isVisible)
    spin(seconds=0.2)
    page = window.help.page
    assert page.visibleRegion().boundingRect().size() == page.size()
    press(window, "Question", "ShiftModifier")
    assert not window.help.isVisible()


def test_the_turntable(window, spin):
    """T lets the scene turn by itself until T is pressed again."""
    before = window.view.camera.azimuth
    key(window, "T")
    assert spin(lambda: abs(window.view.camera.azimuth - before) > 1.0)
    key(window, "T")
    spin(seconds=0.1)
    still = window.view.camera
    spin(seconds=0.3)
    assert window.view.camera == still


def test_edges_become_smooth_once_nothing_moves(window, spin):
    """With software OpenGL a picture comes at once and its edges are smoothed when it stays; both show the same."""
    if not window.canvas.software:
        pytest.skip(f"the driver smooths edges itself: {window.canvas.context.config}")
    assert spin(lambda: window.canvas.smooth)
    spin(seconds=0.3)
    smooth = seen(window).astype(int)
    window.canvas.redraw()
    assert not window.canvas.smooth
    rough = seen(window).astype(int)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in (rough, smooth)]
    assert colours[1] > colours[0]
    assert np.abs(smooth - rough).max(axis=2).mean() < 8  # of 255: only edges differ


def test_finding_what_is_not_drawn(window, spin):
    """A weight leads to what is made with it, a tap that is not drawn to where it goes; the window says so."""
    drawn = {box.plane.tap for box in window.scene.pieces.boxes}
    for name, tap in (("blk.0.ffn_up.weight", "ffn_act"), ("blk.0.attn_scores", "attn_probs")):
        assert name not in drawn
        window.find(name)
        box = window.scene.pieces.boxes[window.selected.box]
        assert box.plane.tap == f"blk.0.{tap}"
        said = window.statusBar().currentMessage()
        assert name in said
        assert said.endswith(box.plane.tap)


def test_the_heat_map_of_the_inspector(window, spin):
    """A click on a cell of the heat map selects that value; the mouse over it reads it; the chosen one is framed."""
    _, x, y = place_of(window, "pattern", (0.1, 0.9))
    mouse(window, "Click", x, y)
    picture, plane = window.inspector.picture, window.scene.pieces.boxes[window.selected.box].plane
    assert picture.cell == (window.selected.row, window.selected.col)
    rows, cols = plane.shape

    def whole() -> bool:
        window.inspector.ensureWidgetVisible(picture, 0, 0)
        return picture.visibleRegion().boundingRect().height() > 0.6 * picture.height()

    assert spin(whole)
    spin(seconds=0.5)
    at = round((1.5 / cols) * picture.width()), round((1.5 / rows) * picture.height())
    hand(picture, "move", *at)
    assert spin(lambda: f"{plane.value(1, 1):.6g}" in window.statusBar().currentMessage())
    hand(picture, "Click", *at)
    assert (window.selected.row, window.selected.col) == (1, 1) == picture.cell
    assert f"{plane.value(1, 1):.6g}" in window.inspector.value.text()


def test_escape_and_a_click_take_the_page_of_keys_away(window, spin):
    """The page lies over the window, which goes on below it; no key is lost to it."""
    for away in (lambda: press(window, "Escape"), lambda: hand(window.help, "Click", 5, 5)):
        press(window, "Question", "ShiftModifier")
        assert window.help.isVisible()
        away()
        assert not window.help.isVisible()


def test_the_first_look_is_the_one_asked_for(window, spin):
    """A window that is given a camera shows the first scene from there; a part that is not there ends it."""
    size = window.canvas.pixels()
    window.first_view = parse_camera("front:layer:1")
    window.look_first()
    assert window.view.camera == camera_at(window.scene, size, *parse_camera("front:layer:1"))
    window.first_view = parse_camera("layer:9")
    window.look_first()
    assert "no layer 9" in str(window.failure)
    assert not window.isVisible()


def test_every_head_in_one_grid(window, spin):
    """M shows all heads at once; hovering names layer, head, tokens and value; a double click opens one."""
    whole = len(window.scene.pieces.boxes)
    scales = window.scene.scales
    key(window, "M")
    assert spin(lambda: window.scene.shown.grid and window.view.renderer is not None)
    assert {b.role for b in window.scene.pieces.boxes} == {"pattern"}
    assert window.grid_button.isChecked()
    spin(seconds=0.3)
    assert len(np.unique(seen(window).reshape(-1, 3), axis=0)) > 300
    number, x, y = place_of(window, "pattern", (0.5, 0.1))
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None)
    hit, box = window.view.hit, window.scene.pieces.boxes[number]
    value = window.scene.shown.trace[box.plane.tap][hit.index]
    said = window.statusBar().currentMessage()
    assert said.startswith(f"layer {box.layer}, head {box.head}, query {hit.row}")
    assert f", key {hit.col}" in said
    assert f"=   {value:.6g}" in said
    mouse(window, "DClick", x, y)
    assert spin(lambda: not window.scene.shown.grid)
    assert (window.place.level, window.place.layer, window.place.head) == ("head", box.layer, box.head)
    assert len(window.scene.pieces.boxes) == whole
    assert window.scene.scales == scales
    assert window.selected.index == hit.index
    assert not window.grid_button.isChecked()


def test_the_grid_has_a_button_and_stays_through_a_run(window, spin):
    """The button shows it; the next token is drawn into it; arcs, which need the stream, say where they are."""
    window.grid_button.click()
    assert spin(lambda: window.scene.shown.grid)
    key(window, "C")
    assert "M brings the whole pass back" in window.statusBar().currentMessage()
    before = len(window.scene.shown.trace.tokens)
    key(window, "N")
    assert spin(lambda: len(window.scene.shown.trace.tokens) == before + 1)
    assert window.scene.shown.grid
    window.grid_button.click()
    assert spin(lambda: not window.scene.shown.grid)
