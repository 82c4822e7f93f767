"""What is written: title, legend, predictions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from refgguf.trace import Trace
from refgguf.viz import facts
from refgguf.viz.scene.build import build_scene, look_at
from refgguf.viz.scene.captions import step_overlay
from refgguf.viz.scene.overlay import BENT, LETTER, NAMES, beyond, make_overlay, number
from refgguf.viz.scene.predictions import best_tokens, percent, quoted
from refgguf.viz.scene.scales import Scale
from refgguf.viz.state import Facts
from refgguf.viz.steps import steps_of
from tests.support import archsuite
from tests.support.scenes import shown, tiny_scene, tiny_trace


def words_of(look) -> list[str]:
    """Return everything that is written over a picture."""
    return [label.text for label in look.overlay.labels]


def test_the_legend_prints_every_scale_that_is_used():
    """Each kind in the picture has its name and limits in the legend, and no other has."""
    look = look_at(tiny_scene("four experts"), (1920, 1080))
    words = words_of(look)
    for name in (
        "residual stream",
        "queries, keys",
        "values",
        "attention",
        "feed-forward",
        "router",
        "logits",
    ):
        assert name in words
    assert "state" not in words
    for scale in look.scene.scales.values():
        assert number(scale.high) in {w.lstrip("+") for w in words}


def test_the_legend_names_what_lies_beyond():
    """Outliers, NaN and infinities are counted and the farthest is printed."""
    scale = Scale("ffn", -1.0, 1.0, minimum=-41.64, maximum=3.0, n_beyond=1234, n_nan=2, n_infinite=1)
    assert beyond(scale) == "1,234 beyond, up to −41.6 · 2 NaN · 1 infinite"
    assert beyond(Scale("ffn", -1.0, 1.0)) == ""


@pytest.mark.parametrize("size", [(800, 450), (1600, 900), (3840, 2160)])
def test_names_of_scales_do_not_run_into_each_other(size, monkeypatch):
    """However many scales there are, and however long their names, each name ends before the next one begins."""
    from refgguf.viz.render.letters import set_line

    monkeypatch.setitem(NAMES, "values", "what each token passes on to others")
    scales = {name: Scale("qkv", -3.0, 40.0, knee=0.5) for name in list(NAMES)[:14]}
    overlay = make_overlay(Facts("a name", ("a detail",)), scales, [BENT], size, "layer 3")
    names = [label for label in overlay.labels if label.text.removesuffix(" *") in NAMES.values()]
    assert len(names) == 14
    for one, next_one in pairwise(sorted(names, key=lambda label: (label.at[1], label.at[0]))):
        if one.at[1] == next_one.at[1]:
            assert one.at[0] + set_line(one.text, False)[1] * one.height < next_one.at[0]


@pytest.mark.parametrize(
    ("n_scales", "place", "most"), [(13, None, 0.18), (14, None, 0.18), (14, "layer 3", 0.27)]
)
@pytest.mark.parametrize("size", [(1200, 800), (1920, 1080), (3840, 2160)])
def test_notes_take_no_room_of_their_own_where_the_legend_leaves_some(size, n_scales, place, most):
    """Beside the last row of a legend, in the picture, clear of every scale; the legend stays low."""
    from refgguf.viz.render.letters import set_line

    scales = {name: Scale("qkv", -3.0, 40.0, n_beyond=3, maximum=50.0) for name in list(NAMES)[:n_scales]}
    notes = [
        "A cell is one number; without a grid it stands for up to 2,702: the one farthest from zero.",
        BENT,
    ]
    overlay = make_overlay(Facts("a name", ("a detail",)), scales, notes, size, place)
    written = {label.text: label for label in overlay.labels}
    assert set(notes) <= set(written)
    names = [label for label in overlay.labels if label.text.removesuffix(" *") in NAMES.values()]
    last = max(label.at[0] for label in names if label.at[1] == min(x.at[1] for x in names))
    bars = [box for box in overlay.boxes if box.left >= last - 1]
    lowest_above = min(box.bottom for box in bars if box.bottom > min(b.bottom for b in bars))
    for text in notes:
        label = written[text]
        assert label.at[0] > last + 100 * label.height / 13
        assert label.at[0] + set_line(text, False)[1] * label.height < size[0] - 20
        assert 0.3 * label.height < label.at[1] < lowest_above - 4 * label.height
    assert max(label.at[1] for label in names) < most * size[1]


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (-12345.6, "−1.23e4"), (1e-7, "1e−7"), (8.0, "8"), (0.00123, "0.00123")]
)
def test_numbers_are_short(value, text):
    """Three digits at most, real minus signs, plain exponents."""
    assert number(value) == text


def test_the_legend_says_when_cells_stand_for_several_values():
    """A pooled picture says how many values a cell stands for at most and which of them it shows."""
    plain = look_at(tiny_scene("grouped queries"), (3840, 2160))
    pooled = look_at(tiny_scene("wide"), (800, 450))
    assert "Every cell is one number." in words_of(plain)
    most = int(pooled.atlas.steps.prod(axis=1).max())
    assert any(f"up to {most:,}: the one farthest from zero" in w for w in words_of(pooled))


def test_the_title_tells_model_prompt_and_outcome():
    """Name, facts, prompt and the most likely next token are written."""
    look = look_at(tiny_scene("grouped queries"), (1920, 1080))
    words = words_of(look)
    assert "tiny" in words
    assert "“Once upon a time”" in words
    token, share = best_tokens(tiny_trace("grouped queries")["logits"][-1], 1)[0]
    assert f"→ “ word{token}” {percent(share)}" in words


def test_the_best_tokens_are_those_of_the_softmax():
    """Probabilities are the softmax of all scores, the best first."""
    logits = np.array([1.0, 3.0, -np.inf, 2.0], np.float32)
    share = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    found = best_tokens(logits, 3)
    assert [token for token, _ in found] == [1, 3, 0]
    assert [p for _, p in found] == pytest.approx(share[[1, 3, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_logits_predict_nothing(bad):
    """With a NaN or an infinite score there are no probabilities, and the picture says so."""
    trace = tiny_trace("grouped queries")
    assert best_tokens(np.array([1.0, bad], np.float32), 2) == []
    values = dict(trace)
    values["logits"] = values["logits"].copy()
    values["logits"][-1, 3] = bad
    scene = build_scene(shown(Trace(values, trace.taps, trace.tokens, trace.token_texts)))
    assert "the logits are not finite" in {label.text for label in scene.pieces.labels}


def test_predictions_of_a_chosen_token():
    """--token shows the candidates after that token, and marks its rows."""
    trace = tiny_trace("grouped queries")
    scene = build_scene(shown(trace, token=3, marked=True))
    words = {label.text for label in scene.pieces.labels}
    assert "next token after “ a”" in words
    best = best_tokens(trace["logits"][3], 1)[0][0]
    assert f"“ word{best}”" in words
    assert scene.shown.facts.outcome.endswith("after “ a”")


def test_candidates_stand_in_one_plane():
    """Words, bars and percentages of the next token are turned alike and stand on their bars' rows."""
    pieces = tiny_scene("grouped queries").pieces
    bar = pieces.bars[0]
    rows = {round(b.origin[1], 6) for b in pieces.bars}
    turned = [label for label in pieces.labels if label.u == bar.u]
    assert len({label.at[1] for label in turned}) == 1 + len(rows) == 1 + len(pieces.bars)
    for bar in pieces.bars:  # of two figures, the bar hides one; a figure beside the bar is written once
        figures = [label for label in turned if label.text == percent(bar.share) and label.align == "left"]
        ends = [(np.array(f.at) - bar.origin) @ bar.u + LETTER * f.height * len(f.text) for f in figures]
        assert len(figures) % 2 == 0 or max(ends) >= bar.size[0]
    away = np.cross(bar.u, (0, 1, 0))
    for label in turned:
        assert abs((np.array(label.at) - bar.origin) @ away) < 0.3
    assert all(b.u == bar.u and abs((np.array(b.end) - bar.origin) @ away) < 1e-6 for b in pieces.bars)


@pytest.mark.testdata
@pytest.mark.parametrize("name", ["mamba-dense", "deepseek4-moe"])
def test_candidates_stand_clear_of_the_floor(name, tmp_path):
    """In the overview even the last is seen above the far edge of the floor, which would strike it through."""
    if name not in archsuite.names(that_run=True):
        pytest.skip("the suite of architectures is not at hand")
    model, size = archsuite.Case(name, tmp_path / "model.gguf").model, (1920, 1080)
    look = look_at(build_scene(facts.shown_of_model(model, model.trace([1, 2, 3, 4, 5, 6, 7, 8]))), size)
    pieces, card = look.scene.pieces, look.scene.pieces.cards[-1]
    far = [(x, pieces.floor_of(card), card.z) for x in np.linspace(card.x, card.x + card.width, 200)]
    edge = look.camera.project(np.array(far), size)
    x, y, _ = look.camera.project(np.array([pieces.bars[-1].origin]), size)[0]
    assert edge[0, 0] < x < edge[-1, 0] + 10  # beside the edge, or a little past its corner
    assert y < np.interp(x, edge[:, 0], edge[:, 1])


def test_bars_are_as_long_as_probabilities():
    """Each bar's share is the probability that is printed beside it."""
    scene = tiny_scene("grouped queries")
    best = best_tokens(tiny_trace("grouped queries")["logits"][-1], len(scene.pieces.bars))
    assert [bar.share for bar in scene.pieces.bars] == [share for _, share in best]


@pytest.mark.parametrize(
    ("text", "seen"), [(" a", "“ a”"), ("\n", "“\\n”"), ("  ", "“␣␣”"), ("a" * 30, "“" + "a" * 15 + "…”")]
)
def test_quoted(text, seen):
    """Spaces at the ends are seen, control characters are written out, long tokens are cut."""
    assert quoted(text) == seen


@pytest.mark.parametrize(
    ("share", "text"), [(0.873, "87%"), (0.0512, "5.1%"), (0.0004, "<0.1%"), (1.0, "100%")]
)
def test_percent(share, text):
    """Probabilities have the digits that matter."""
    assert percent(share) == text


@pytest.mark.parametrize(
    ("n", "text"), [(292_800, "293 K"), (999, "999"), (1_240_000_000, "1.24 B"), (999_990, "1 M")]
)
def test_counts_are_scaled(n, text):
    """Numbers of parameters have three digits and a unit."""
    assert facts.scaled(n) == text


def test_tensor_types_are_named_by_their_share():
    """The types that hold most bytes are named, the small change is not."""
    assert facts.type_words({"F32": 10, "Q4_K": 900, "Q6_K": 90}) == "Q4_K + Q6_K"
    assert facts.type_words({"F32": 10, "Q4_K": 990}) == "Q4_K"
    assert facts.type_words({"A": 40, "B": 30, "C": 30}) == "A + B + …"


@pytest.mark.parametrize("size", [(1920, 1080), (800, 450)])
def test_captions_of_operations_begin_with_what_they_are(size):
    """No caption is cut in its middle: what an operation is stands whole, what there is no room for is left out."""
    scene = tiny_scene("grouped queries")
    steps = {step.tap: step for step in steps_of(scene)}
    words = [label.text for label in step_overlay(scene, size, steps["blk.1.attn_probs"]).labels]
    meaning = scene.shown.trace.tensor("blk.1.attn_probs").meaning
    title = next(text for text in words if text.startswith("layer 1"))
    assert title.removeprefix("layer 1  ·  ") in (meaning, meaning.partition(": ")[0])
    for tap, step in steps.items():
        for label in step_overlay(scene, size, step).labels:
            assert "…" not in label.text[:-1], tap
