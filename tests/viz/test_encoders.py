"""Encoders in the scene: the vector that a text becomes stands behind the stream, with its own edge and values."""

from __future__ import annotations

from itertools import pairwise

import pytest

import refgguf
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import build_scene
from tests.support.encoders import ENCODERS


@pytest.mark.parametrize("case", [e for e in ENCODERS if e.architecture == "bert"], ids=lambda e: e.name)
def test_what_a_text_becomes_is_drawn(tmp_path, case):
    """Pooled vector and labels' scores are boxes behind everything else, with what they are computed from."""
    model = refgguf.load(case.write(tmp_path))
    trace = model.trace(case.tokens[:6])
    scene = build_scene(shown_of_model(model, trace))
    boxes = scene.pieces.boxes
    ends = anatomy_of(model.taps).ends
    if not ends:
        pytest.skip("its pooling is none: each token keeps its own vector")
    assert ends[0] == "pooled"
    assert [b.plane.tap for b in boxes if b.role == "pooled"] == list(ends)
    assert min(b.left for b in boxes if b.role == "pooled") > max(b.right for b in boxes if b.role == "spine")
    flows = {(boxes[a].plane.tap, boxes[b].plane.tap) for r in scene.pieces.routes for a, b in r.pairs}
    for before, after in pairwise(ends):
        assert (before, after) in flows
    assert any(target == "pooled" for _, target in flows)
    for box in boxes:
        if box.role == "pooled":
            assert (
                box.plane.value(0, 3 % box.plane.shape[1]) == trace[box.plane.tap][0, 3 % box.plane.shape[1]]
            )


@pytest.mark.parametrize("case", [e for e in ENCODERS if e.architecture == "t5encoder"], ids=lambda e: e.name)
def test_an_encoder_alone_is_one_stream(tmp_path, case):
    """T5's encoder without a decoder is drawn as any encoder is: one stream that begins with the embedding."""
    model = refgguf.load(case.write(tmp_path))
    anatomy = anatomy_of(model.taps)
    assert anatomy.encoder is None
    assert anatomy.embeddings == ("embed",)
    boxes = build_scene(shown_of_model(model, model.trace(case.tokens[:6]))).pieces.boxes
    assert {b.plane.tap for b in boxes} == set(anatomy.drawn())
    assert {b.plane.shape[0] for b in boxes if b.role == "spine"} == {6}
