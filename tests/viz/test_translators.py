"""T5 in the scene: an encoder that reads one text, a decoder that writes another, and what flows between them."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_model
from refgguf.viz.render.letters import set_line
from refgguf.viz.scene import shelves
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import build_scene, with_arcs
from refgguf.viz.scene.graph import drawn_sources
from refgguf.viz.session import Session
from refgguf.viz.state import ArcChoice
from tests.support.translators import TRANSLATORS
from tests.viz.test_architectures import assert_nothing_hidden

SOURCE, TARGET = [5, 6, 7, 8, 12, 13], [9, 10]


@pytest.fixture(scope="module", params=TRANSLATORS, ids=lambda case: case.name)
def model(request, tmp_path_factory):
    """A small model of an encoder and a decoder."""
    return refgguf.load(request.param.write(tmp_path_factory.mktemp("t5")))


@pytest.fixture(scope="module")
def scene(model):
    """Six tokens read, two written after the start token."""
    return build_scene(shown_of_model(model, model.trace(SOURCE, target=TARGET)))


def test_both_stacks_are_drawn(model, scene):
    """Every layer of both has its stream, heads, neurons; the decoder's its two attentions; encoder before decoder."""
    boxes, anatomy = scene.pieces.boxes, anatomy_of(model.taps)
    assert {b.plane.tap for b in boxes} == set(anatomy.drawn())
    for layer in anatomy.encoder.layers:
        assert [h.pattern for h in layer.heads] == [f"enc.blk.{layer.layer}.attn_probs"]
    for layer in anatomy.layers:
        own = f"dec.blk.{layer.layer}"
        assert [h.pattern for h in layer.heads] == [f"{own}.attn_probs", f"{own}.cross_attn_probs"]
        assert layer.heads[1].k == f"{own}.cross_attn_k"
        assert layer.spine == (f"{own}.resid_attn", f"{own}.resid_mid", f"{own}.resid_post")
    read = [b for b in boxes if b.plane.tap.startswith("enc.")]
    shelf = scene.pieces.shelf_at
    assert max((shelf(b.bottom), b.right) for b in read) < min(
        (shelf(b.bottom), b.left) for b in boxes if b not in read
    )
    assert_nothing_hidden(boxes)


def test_names_below_attention_stand_apart(scene):
    """The words below Q, patterns and Z do not run into each other, however narrow these are."""
    names = ("Q", "Z", "attention", "cross attention")
    found = [label for label in scene.pieces.labels if label.text in names]
    assert {"Q", "attention", "cross attention"} <= {label.text for label in found}
    for one in found:
        for other in found:
            if one.at[0] < other.at[0] and one.at[1] == other.at[1]:
                widths = [set_line(x.text, True)[1] * x.height for x in (one, other)]
                assert other.at[0] - one.at[0] > sum(widths) / 2


def test_tubes_stay_beside_their_shelves(model):
    """However many shelves a tube serves, no part of it runs out of the scene."""
    scene = build_scene(shown_of_model(model, model.trace(SOURCE, target=TARGET), aspect=0.4))
    assert len(scene.pieces.shelves) > 2
    low, high = scene.pieces.bounds()
    for route in scene.pieces.routes:
        assert route.points[:, 0].min() > low[0] - 2 * shelves.SIDE
        assert route.points[:, 0].max() < high[0] + 2 * shelves.SIDE
        ends = {scene.pieces.shelf_at(scene.pieces.boxes[i].bottom) for pair in route.pairs for i in pair}
        heights = np.array(scene.pieces.shelves)[sorted(ends)]
        assert route.points[:, 1].min() > heights.min() + scene.pieces.floor
        assert route.points[:, 1].max() < heights.max() - scene.pieces.floor + high[1]


def test_every_edge_is_real_and_every_flow_drawn(model, scene):
    """What the encoder has made flows into each decoder layer's cross keys and values, and nowhere else."""
    boxes = scene.pieces.boxes
    joined = {(boxes[a].plane.tap, boxes[b].plane.tap) for r in scene.pieces.routes for a, b in r.pairs}
    sources = drawn_sources(model.taps, anatomy_of(model.taps).drawn())
    assert joined == {(source, target) for target, names in sources.items() for source in names}
    n = len(anatomy_of(model.taps).layers)
    assert {b for a, b in joined if a == "enc.final_norm"} == {
        f"dec.blk.{i}.cross_attn_{x}" for i in range(n) for x in "kv"
    }


def test_patterns_show_the_trace(scene):
    """Rows of a cross pattern are tokens written, columns are tokens read; every cell is the trace's own number."""
    trace = scene.shown.trace
    for box in scene.pieces.boxes:
        if box.role == "pattern":
            rows = 6 if box.plane.tap.startswith("enc.") else 3
            columns = 6 if "enc." in box.plane.tap or "cross" in box.plane.tap else 3
            assert box.plane.shape == (rows, columns)
            np.testing.assert_array_equal(box.plane.pooled(1, 1), trace[box.plane.tap][box.head])


def test_arcs_join_the_texts(scene):
    """Arcs of a layer run within the text read, within the text written, and from the one to the other."""
    arcs = with_arcs(scene, ArcChoice(0)).arcs.arcs
    boxes = scene.pieces.boxes
    ends = {(boxes[a.source].plane.tap, boxes[a.target].plane.tap) for a in arcs}
    assert ends == {
        ("enc.embed", "enc.blk.0.resid_mid"),
        ("embed", "dec.blk.0.resid_attn"),
        ("enc.final_norm", "dec.blk.0.resid_mid"),
    }
    cross = scene.shown.trace["dec.blk.0.cross_attn_probs"].mean(axis=0)
    for arc in arcs:
        if boxes[arc.source].plane.tap == "enc.final_norm":
            assert arc.share == pytest.approx(float(cross[arc.query, arc.key]), rel=1e-6)


def test_the_title_names_both_texts(scene):
    """What was read stands before what was written."""
    assert scene.shown.facts.prompt == "#5 #6 #7 #8 #12 #13 → #3 #9 #10"
    assert scene.shown.source_texts == ["#5", "#6", "#7", "#8", "#12", "#13"]


def test_a_session_writes_on(model):
    """A drawn token goes to the text that is written, not to the one that is read."""
    session = Session(model, SOURCE, target=list(TARGET)).extended(11)
    assert (session.ids, session.target) == (SOURCE, [*TARGET, 11])
    shown = session.run()
    assert shown.trace.tokens.tolist()[1:] == [*TARGET, 11]
    np.testing.assert_array_equal(session.whole_logits()[-1], shown.trace["logits"][-1])
