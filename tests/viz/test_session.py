"""Sessions, steps and the inspector: what the window shows, without a window."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import numpy as np
import pytest

import refgguf
from refgguf.errors import NoDisplayError
from refgguf.viz.ablation import Ablation
from refgguf.viz.inspect import names_of, place_words, shape_words, statistics
from refgguf.viz.scene.build import build_scene
from refgguf.viz.session import CancelledError, Session
from refgguf.viz.steps import around, steps_of
from refgguf.viz.sums import attended, sum_of
from tests.support.models import FAMILIES
from tests.support.scenes import tiny_scene, tiny_trace


@pytest.fixture(params=["llama", "gpt2", "mixtral"])
def session(request, tmp_path):
    """A session on a tiny model of three families in turn."""
    model = refgguf.load(FAMILIES[request.param]().write(tmp_path / "model.gguf"))
    return Session(model, [1, 5, 2, 7])


@pytest.fixture
def llama(tmp_path):
    """A session on a tiny Llama."""
    return Session(refgguf.load(FAMILIES["llama"]().write(tmp_path / "model.gguf")), [1, 5, 2, 7])


def test_a_session_shows_what_the_model_computes(llama):
    """The trace is that of the model, and progress is told for every layer."""
    told = []
    shown = llama.run(lambda done, total: told.append((done, total)))
    assert np.array_equal(shown.trace["logits"], llama.model.trace(llama.ids)["logits"])
    n_layers = llama.model.config.n_layers
    assert told == [(i + 1, n_layers) for i in range(n_layers)]


def test_a_run_can_be_cancelled(llama):
    """A run that is asked to stop ends at the next layer."""
    stop = threading.Event()
    layers = []

    def progress(done: int, total: int) -> None:
        layers.append(done)
        stop.set()

    with pytest.raises(CancelledError):
        llama.run(progress, stop)
    assert layers == [1]


def test_switching_off_a_head_and_a_network(llama):
    """Their outputs are zero, what comes before is unchanged, what comes after is not; and back."""
    plain = llama.run().trace
    off = llama.toggled(Ablation("blk.1.attn_z", 2)).toggled(Ablation("blk.0.ffn_out"))
    changed = off.run().trace
    assert not changed["blk.1.attn_z"][:, 2].any()
    assert changed["blk.1.attn_z"][:, 1].any()
    assert not changed["blk.0.ffn_out"].any()
    assert np.array_equal(changed["blk.0.attn_z"], plain["blk.0.attn_z"])
    assert not np.array_equal(changed["logits"], plain["logits"])
    back = off.toggled(Ablation("blk.1.attn_z", 2)).toggled(Ablation("blk.0.ffn_out"))
    assert np.array_equal(back.run().trace["logits"], plain["logits"])


def test_the_next_token_is_the_best_or_is_drawn(llama):
    """At temperature 0 the best token follows; above, a seed decides, always in the same way."""
    logits = np.array([0.0, 2.0, 1.0])
    assert llama.next_token(logits) == 1
    llama.temperature = 1.0
    drawn = {llama.next_token(logits) for _ in range(5)}
    assert len(drawn) == 1
    counts = np.zeros(3)
    for seed in range(600):
        llama.seed = seed
        counts[llama.next_token(logits)] += 1
    wanted = np.exp(logits) / np.exp(logits).sum()
    # 600 draws: a share's standard deviation is at most 0.02, and five of them are never met by chance
    assert np.abs(counts / 600 - wanted).max() < 0.1


def test_a_longer_session(llama):
    """An added token is the last one that runs."""
    assert llama.extended(3).ids == [1, 5, 2, 7, 3]


def test_steps_are_the_drawn_tensors_in_order():
    """Each drawn tensor is a step, with exactly its boxes, and its inputs' boxes as the edges have them."""
    scene, trace = tiny_scene("four experts"), tiny_trace("four experts")
    steps = steps_of(scene)
    order = [trace.names.index(s.tap) for s in steps]
    assert order == sorted(order)
    assert sorted(i for s in steps for i in s.boxes) == list(range(len(scene.pieces.boxes)))
    for step in steps:
        pairs = {p for r in step.routes for p in scene.pieces.routes[r].pairs if p[1] in step.boxes}
        assert {a for a, _ in pairs} == step.inputs


def test_around_a_box():
    """What lights up around a box is what it is joined to."""
    scene = tiny_scene("grouped queries")
    number = next(i for i, b in enumerate(scene.pieces.boxes) if b.role == "pattern")
    boxes, routes = around(scene, number)
    roles = sorted(scene.pieces.boxes[i].role for i in boxes)
    assert roles == ["k", "pattern", "q", "z"]
    assert all(any(number in pair for pair in scene.pieces.routes[r].pairs) for r in routes)


def test_what_is_around_a_box_shares_a_flow_with_it():
    """Of a tube that many boxes share, only those light up that the box itself gives to or takes from."""
    scene = tiny_scene("four experts")
    pairs = {pair for route in scene.pieces.routes for pair in route.pairs}
    for number in range(len(scene.pieces.boxes)):
        joined = {i for pair in pairs if number in pair for i in pair}
        assert around(scene, number)[0] == {number} | joined


def test_statistics():
    """Figures and places of extremes are those of the finite values."""
    values = np.array([[3.0, -1.0, 0.0], [np.nan, 5.0, np.inf]])
    found = statistics(values)
    assert (found.minimum, found.maximum, found.n_nan, found.n_infinite) == (-1.0, 5.0, 1, 1)
    assert found.mean == pytest.approx(7 / 4)
    assert found.zeros == 0.25
    assert found.highest[0] == (1, 1)
    assert found.lowest[0] == (0, 1)
    assert found.counts.sum() == 4
    assert statistics(np.full(3, np.nan)) is None


def test_words_of_the_inspector():
    """Names of three vocabularies, shapes and places with dimension words and tokens."""
    trace = tiny_trace("grouped queries")
    tensor = trace.tensor("blk.0.attn_probs")
    assert ("llama.cpp", "kq_soft_max-0") in names_of(tensor)
    assert ("TransformerLens", "blocks.0.attn.hook_pattern") in names_of(tensor)
    assert shape_words(tensor) == "4 head × 8 query × 8 key"
    assert place_words(tensor, (1, 2, 0), trace.token_texts) == "head 1, query 2 ' upon', key 0 '<s>'"


def test_values_are_taken_apart_into_what_they_are_summed_from(session):
    """Whatever the inspector explains adds up to the value; the plain sums of every family are explained."""
    trace = session.run().trace
    weights = dict(session.model.file.tensors)
    random = np.random.default_rng(4)
    explained = set()
    for tensor in trace.tensors:
        if tensor.values.dtype.kind != "f":
            continue
        index = tuple(int(random.integers(n)) for n in tensor.values.shape)
        parts = sum_of(trace, tensor.name, index, weights)
        if parts is None:
            continue
        explained.add(tensor.name.split(".")[-1])
        assert parts.total == pytest.approx(float(tensor.values[index]), rel=1e-4, abs=1e-5)
        assert sum(t.value for t in parts.terms) + parts.rest == pytest.approx(parts.total)
        magnitudes = [abs(t.value) for t in parts.terms]
        assert magnitudes == sorted(magnitudes, reverse=True)
    assert {"resid_mid", "resid_post", "attn_z", "attn_out", "logits"} <= explained


def test_nothing_is_explained_that_does_not_add_up(llama):
    """A value that is not the sum of its inputs is not said to be one."""
    trace = llama.run().trace
    assert sum_of(trace, "blk.0.attn_probs", (0, 1, 1), dict(llama.model.file.tensors)) is None
    assert sum_of(trace, "blk.0.attn_norm", (0, 0), dict(llama.model.file.tensors)) is None


def test_no_screen_is_said_in_one_sentence(monkeypatch):
    """Without a screen the message suggests a picture."""
    pytest.importorskip("PySide6")
    from refgguf.viz.app import launch

    monkeypatch.setattr(launch.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NoDisplayError, match=r"--save picture\.png"):
        launch.check_window()


@pytest.mark.parametrize("platform", ("offscreen", "minimal:enable_fonts"))
def test_windows_that_nobody_sees_are_not_opened(monkeypatch, platform):
    """Where Qt was told to open windows without a screen, that is said: one would wait for them for ever."""
    pytest.importorskip("PySide6")
    from refgguf.viz.app import launch

    monkeypatch.setattr(launch.sys, "platform", "linux")
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    with pytest.raises(NoDisplayError, match=rf"QT_QPA_PLATFORM={platform}.*--save picture\.png"):
        launch.check_window()


def test_a_scene_of_a_run(session):
    """Whatever family runs, its scene can be built."""
    assert build_scene(session.run()).pieces.boxes


def test_what_a_query_takes_from():
    """The keys of a pattern's row come with their shares, the largest first; other tensors have none."""
    trace = tiny_trace("grouped queries")
    pattern = trace.tensor("blk.1.attn_probs")
    found = attended(pattern, (2, 5, 0), trace.token_texts, most=3)
    row = pattern.values[2, 5]
    best = np.argsort(-row)[:3]
    assert [t.name for t in found] == [trace.token_texts[k] for k in best]
    assert [t.value for t in found] == [float(row[k]) for k in best]
    assert [t.name for t in attended(pattern, (0, 0, 0), trace.token_texts)] == ["<s>"]
    assert attended(trace.tensor("embed"), (0, 0), trace.token_texts) == []


def test_a_screen_that_does_not_answer_is_waited_for_aloud(monkeypatch, capsys):
    """Whoever waits is told what for, then that no answer came; a screen that answers at once is not spoken of."""
    pytest.importorskip("PySide6")
    from refgguf.viz.app import launch

    let_go = threading.Event()
    monkeypatch.setattr(launch, "SILENT", 0.05)
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    monkeypatch.setattr(launch.ctypes, "CDLL", lambda name: None)
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.setattr(launch, "_answers", lambda xcb: let_go.wait(20))
    with pytest.raises(NoDisplayError, match="has not answered"):
        launch._check_x11()
    let_go.set()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "waiting up to 0.2 seconds for the screen :77" in said
    monkeypatch.setattr(launch, "_answers", lambda xcb: True)
    monkeypatch.setattr(launch, "SILENT", 20)
    monkeypatch.setattr(launch, "PATIENCE", 30)
    launch._check_x11()
    assert capsys.readouterr().err == ""


def test_a_screen_that_was_asked_is_not_left_before_qt_has_come():
    """The screen is not left between the question and the window: a virtual one would start anew and refuse Qt."""
    pytest.importorskip("PySide6")
    from refgguf.viz.app import launch

    class Screen:
        """Stands for libxcb, and notes who is connected."""

        def __init__(self):
            self.connected = 0
            self.xcb_connect = Mock(side_effect=self.come)
            self.xcb_disconnect = Mock(side_effect=self.go)
            self.xcb_connection_has_error = Mock(return_value=0)

        def come(self, *_) -> int:
            self.connected += 1
            return 7

        def go(self, connection: int) -> None:
            assert connection == 7
            self.connected -= 1

    screen = Screen()
    assert launch._answers(screen)
    assert screen.connected == 1
    launch._leave_screen()
    launch._leave_screen()
    assert screen.connected == 0


def test_another_text_shows_what_follows_its_end(llama):
    """The token that was chosen of one text says nothing of another, shorter or longer."""
    llama.options.update(token=1, marked=True)
    longer = llama.with_ids([1, 5, 2, 7, 3, 4])
    assert longer.run().token_index == 5
    assert not longer.run().marked
    assert llama.extended(9, after=1).ids == [1, 5, 9]


def test_a_text_that_would_not_fit_is_refused_before_it_runs(llama, monkeypatch):
    """All that a run keeps is counted beforehand, from one token; nothing is computed of the others."""
    from refgguf.errors import InputError
    from refgguf.viz import memory

    monkeypatch.setattr(memory, "SHORT", 2)
    whole = sum(tensor.values.nbytes for tensor in llama.run().trace.tensors)
    monkeypatch.setattr(memory, "MOST_BYTES", whole)
    llama.run()
    monkeypatch.setattr(memory, "MOST_BYTES", whole - 1)
    layers = []
    with pytest.raises(InputError, match="4 tokens would take"):
        llama.run(lambda done, total: layers.append(done))
    assert layers == []


def test_a_file_that_was_deleted_runs_on(llama):
    """What is mapped stays there as long as it is open, whatever becomes of the file's name."""
    before = llama.run().trace["logits"]
    llama.model.path.unlink()
    assert np.array_equal(llama.run().trace["logits"], before)
