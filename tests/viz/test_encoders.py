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
