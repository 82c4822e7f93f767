"""Every architecture of the suite, hybrids, recurrent ones, latent attention, experts: drawn truly, nothing hidden."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file, shown_of_model
from refgguf.viz.scene.anatomy import anatomy_of
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.graph import drawn_sources
from tests.support import archsuite

pytestmark = pytest.mark.testdata


@pytest.fixture(scope="module", params=archsuite.names(that_run=True))
def path(request, tmp_path_factory):
    """A small model of each architecture of the suite, written from its description."""
    out = archsuite.Case(request.param, tmp_path_factory.mktemp("arch") / "model.gguf").write()
    yield out
    out.unlink()


def assert_nothing_hidden(boxes) -> None:
    """No two fronts overlap."""
    left, right = np.array([b.left for b in boxes]), np.array([b.right for b in boxes])
    low, high = np.array([b.bottom for b in boxes]), np.array([b.top for b in boxes])
    for i in range(len(boxes)):
        hidden = (left < right[i] - 1e-6) & (left[i] < right - 1e-6)
        hidden &= (low < high[i] - 1e-6) & (low[i] < high - 1e-6)
        hidden[i] = False
        found = np.flatnonzero(hidden)
        assert not len(found), f"{boxes[i].plane.tap} {boxes[i].head} and {boxes[found[0]].plane.tap}"


def assert_heads_mix_their_values(anatomy, trace, taps) -> None:
    """What stands behind a pattern is its probabilities times the values that stand above it."""
    for heads in (heads for layer in anatomy.layers for heads in layer.heads):
        if heads.v is None or heads.z is None or len(taps[heads.z].inputs) != 2:
            continue  # of two patterns together, each is a part of it
        shares, mixed = (trace[name].astype(float) for name in (heads.pattern, heads.z))
        values = trace[heads.v].astype(float).reshape(shares.shape[2], -1, mixed.shape[2])
        values = np.repeat(values, shares.shape[0] // values.shape[1], axis=1)
        terms = np.einsum("hqk,khd->qhd", shares, np.abs(values))
        # float32: a sum over at most a few keys, of products that are rounded once
        bound = 4 * shares.shape[2] * 2.0**-24 * terms.max()
        assert np.abs(np.einsum("hqk,khd->qhd", shares, values) - mixed).max() <= bound, heads


def test_a_run_is_drawn_truly(path):
    """Nothing hides anything, every drawn flow is real, and every real flow between drawn tensors is drawn."""
    model = refgguf.load(path)
    anatomy = anatomy_of(model.taps)
    trace = model.trace([1, 5, 9, 7], taps=list(anatomy.needed()))
    filled = [name for name in trace.names if trace[name].size]  # four tokens make no block of many
    anatomy = anatomy_of(model.taps, traced=filled)
    scene = build_scene(shown_of_model(model, trace))
    boxes = scene.pieces.boxes
    assert_heads_mix_their_values(anatomy, trace, model.taps)
    assert_nothing_hidden(boxes)
    assert {b.plane.tap for b in boxes} == set(anatomy.drawn())
    sources = drawn_sources(model.taps, anatomy.drawn())
    joined = {(boxes[a].plane.tap, boxes[b].plane.tap) for r in scene.pieces.routes for a, b in r.pairs}
    assert joined == {(source, target) for target, names in sources.items() for source in names}


def test_a_file_is_drawn_whole(path):
    """Whatever the architecture, all tensors are in the picture of the file, and none hides another."""
    file = refgguf.open(path)
    boxes = build_scene(shown_of_file(file, colour="bits")).pieces.boxes
    assert {b.plane.tap for b in boxes} == set(file.tensors)
    assert_nothing_hidden(boxes)
