"""Sparse attention: keys that the indexer left out are told apart from keys that get nothing, and from later tokens."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.facts import shown_of_model
from refgguf.viz.inspect import hit_words
from refgguf.viz.scene.build import build_scene, notes_on
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.planes import ABSENT, chosen_cut, cut
from tests.support import archsuite

SPARSE = [
    f"{name}-moe"
    for name in ("deepseek32", "dots3note", "glm-dsa", "glm5-next", "hy_v4", "minimax-m3", "qwen4exp")
]
TOKENS = list(range(1, 13))


@pytest.mark.testdata
@pytest.mark.parametrize("name", [n for n in SPARSE if n in archsuite.names(that_run=True)])
def test_left_out_keys_are_seen(name, tmp_path):
    """Exactly the earlier keys that the mask rules out are shown as not computed; every other cell is the trace's."""
    model = archsuite.Case(name, tmp_path / "model.gguf").choosy.model
    scene = build_scene(shown_of_model(model, model.trace(TOKENS)))
    trace, found = scene.shown.trace, 0
    seen = np.tri(len(TOKENS), dtype=bool)
    for number, box in enumerate(scene.pieces.boxes):
        left_out = getattr(box.plane, "left_out", None)
        if left_out is None:
            continue
        cells, real = box.plane.pooled(1, 1), trace[box.plane.tap][box.head]
        np.testing.assert_array_equal(cells == ABSENT, left_out)
        np.testing.assert_array_equal(cells[~left_out], real[~left_out])
        assert not real[left_out].any()
        assert (np.isneginf(trace[box.plane.tap.replace("probs", "scores")][box.head]) & seen)[left_out].all()
        found += int(left_out.sum())
        row, col = (int(i) for i in np.argwhere(left_out)[0])
        hit = Hit(number, row, col, (box.head, row, col), 0.0, 1.0)
        assert "not chosen by the indexer" in hit_words(scene, hit)
    assert found
    assert any("indexer did not choose" in note for note in notes_on(scene, 1))


def test_a_pooled_cell_is_grey_only_if_nothing_in_it_was_chosen():
    """A group with one chosen key shows it; one with later tokens alone is empty, not grey."""
    values = np.tri(4, dtype=np.float32)
    mask = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    plane = chosen_cut(cut("p", ("head", "query", "key"), (values * mask)[None], {0: 0}), mask)
    np.testing.assert_array_equal(plane.pooled(2, 2), [[1, 0], [ABSENT, 1]])
    assert plane.value(2, 0) == 0.0
