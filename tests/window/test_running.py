"""The window runs a model beside itself: steps, tokens, prompts, temperature, what is switched off."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import numpy as np
import pytest

from refgguf.viz.places import SEEN, seen_size
from tests.window.hand import drag, hand, key, mouse, place_of

pytestmark = [
    pytest.mark.render,
    # vispy 0.17 asks Qt's mouse events for their place in the way of Qt 5
    pytest.mark.filterwarnings("ignore:.*is marked as deprecated:DeprecationWarning"),
]


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
    assert spin(lambda: window.scene.shown.marked)
    assert window.scene.shown.token_index == 1
    assert " after " in window.scene.shown.facts.outcome


def test_what_was_shown_before_is_let_go(window, spin):
    """Of all scenes that were shown, the window keeps the newest, and at most what its last work began with."""
    shown = [weakref.ref(window.scene)]
    for token in (0, 1, 2, 0, 1):
        window.choose_token(token)
        assert spin(lambda: not window.running_now)
        shown.append(weakref.ref(window.scene))
    window.next_token()
    assert spin(lambda: not window.running_now)
    spin(seconds=0.3)
    gc.collect()
    assert [scene() is not None for scene in shown[:-1]] == [False] * 5


def test_work_that_is_gone_is_not_heard(window, spin):
    """What was stopped may be done, and gone, before its result is heard: nothing comes of it."""
    before = window.scene
    window.choose_token(0)
    first = weakref.ref(window.job)
    assert first().wait(60_000)  # its result waits to be heard
    window.choose_token(1)
    window.stop()
    gc.collect()
    assert first() is None
    spin(seconds=0.2)
    assert window.scene is before
    assert not window.running_now


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
        assert spin(lambda: not window.running_now)
        now = window.scene.shown.trace
        assert (not now["blk.0.attn_z"][:, head].any()) == zero
        assert np.array_equal(now["blk.0.attn_probs"], before["blk.0.attn_probs"])
        assert np.array_equal(now["logits"], before["logits"]) != zero
        assert round_ in (0, 1)


def test_the_next_token_is_appended(window, spin):
    """The most likely token is appended and run."""
    best = int(np.argmax(window.scene.shown.trace["logits"][-1]))
    key(window, "N")
    assert spin(lambda: not window.running_now)
    assert window.scene.shown.trace.tokens.tolist() == [1, 2, 3, best]
    assert window.timeline.tokens.count() == 4


def test_a_run_that_fails_says_why(window, spin):
    """An id outside the vocabulary becomes a sentence in the status bar; what was shown stays."""
    from dataclasses import replace

    scene = window.scene
    window.run(replace(window.session, ids=[10**6]))
    assert spin(lambda: not window.running_now)
    assert "1000000" in window.statusBar().currentMessage().replace(",", "")
    assert window.scene is scene


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
    assert spin(lambda: bool(window.session.ablations) and not window.running_now)
    spin(seconds=0.1)
    assert not window.scene.shown.trace["blk.0.ffn_out"].any()
    shares = window.session.probabilities(whole)
    for candidate in window.live.bars.candidates:
        assert candidate.before == pytest.approx(float(shares[candidate.token]))
    assert "blk.0.ffn_out" in window.live.words.text()
    key(window, "X")
    assert spin(lambda: not window.session.ablations and not window.running_now)
    assert np.array_equal(window.scene.shown.trace["logits"][-1], whole)


def test_typing_a_prompt_runs_it(window, spin):
    """A model without a tokenizer says so in one sentence; tokens of bars that are clicked are appended."""
    token = window.live.bars.candidates[0].token
    window.live.bars.chosen.emit(token)
    assert spin(lambda: not window.running_now and len(window.session.ids) == 4)
    assert window.session.ids == [1, 2, 3, token]


def test_attention_as_arcs_of_the_selected_head(window, spin):
    """Key C draws the selected head's attention as arcs, and again takes them away."""
    number, x, y = place_of(window, "pattern")
    mouse(window, "Click", x, y)
    key(window, "C")
    assert spin(lambda: window.scene.shown.arcs is not None)
    box = window.scene.pieces.boxes[number]
    assert (window.scene.shown.arcs.layer, window.scene.shown.arcs.head) == (box.layer, box.head)
    spin(seconds=0.3)
    key(window, "C")
    assert spin(lambda: window.scene.shown.arcs is None)


def test_the_inspector_tells_of_the_operation(window, spin):
    """Each step is told of: names, formula, shape, the largest value of the token; and the cell under the mouse."""
    window.timeline.go_to(next(i for i, s in enumerate(window.timeline.steps) if s.tap == "blk.0.ffn_act"))
    assert spin(lambda: "blk.0.ffn_act" in window.inspector.head.text())
    tensor = window.scene.shown.trace.tensor("blk.0.ffn_act")
    for words in (tensor.llama_cpp, tensor.transformer_lens, "3 token"):
        assert words is None or words in window.inspector.head.text()
    row = tensor.values[-1]
    assert f"{row[np.argmax(np.abs(row))]:.6g}" in window.inspector.value.text()
    _, x, y = place_of(window, "neurons", (0.3, 0.6))
    mouse(window, "move", x, y)
    assert spin(lambda: window.view.hit is not None)
    assert f"{tensor.values[window.view.hit.index]:.6g}" in window.inspector.value.text()
    key(window, "Home")
    spin(seconds=0.2)
    assert window.view.renderer.focus == 0.0


def test_scrubbing_with_the_mouse(window, spin):
    """Where the slider is pressed, that operation is shown; dragged on, the operations follow the mouse, both ways."""
    slider, shown = window.timeline.slider, []
    window.timeline.step_chosen.connect(shown.append)
    middle, end = slider.width() // 2, slider.width() - 8
    drag(window, spin, (middle, slider.height() // 2), (end, slider.height() // 2), widget=slider)
    last = len(window.timeline.steps) - 1
    assert abs(shown[0] - last / 2) <= 0.1 * last + 1
    assert shown == sorted(shown)
    assert len(shown) >= 4
    assert slider.value() >= last - 1
    drag(window, spin, (end, slider.height() // 2), (2, slider.height() // 2), widget=slider)
    assert slider.value() == -1


def test_scrubbing_over_tokens(window, spin):
    """Dragged over the tokens, the one under the mouse is the chosen one."""
    tokens = window.timeline.tokens
    places = [tokens.visualItemRect(tokens.item(i)).center() for i in range(3)]
    start, end = ((p.x(), p.y()) for p in (places[2], places[0]))
    drag(window, spin, start, end, widget=tokens.viewport())
    assert spin(lambda: not window.running_now and window.scene.shown.token_index == 0)
    assert window.scene.shown.marked


def test_playing_and_pausing(window, spin):
    """Space plays one operation after the other, and again pauses; the last one ends it."""
    key(window, "Space")
    assert spin(lambda: window.timeline.slider.value() >= 1)
    key(window, "Space")
    at = window.timeline.slider.value()
    spin(seconds=1.0)
    assert window.timeline.slider.value() == at
    window.timeline.go_to(len(window.timeline.steps) - 2)
    key(window, "Space")
    assert spin(lambda: not window.timeline.timer.isActive())
    assert window.timeline.slider.value() == len(window.timeline.steps) - 1


def test_what_is_selected_stays_selected(window, spin):
    """A run of the same shape keeps the selection, and its value is the new one: Z twice switches off and on."""
    _, x, y = place_of(window, "pattern", (0.1, 0.9))
    mouse(window, "Click", x, y)
    key(window, "Z")
    assert spin(lambda: bool(window.session.ablations) and not window.running_now)
    assert window.selected.value == window.scene.shown.trace["blk.0.attn_probs"][window.selected.index]
    key(window, "Z")
    assert spin(lambda: not window.session.ablations and not window.running_now)


def test_colours_mean_the_same_before_and_after(window, spin):
    """Runs of one model are read against the same scales, so that what a switched-off block changes can be seen."""
    before = dict(window.scene.scales)
    _, x, y = place_of(window, "neurons")
    mouse(window, "Click", x, y)
    key(window, "Z")
    assert spin(lambda: bool(window.session.ablations) and not window.running_now)
    after = window.scene.scales
    assert set(after) == set(before)
    same = [name for name in before if before[name].ends == after[name].ends]
    assert {"residual", "qkv", "ffn"} <= set(same)
    assert any(before[name].maximum != after[name].maximum for name in same)


def test_the_strip_of_operations(window, spin):
    """Each operation has a cell of its own, in order; a click on a cell shows its operation, layers are named."""
    strip, steps = window.timeline.slider, window.timeline.steps
    places = strip.places()
    assert len(places) == len(steps)
    assert all(a < b for a, b in places)
    assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(places))
    assert places[-1][1] <= strip.width()
    for number in (5, 0, len(steps) - 1):
        hand(strip, "Click", round(sum(places[number]) / 2), 8)
        assert strip.value() == number
    assert steps[number].words in window.timeline.words.text()
    window.timeline.back_button.click()
    assert strip.value() == len(steps) - 2


@pytest.fixture
def deep_window(window_on):
    """A window on a model of 40 layers, most of them too small to be watched from where all are seen."""
    return window_on(n_layers=40)


def test_playing_goes_where_it_can_be_watched(deep_window, spin):
    """While far layers play the camera goes to them and can be told to stay; stepping by hand never moves it."""
    window, view = deep_window, deep_window.view
    steps, size = window.timeline.steps, window.canvas.pixels()
    number = next(i for i, step in enumerate(steps) if step.layer == 30 and step.kind == "attention")
    assert seen_size(window.scene, steps[number].boxes, view.camera, size) < SEEN
    window.timeline.go_to(number)
    spin(seconds=0.3)
    assert view.camera == view.home
    window.timeline.go_to(number - 1)
    key(window, "Y")
    key(window, "Space")
    key(window, "Space")
    assert window.timeline.slider.value() == number
    assert view.bound_for == view.home
    key(window, "Y")
    window.timeline.go_to(number - 1)
    key(window, "Space")
    key(window, "Space")
    assert spin(lambda: view._flight is None and view.camera != view.home)
    assert window.place.layer == 30
    near = seen_size(window.scene, steps[number].boxes, view.camera, size)
    assert near >= SEEN or window.place.level == "box"
    assert near > 2 * seen_size(window.scene, steps[number].boxes, view.home, size)


def test_playing_stays_where_everything_is_seen(window, spin):
    """What can be watched from where one stands is watched from there."""
    steps, size = window.timeline.steps, window.canvas.pixels()
    large = [
        i for i, step in enumerate(steps)
        if seen_size(window.scene, step.boxes, window.view.camera, size) >= SEEN
    ]  # fmt: skip
    assert large
    window.timeline.go_to(large[0] - 1)
    key(window, "Space")
    key(window, "Space")
    assert window.timeline.slider.value() == large[0]
    assert window.view.bound_for == window.view.home


def test_the_next_token_follows_the_chosen_one(window, spin):
    """After a token was chosen, N appends what that one predicts, in place of what came behind it."""
    window.timeline.token_chosen.emit(0)
    assert spin(lambda: window.scene.shown.marked and not window.running_now)
    best = int(np.argmax(window.scene.shown.trace["logits"][0]))
    key(window, "N")
    assert spin(lambda: not window.scene.shown.marked and not window.running_now)
    assert window.session.ids == [1, best]
