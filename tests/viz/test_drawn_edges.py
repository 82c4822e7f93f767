"""Tubes: each begins where one of its sources stands and ends where one of its targets does."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_model
from refgguf.viz.scene.build import build_scene
from refgguf.viz.scene.parts import Box, Node, Pieces, Route
from tests.support import archsuite
from tests.support.scenes import SHAPES, tiny_scene

MIXED = {"qwen3next-moe", "rwkv7-dense", "falcon-h1-dense", "deepseek2-moe"}
NEAR = 1.0  # world units: arrow heads keep off what they point to
STREAM = ("embedding", "spine", "logits", "pooled")


def assert_ends_are_true(pieces: Pieces) -> None:
    """Each end of each tube lies at a box that it joins, at a disc, or on a tube through which the same flows."""
    tubes = [route for route in pieces.routes if route.radius > 0]
    boxes = pieces.boxes
    stream = [
        r for r in tubes if any(boxes[a].role in STREAM and boxes[b].role in STREAM for a, b in r.pairs)
    ]
    for route in tubes:
        same = [r for r in tubes if r is not route and set(r.pairs) & set(route.pairs)]
        for side, point in ((0, route.points[0]), (1, route.points[-1])):
            own = [boxes[pair[side]] for pair in route.pairs]
            near = any(to_box(point, box) < NEAR for box in own)
            near = near or any(to_line(point, other) < NEAR for other in (*same, *stream))
            near = near or (side == 1 and any(to_disc(point, node) < NEAR for node in pieces.nodes))
            names = {box.plane.tap for box in own}
            assert near, f"{'begins' if side == 0 else 'ends'} beside {names}, at {point}"


def to_box(point: np.ndarray, box: Box) -> float:
    """Return how far a point is from a box, seen from the front."""
    low, high = np.array(box.origin), np.add(box.origin, box.size)
    return float(np.linalg.norm(np.maximum(np.maximum(low - point, point - high), 0)[:2]))


def to_disc(point: np.ndarray, node: Node) -> float:
    """Return how far a point is from a disc, seen from the front."""
    return float(np.linalg.norm(point[:2] - node.at[:2])) - node.radius


def to_line(point: np.ndarray, route: Route) -> float:
    """Return how far a point is from the middle of a tube, seen from the front."""
    start, way = route.points[:-1, :2], np.diff(route.points[:, :2], axis=0)
    share = ((point[:2] - start) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-12)
    return float(np.linalg.norm(start + way * np.clip(share, 0, 1)[:, None] - point[:2], axis=1).min())


@pytest.mark.parametrize("shape", SHAPES)
def test_tubes_end_where_they_say(shape):
    """No tube runs to another box than those that its flow is between."""
    assert_ends_are_true(tiny_scene(shape).pieces)


@pytest.mark.testdata
@pytest.mark.parametrize("name", sorted(MIXED & set(archsuite.names(that_run=True))))
def test_tubes_of_mixers_end_where_they_say(name, tmp_path):
    """Nor in recurrent and mixed models, with shared experts and latent attention."""
    model = refgguf.load(archsuite.Case(name, tmp_path / "model.gguf").write())
    assert_ends_are_true(build_scene(shown_of_model(model, model.trace([1, 5, 9, 7]))).pieces)


def crossed(pieces: Pieces) -> list[tuple[str, str]]:
    """Return (what a tube comes from, the box in front of which it runs without joining it)."""
    low = np.array([box.origin[:2] for box in pieces.boxes]) + 0.05
    high = low + np.array([box.size[:2] for box in pieces.boxes]) - 0.1
    found = []
    for route in pieces.routes:
        steps = np.linspace(0, 1, 40)[:, None, None]
        along = (route.points[:-1] * (1 - steps) + route.points[1:] * steps).reshape(-1, 3)
        along = along[along[:, 2] >= 0]
        inside = ((along[:, None, :2] > low) & (along[:, None, :2] < high)).all(axis=2).any(axis=0)
        joined = {i for pair in route.pairs for i in pair} if route.radius else set(range(len(low)))
        source = pieces.boxes[route.pairs[0][0]].plane.tap
        found += [(source, pieces.boxes[i].plane.tap) for i in np.flatnonzero(inside) if i not in joined]
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_tubes_run_across_no_box(shape):
    """What a tube does not join it does not cover."""
    assert crossed(tiny_scene(shape).pieces) == []


# routers and networks that read what enters the layer, streams that skip layers, values of the first layer in all
SKIPPING = {
    "arctic-moe",
    "talkie-dense",
    "hrm_text-dense",
    "smallthinker-moe",
    "rwkv7-dense",
    "deepseek32-moe",
}


@pytest.mark.testdata
@pytest.mark.parametrize("name", sorted(SKIPPING & set(archsuite.names(that_run=True))))
def test_tubes_that_skip_something_run_across_no_box(name, tmp_path):
    """They rise above everything, behind it, or run below the stream."""
    model = archsuite.Case(name, tmp_path / "model.gguf").model
    pieces = build_scene(shown_of_model(model, model.trace([1, 5, 9, 7]))).pieces
    assert crossed(pieces) == []
    assert_ends_are_true(pieces)


@pytest.mark.testdata
def test_keys_made_of_latent_vectors_are_joined_beside_them(tmp_path):
    """In latent attention a level tube runs from what is mixed to the keys: no arc across their names."""
    if "deepseek2-moe" not in archsuite.names(that_run=True):
        pytest.skip("the suite of architectures is not at hand")
    model = archsuite.Case("deepseek2-moe", tmp_path / "model.gguf").model
    pieces = build_scene(shown_of_model(model, model.trace([1, 5, 9, 7]))).pieces
    roles = [box.role for box in pieces.boxes]
    found = [r for r in pieces.routes if any((roles[a], roles[b]) == ("v", "k") for a, b in r.pairs)]
    assert len(found) == 2
    for route in found:
        assert np.ptp(route.points[:, 1]) == 0
