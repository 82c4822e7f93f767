"""Windows in patterns: keys outside are grey like others that a query does not see, in grid and whole pass alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import refgguf
from refgguf.arch import llama4
from refgguf.model import Model
from refgguf.taps import Tap
from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_model
from refgguf.viz.inspect import hit_words
from refgguf.viz.scene.build import Scene, build_scene, notes_on
from refgguf.viz.scene.picking import cell_hit
from refgguf.viz.scene.planes import ABSENT, chosen_cut, cut
from refgguf.viz.scene.windows import outside_of
from tests.support import archsuite
from tests.support.encoders import ENCODERS

# sliding windows of 32 tokens, some of them in layers beside others in which an indexer chooses; chunks
WINDOWED = ("gemma2-dense", "gemma3-dense", "gpt-oss-moe", "llama4-moe", "deepseek4-moe", "dots3note-moe")
N_TOKENS = 44
NOTE = "Grey cells of a pattern: tokens outside the query's window."


def model_of(name: str, folder, monkeypatch) -> Model:
    """Return a model of the suite; what it sees of a chunk is small enough for a test."""
    if archsuite.folder() is None:
        pytest.skip("the architecture suite is not at hand: REFGGUF_TESTDATA is not set")
    monkeypatch.setattr(llama4, "CHUNK", 10)
    return archsuite.Case(name, folder / "model.gguf").choosy.model


def grey_and_masked(scene: Scene, trace: Trace):
    """Yield of each pattern its box's number, which cells are grey, and which scores the model masked."""
    for number, box in enumerate(scene.pieces.boxes):
        if box.role == "pattern":
            scores = trace[box.plane.tap.replace("probs", "scores")][box.head]
            yield number, box.plane.pooled(1, 1) == ABSENT, np.isneginf(scores)


@pytest.mark.testdata
@pytest.mark.parametrize("name", WINDOWED)
def test_what_a_model_masks_is_grey(name, tmp_path, monkeypatch):
    """In the grid exactly what has a score of −∞, in the whole pass all of it but later tokens; else the values."""
    model = model_of(name, tmp_path, monkeypatch)
    trace = model.trace([1 + i % 60 for i in range(N_TOKENS)])
    grid = build_scene(shown_of_model(model, trace, grid=True))
    for number, grey, masked in grey_and_masked(grid, trace):
        np.testing.assert_array_equal(grey, masked)
        plane = grid.pieces.boxes[number].plane
        np.testing.assert_array_equal(plane.pooled(1, 1)[~masked], plane.values[~masked])
    whole = build_scene(shown_of_model(model, trace))
    earlier, found = np.tri(N_TOKENS, dtype=bool), 0
    for number, grey, masked in grey_and_masked(whole, trace):
        np.testing.assert_array_equal(grey, masked & earlier)
        window = trace.tensor(whole.pieces.boxes[number].plane.tap).window
        if not window:
            continue
        found += 1
        row, col = (int(i) for i in np.argwhere(grey)[-1])
        assert hit_words(whole, cell_hit(whole.pieces.boxes, number, row, col)).endswith(
            "=   0, outside the query's window"
        )
        inside = hit_words(whole, cell_hit(whole.pieces.boxes, number, row, row))
        assert "window" not in inside
    assert found
    assert any("outside the query's window" in note for note in notes_on(whole, 1))


@pytest.mark.parametrize("name", ["modern-bert", "modern-bert, reranker, SiLU"])
def test_windows_to_both_sides(name, tmp_path):
    """An encoder's query sees as far ahead as back: what is farther is grey on both sides, in grid and pass alike."""
    case = next(e for e in ENCODERS if e.name == name)
    model = refgguf.load(case.write(tmp_path))
    trace = model.trace((case.tokens * 4)[:24])
    for grid in (True, False):
        scene = build_scene(shown_of_model(model, trace, grid=grid))
        both = 0
        for number, grey, masked in grey_and_masked(scene, trace):
            np.testing.assert_array_equal(grey, masked)
            plane = scene.pieces.boxes[number].plane
            for step in (3, 5):  # a group is grey only if nothing in it is seen
                coarse = plane.pooled(step, step) == ABSENT
                full = np.pad(masked, (0, -len(masked) % step), constant_values=True)
                groups = full.reshape(len(full) // step, step, -1, step).all(axis=(1, 3))
                np.testing.assert_array_equal(coarse, groups)
            both += bool(grey.any() and grey[0, -1] and grey[-1, 0])
        assert both


@pytest.mark.testdata
def test_a_prompt_within_the_window_has_no_grey_cells(tmp_path, monkeypatch):
    """Where all keys lie inside nothing is said of a window."""
    model = model_of("gemma3-dense", tmp_path, monkeypatch)
    scene = build_scene(shown_of_model(model, model.trace([1, 2, 3, 4, 5])))
    assert not any(grey.any() for _, grey, _ in grey_and_masked(scene, scene.shown.trace))
    assert NOTE not in notes_on(scene, 1)


@pytest.mark.testdata
def test_a_saved_trace_keeps_its_windows(tmp_path, monkeypatch):
    """Read from a file, patterns have the same grey cells."""
    model = model_of("gpt-oss-moe", tmp_path, monkeypatch)
    trace = model.trace(list(range(1, N_TOKENS + 1)))
    trace.save(tmp_path / "trace.safetensors")
    again = Trace.load(tmp_path / "trace.safetensors")
    scene = build_scene(replace(shown_of_model(model, trace, grid=True), trace=again, taps={}))
    found = [(grey == masked).all() for _, grey, masked in grey_and_masked(scene, again)]
    assert len(found) == 4
    assert all(found)


@pytest.mark.parametrize(
    ("window", "positions", "n_keys", "expected"),
    [
        (("sliding", 2), [0, 1, 2], 3, ["...", "...", "x.."]),
        (("chunk", 2), [0, 1, 2], 3, ["...", "...", "xx."]),
        (("symmetric", 2), [0, 1, 2], 3, ["..x", "...", "x.."]),
        (("sliding", 2), [3, 4], 5, ["xx...", "xxx.."]),
        (("sliding", 2), [7], 3, ["...", "...", "x.."]),  # places of other tokens: queries end with the keys
        (("sliding", 3), [0, 1, 2], 3, None),
        ((), [0, 1, 2], 3, None),
        (("sliding", 10**30), [0, 1, 2], 3, None),
        (("sliding", 0), [0, 1, 2], 3, None),
        (("sliding", "many"), [0, 1, 2], 3, None),
        (("round", 2), [0, 1, 2], 3, None),
        (([], 2), [0, 1, 2], 3, None),
        (7, [0, 1, 2], 3, None),
    ],
)
def test_which_keys_lie_outside(window, positions, n_keys, expected):
    """Each kind of window, places that do not begin at 0, and what a foreign trace may call a window."""
    tap = Tap("p", ("head", "query", "key"), "attention", "", window=window)
    n_queries = 3 if expected is None else len(expected)
    found = outside_of(tap, np.array(positions), (n_queries, n_keys))
    if expected is None:
        assert found is None
    else:
        assert ["".join("x" if out else "." for out in row) for row in found] == expected


def test_a_window_and_a_choice_in_one_pattern():
    """What either leaves out is grey."""
    plane = cut("p", ("head", "query", "key"), np.ones((1, 4, 4), np.float32), {0: 0})
    mask = np.ones((4, 4))
    mask[2, 1] = 0
    outside = np.zeros((4, 4), bool)
    outside[3, 0] = True
    cells = chosen_cut(plane, mask, None, outside).pooled(1, 1)
    assert np.argwhere(cells == ABSENT).tolist() == [[2, 1], [3, 0]]
