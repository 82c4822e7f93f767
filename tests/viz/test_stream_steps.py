"""Addends of the stream, over every architecture: whatever lies on their way, they are what the output reads."""

from __future__ import annotations

from html import unescape

import numpy as np
import pytest

import refgguf
from refgguf.trace import Trace
from refgguf.viz.contributions import (
    addends,
    contributions,
    end_of_stream,
    not_taken_apart,
    reader_of,
    stream_taps,
    total_of,
)
from refgguf.viz.facts import shown_of_model
from refgguf.viz.pages import scene_page
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import build_scene
from tests.support import archsuite
from tests.support.scenes import shown, tiny_trace

TOKENS, TOKEN = [1, 5, 9, 7], 2
# whose streams are several, or are mixed or multiplied on their way by numbers that a hook can hold; no norm lies on it
HELD = ["deepseek4-moe", "gemma4-dense", "gemma4-moe", "glm5-next-moe", "hy_v4-moe", "kimi-k3-moe"]
UNUSUAL = [*HELD, "gemma3n-dense", "minimax-01-moe", "qwen4exp-moe"]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """Return what opens a small model of an architecture."""
    folder = tmp_path_factory.mktemp("streams")
    return lambda name: archsuite.Case(name, folder / f"{name}.gguf").model


def branches(model) -> set[str]:
    """Return the names of what token mixers and networks add, as the layers themselves call them."""
    found = set()
    for number, layer in enumerate(model.network.layers):
        found.update(f"blk.{number}.{b.out}" for b in (layer.mixer, layer.ffn, layer.late) if b)
    return found


@pytest.mark.testdata
@pytest.mark.parametrize("name", archsuite.names(that_run=True))
def test_addends_are_the_stream_and_its_score(model_of, name):
    """Every block of every layer has its addend; together they are the stream that is read, and give its scores."""
    model = model_of(name)
    scored = "logits_raw" if "logits_raw" in model.taps else "logits"
    trace = model.trace(TOKENS, taps=[*stream_taps(model.taps), scored])
    parts = addends(trace, model.taps, TOKEN, model.file.tensors)
    assert not not_taken_apart(parts, model.taps)
    for branch in branches(model):  # attention beside a state-space model adds as two
        assert branch in parts or {*model.taps[branch].inputs} <= {*parts}
    size = sum(np.abs(part.vector) for part in parts.values())
    stream = trace[end_of_stream(model.taps)][TOKEN]
    # float32: at most a hundred steps, each of which rounds what a few factors and additions give
    assert np.abs(total_of(parts) - stream).max() <= 100 * 2.0**-24 * size.max()
    head = model.network.head
    found, constant = contributions(parts, reader_of(model), 9)
    score = sum(c.score for c in found) + constant
    n = sum(abs(c.score) for c in found) + abs(constant)
    before_cap = scored == "logits_raw"  # without entries that have no row, and not scaled yet
    expected = trace[scored][TOKEN, 9 - head.n_unscored * before_cap] * (head.scale if before_cap else 1.0)
    # float32 products and sums over 64 to 512 channels, of the addends' size
    assert score == pytest.approx(float(expected), abs=512 * 2.0**-24 * n)


@pytest.mark.testdata
@pytest.mark.parametrize("name", HELD)
def test_an_addend_is_what_the_stream_lacks_without_it(model_of, name):
    """All else held that streams are mixed by, the stream without a block lacks that block's addend."""
    model = model_of(name)
    trace = model.trace(TOKENS)
    parts = addends(trace, model.taps, TOKEN, model.file.tensors)
    end = end_of_stream(model.taps)
    numbers = [n for n in trace.names if n in stream_taps(model.taps)]
    numbers = [n for n in numbers if model.taps[n].axes[-1] in ("stream", "source", "channel")]
    held = {n: (lambda x, tap, n=n: trace[n]) for n in [*numbers, *parts] if n != "embed"}
    for part in [p for p in parts if p != "embed"][:6]:
        with model.hooks(held | {part: lambda x, tap: 0 * x}):
            without = model.trace(TOKENS, taps=[end])[end][TOKEN]
        lost = trace[end][TOKEN].astype(np.float64) - without
        size = sum(np.abs(p.vector) for p in parts.values()).max()
        assert np.abs(lost - parts[part].vector).max() <= 100 * 2.0**-24 * size
        assert np.abs(parts[part].vector).max() > 0


@pytest.mark.testdata
@pytest.mark.parametrize("name", UNUSUAL)
def test_flow_is_drawn(model_of, name):
    """Every block's tubes into the stream carry its contribution, and their sum is no other block's."""
    model = model_of(name)
    needed = {*anatomy_of(model.taps).needed(), *stream_taps(model.taps)}
    trace = model.trace(TOKENS, taps=[n for n in model.taps if n in needed])
    scene = build_scene(shown_of_model(model, trace, token=TOKEN, flow="stream"))
    parts = addends(trace, model.taps, TOKEN, model.file.tensors)
    boxes = scene.pieces.boxes
    layers = {boxes[scene.pieces.routes[n].pairs[0][1]].layer for n in scene.flow.routes}
    assert layers == {model.taps[n].layer for n in parts} - {None}
    assert scene.flow.note.startswith("Flow: what heads")
    lengths = {f"{value:.3g}" for value in scene.flow.experts.values()}
    lengths |= {f"{np.linalg.norm(part.vector):.3g}" for part in parts.values()}
    lanes = [lane for part in parts.values() if part.by_stream is not None for lane in part.by_stream]
    lengths |= {f"{np.linalg.norm(lane):.3g}" for lane in lanes}
    assert lengths >= {label.text for label in scene.flow.labels}


def with_values(trace: Trace, values: dict[str, np.ndarray]) -> Trace:
    """Return a trace with other values."""
    return Trace(values, trace.taps, trace.tokens, trace.token_texts)


def test_a_step_that_nobody_knows_is_said():
    """Where a step of the stream is no sum, what came before it is one addend, and the legend says so."""
    trace = tiny_trace("grouped queries")
    step = "blk.1.resid_mid"
    values = dict(trace.items())
    values[step] = np.abs(values[step])
    values["blk.1.resid_post"] = values[step] + values["blk.1.ffn_out"]
    bent = with_values(trace, values)
    scene = build_scene(shown(bent, token=2, flow="stream"))
    assert f"blocks before {step}" in scene.flow.note
    assert scene.flow.note in unescape(scene_page(scene))  # the inspector's
    parts = addends(bent, bent.taps, 2)
    assert not_taken_apart(parts, bent.taps) == [step]
    assert not any(name.startswith("blk.0.") for name in parts)


def test_no_scores_no_flow():
    """Without what the scores are read from, the legend says that nothing can be weighed, and why."""
    trace = tiny_trace("grouped queries")
    without = with_values(trace, {name: x for name, x in trace.items() if name != "blk.1.resid_post"})
    scene = build_scene(shown(without, token=2, flow="stream"))
    assert not scene.flow.routes
    assert scene.flow.note.endswith("cannot be told: the trace lacks it.")


def test_the_embedded_models_factors_are_one():
    """In a plain model every addend is the block's own value, bit for bit."""
    model = refgguf.load("demo")
    trace = model.trace(model.tokenize("Mia had a")[:4])
    for name, part in addends(trace, model.taps, 2).items():
        np.testing.assert_array_equal(part.vector, trace[name][2].astype(np.float64))
