"""Choosing another token changes words and weighed edges alone, and gives the scene that a new layout would."""

from __future__ import annotations

import numpy as np
import pytest

from refgguf.viz.scene.build import build_scene, with_token
from refgguf.viz.state import ArcChoice
from tests.support.scenes import shown, tiny_trace


@pytest.mark.parametrize(
    "options", [{}, {"arcs": ArcChoice(0)}, {"flow": "stream"}], ids=["plain", "arcs", "flow"]
)
@pytest.mark.parametrize("shape", ["grouped queries", "four experts"])
def test_another_token_gives_the_same_scene_as_anew(shape, options):
    """Boxes, labels, edges, arcs, scales and shadows are those of a scene that is laid out for that token."""
    trace = tiny_trace(shape)
    found = with_token(build_scene(shown(trace, token=1, marked=True, **options)), 3, True)
    anew = build_scene(shown(trace, token=3, marked=True, **options))
    assert found.shown.token == 3
    assert found.shown.facts == anew.shown.facts
    assert found.pieces.labels == anew.pieces.labels
    assert [b.origin + b.size for b in found.pieces.boxes] == [b.origin + b.size for b in anew.pieces.boxes]
    assert found.scales == anew.scales
    assert dict(found.flow.routes) == dict(anew.flow.routes)
    for mine, other in ((found.mesh, anew.mesh), (found.arcs.mesh, anew.arcs.mesh)):
        np.testing.assert_array_equal(mine.middles, other.middles)
        np.testing.assert_array_equal(mine.colours, other.colours)
        np.testing.assert_array_equal(mine.radii, other.radii)
