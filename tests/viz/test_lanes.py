"""Lanes: several residual streams are several boxes, and tubes run where each of them really flows."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.contributions import addends, stream_taps
from refgguf.viz.facts import shown_of_model
from refgguf.viz.inspect import hit_words
from refgguf.viz.scene.anatomy import STREAMS, anatomy_of, is_number, local
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.picking import Hit
from refgguf.viz.stream_steps import as_it_is, case_of, ways_back
from refgguf.viz.sums import sum_of
from tests.support import archsuite
from tests.support.scenes import tiny_scene

SEVERAL = ["deepseek4-moe", "gemma3n-dense", "glm5-next-moe", "hy_v4-moe", "qwen4exp-moe"]
N_STREAMS, TOKENS, TOKEN = 4, [1, 5, 9, 7, 12], 3


@pytest.fixture(scope="module", params=SEVERAL)
def drawn(request, tmp_path_factory):
    """A small model of each architecture with several streams, its trace, and its scene with weighed edges."""
    path = tmp_path_factory.mktemp("lanes") / "model.gguf"
    model = archsuite.Case(request.param, path).model
    needed = {*anatomy_of(model.taps).needed(), *stream_taps(model.taps)}
    trace = model.trace(TOKENS, taps=[n for n in model.taps if n in needed])
    yield model, trace, build_scene(shown_of_model(model, trace, token=TOKEN, flow="stream"))
    path.unlink()


def lanes_of(scene, name: str) -> list[int]:
    """Return the numbers of the boxes of a tap, stream by stream."""
    return [i for i, box in enumerate(scene.pieces.boxes) if box.plane.tap == name]


@pytest.mark.testdata
def test_every_stream_is_a_box(drawn):
    """Each stream has a box with its own values, above each other; pointing at one names stream, token and value."""
    _, trace, scene = drawn
    found = [n for n in trace.names if trace.tensor(n).axes == STREAMS and lanes_of(scene, n)]
    assert any(n.endswith("resid_post") for n in found) or any(n.endswith(".streams") for n in found)
    for name in found:
        boxes = lanes_of(scene, name)
        values = trace[name]
        assert len(boxes) == values.shape[1]
        for stream, number in enumerate(boxes):
            box = scene.pieces.boxes[number]
            np.testing.assert_array_equal(box.plane.values, values[:, stream])
            index = box.plane.index(TOKEN, 7)
            words = hit_words(scene, Hit(number, TOKEN, 7, index, box.plane.value(TOKEN, 7), 1.0))
            assert f"stream {stream}" in words
            before = N_STREAMS - len(boxes)  # of the streams in the tensor before this one
            assert box.title.startswith(f"stream {before + stream}, ")
            assert f"token {TOKEN}" in words
            assert f"{values[TOKEN, stream, 7]:.6g}" in words
        heights = [scene.pieces.boxes[n].middle[1] for n in boxes]
        assert heights == sorted(heights, reverse=True)


@pytest.mark.testdata
def test_what_streams_are_mixed_by_is_drawn(drawn):
    """How much is read of each stream, written to it and passed on to each has a box, with edges to what it makes."""
    model, trace, scene = drawn
    numbers = {b.plane.tap for b in scene.pieces.boxes if b.role == "gate"}
    assert numbers
    assert all(is_number(model.taps[n]) for n in numbers)
    pairs = {pair for route in scene.pieces.routes for pair in route.pairs}
    for name in numbers:
        (box,) = lanes_of(scene, name)
        assert any(a == box for a, _ in pairs)
        assert any(b == box for _, b in pairs)
    missing = {n for n in trace.names if model.taps[n].axes == ("token", "stream", "stream")} - numbers
    assert not missing
    gates = {n for n in model.taps if local(n) in ("hc_attn_gate", "hc_ffn_gate", "output_hc_gate")}
    assert gates <= numbers  # one number for each channel of each stream
    for name in gates:
        box = scene.pieces.boxes[lanes_of(scene, name)[0]]
        assert box.scale == "stream gates"
        assert box.pressed[0] > 1
        np.testing.assert_array_equal(box.plane.values, trace[name])


@pytest.mark.testdata
def test_tubes_run_between_the_streams_that_flow_into_each_other(drawn):
    """Between streams there is a tube if, and only if, the step's factor of the one in the other is not zero."""
    model, trace, scene = drawn
    taps, boxes = model.taps, scene.pieces.boxes
    joined = {pair for route in scene.pieces.routes for pair in route.pairs}
    n_checked = 0
    for target in dict.fromkeys(b.plane.tap for b in boxes if b.role == "spine"):
        case = case_of(trace, taps, target, TOKEN, model.file.tensors)
        if case is None:
            continue
        into = lanes_of(scene, target)
        for i, number in enumerate(into):
            own = np.eye(len(case.value))[i][:, None]
            for source, ways in (ways_back(case, {as_it_is: own}) or {}).items():
                came = source
                while not lanes_of(scene, came) and len(taps[came].inputs) == 1 and came != "embed":
                    came = taps[came].inputs[0]  # a copy under another name
                flows = ways[as_it_is].reshape(len(ways[as_it_is]), -1).any(axis=1)
                from_ = lanes_of(scene, came)
                if taps[came].axes != STREAMS or len(from_) != len(flows):
                    continue
                assert [(a, number) in joined for a in from_] == flows.tolist(), (came, target, i)
                n_checked += 1
    assert n_checked >= len(model.network.layers)


@pytest.mark.testdata
def test_what_goes_by_each_stream_sums_to_the_block(drawn):
    """Where a block writes to several streams, the tubes to them carry what goes by each, in all its contribution."""
    model, trace, scene = drawn
    boxes, flow = scene.pieces.boxes, scene.flow
    parts = addends(trace, model.taps, TOKEN, model.file.tensors)
    several = {n: p for n, p in parts.items() if p.by_stream is not None}
    assert several or "gemma3n" in model.file.architecture  # whose blocks work on one of its streams
    for name, part in several.items():
        np.testing.assert_allclose(
            part.by_stream.sum(axis=0), part.vector, atol=1e-9 * np.abs(part.by_stream).max()
        )
        if not name.endswith(("attn_out", "ffn_out")):
            continue
        target = name.replace("attn_out", "resid_mid").replace("ffn_out", "resid_post")
        for stream, number in enumerate(lanes_of(scene, target)):
            own = [
                v
                for n, v in flow.routes.items()
                if {b for _, b in scene.pieces.routes[n].pairs} == {number}
                and boxes[scene.pieces.routes[n].pairs[0][0]].role != "spine"
            ]
            assert own == pytest.approx([np.linalg.norm(part.by_stream[stream])], rel=1e-9)


@pytest.mark.testdata
def test_a_cell_of_a_stream_is_explained(drawn):
    """A channel of a stream is taken apart into what each stream and the branch give to it, by the real factors."""
    model, trace, _ = drawn
    names = [n for n in trace.names if n.endswith((".resid_mid", ".altup_predicted"))]
    name = next(n for n in names if trace.tensor(n).axes == STREAMS)
    found = sum_of(trace, name, (TOKEN, 2, 7), model.file.tensors)
    value = float(trace[name][TOKEN, 2, 7])
    assert found.total == pytest.approx(value, abs=1e-5 * sum(abs(t.value) for t in found.terms))
    post = name.replace("resid_mid", "hc_attn_post")
    if post != name:
        (added,) = [i for i in model.taps[name].inputs if model.taps[i].axes == ("token", "d_model")]
        (term,) = [t for t in found.terms if t.name.endswith(f" of {added}")]
        expected = float(trace[post][TOKEN, 2]) * float(trace[added][TOKEN, 7])
        assert term.value == pytest.approx(expected, rel=1e-6)


def test_names_of_streams_stand_clear_of_discs(drawn):
    """Each stream is named once, on a tube, and no disc covers the name."""
    _, _, scene = drawn
    pieces = scene.pieces
    names = [label for label in pieces.labels if label.text in {f"stream {n}" for n in range(N_STREAMS)}]
    assert len({label.text for label in names}) == len(names) == N_STREAMS
    for label in names:
        x, y, width = *label.at[:2], 0.6 * len(label.text) * label.height
        for node in pieces.nodes:
            if abs(node.at[1] - y) < node.radius + label.height:
                assert not x - node.radius < node.at[0] < x + width + node.radius


def test_one_stream_is_one_box():
    """An ordinary model has no lanes and nothing that mixes them."""
    scene = tiny_scene("grouped queries")
    roles = [box.role for box in scene.pieces.boxes]
    assert "gate" not in roles
    taps = [box.plane.tap for box in scene.pieces.boxes if box.role == "spine"]
    assert len(taps) == len(set(taps))
