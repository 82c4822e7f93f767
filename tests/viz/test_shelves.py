"""Deep models stand on shelves: the same boxes and edges, cut between layers, in reading order."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene import shelves
from refgguf.viz.scene.arcs import arcs_of
from refgguf.viz.scene.build import Scene, build_scene, look_at
from refgguf.viz.scene.camera import NAMED, Camera
from refgguf.viz.state import ArcChoice
from tests.support.scenes import shown
from tests.support.sparse_file import llama_7b
from tests.support.tiny_trace import TinyTransformer

LONG = ("80 layers of a file", "30 layers of a run")


def scene_of(name: str, folder) -> Scene:
    """Lay out a file of 80 layers, or a run of 30."""
    if name == LONG[1]:
        return build_scene(shown(TinyTransformer(n_layers=30).trace(5)))
    path = llama_7b(folder / "deep.gguf", n_layers=80)
    with refgguf.open(path) as file:
        return build_scene(shown_of_file(file, refgguf.load(path).taps, colour="bits"))


@pytest.fixture(scope="module", params=LONG)
def pair(request, tmp_path_factory):
    """A deep model on shelves, and the same on one line."""
    folder = tmp_path_factory.mktemp("deep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "LONG", 1e9)
        line = scene_of(request.param, folder)
    return scene_of(request.param, folder), line


def test_it_has_a_pictures_shape(pair):
    """What was a ribbon is between one and a half and four and a half times as wide as it is high."""
    for scene, low, high in zip(pair, (1.5, shelves.LONG), (4.5, np.inf), strict=True):
        size = np.ptp(scene.pieces.bounds(), axis=0)
        assert low < size[0] / size[1] < high
    assert len(pair[0].pieces.shelves) > 1
    assert len(pair[1].pieces.shelves) == 1


def test_boxes_move_by_whole_layers_in_reading_order(pair):
    """Every box keeps its size and its place among its layer's; no layer is torn; later layers stand further on."""
    now, line = (s.pieces.boxes for s in pair)
    assert [b.plane.tap for b in now] == [b.plane.tap for b in line]
    assert [b.size for b in now] == [b.size for b in line]
    moved = np.array([b.origin for b in now]) - np.array([b.origin for b in line])
    pieces = pair[0].pieces
    places = []
    for layer in sorted({b.layer for b in now if b.layer is not None}):
        numbers = [i for i, b in enumerate(now) if b.layer == layer]
        assert np.ptp(moved[numbers], axis=0).max() < 1e-9
        places.append((pieces.shelf_at(now[numbers[0]].bottom), min(now[i].left for i in numbers)))
    assert places == sorted(places)


def test_no_shelf_hides_another(pair):
    """Everything on a shelf stands above its floor, and below the floor of the shelf before."""
    pieces = pair[0].pieces
    for box in pieces.boxes:
        shelf = pieces.shelf_at(box.bottom)
        assert box.bottom > pieces.floor + pieces.shelves[shelf]
        assert shelf == 0 or box.top < pieces.floor + pieces.shelves[shelf - 1]


def test_edges_still_join_their_boxes(pair):
    """The same flows run along the same tubes, which end at the same place beside the same box as on one line."""
    now, line = (s.pieces for s in pair)
    assert [r.pairs for r in now.routes] == [r.pairs for r in line.routes]
    crossing = 0
    for route, before in zip(now.routes, line.routes, strict=True):
        first, last = route.pairs[0]
        end = np.array(now.boxes[last].origin) - np.array(line.boxes[last].origin)
        np.testing.assert_allclose(route.points[-1], before.points[-1] + end, atol=1e-9)
        start = np.array(now.boxes[first].origin) - np.array(line.boxes[first].origin)
        if np.allclose(start, end):
            np.testing.assert_allclose(route.points[0], before.points[0] + start, atol=1e-9)
        else:
            crossing += 1
    assert crossing >= len(now.shelves) - 1


def test_arcs_stay_on_the_shelf_of_what_takes():
    """No arc between tokens runs across shelves, though the stream it starts from may stand on the one before."""
    scene = scene_of(LONG[1], None)
    assert len(scene.pieces.shelves) > 1
    found = arcs_of(scene.pieces, scene.shown, ArcChoice(), scene.theme)
    assert len({arc.layer for arc in found.arcs}) == 30
    for arc in found.arcs:
        shelf = scene.pieces.shelf_at(scene.pieces.boxes[arc.target].bottom)
        assert {scene.pieces.shelf_at(y) for y in (arc.points[0, 1], arc.points[-1, 1])} == {shelf}


@pytest.mark.parametrize("aspect", [1.0, 2 / 3])
def test_a_narrow_picture_has_more_shelves(aspect):
    """What stands on one line in a wide picture is cut for a square or a tall one, which it then fills better."""
    trace = TinyTransformer(n_layers=9).trace(8)
    wide, narrow = (build_scene(shown(trace, aspect=a)).pieces for a in (16 / 9, aspect))
    assert len(wide.shelves) == 1
    assert len(narrow.shelves) > 1
    shapes = [np.ptp(p.bounds(), axis=0) for p in (wide, narrow)]
    misfits = [abs(np.log(size[0] / size[1] / aspect)) for size in shapes]
    assert misfits[1] < misfits[0]


@pytest.mark.parametrize("pair", [LONG[1]], indirect=True)
def test_a_branch_begins_where_its_tube_is(pair):
    """What branches off a tube that comes from the shelf before starts at the tube, as on one line: no stub."""
    now, line = (s.pieces for s in pair)
    found = 0
    for route, before in zip(now.routes, line.routes, strict=True):
        source, target = (now.boxes[i] for i in route.pairs[0])
        if now.shelf_at(source.bottom) < now.shelf_at(target.bottom) and target.role in ("q", "k", "v"):
            moved = np.array(target.origin) - line.boxes[route.pairs[0][1]].origin
            branch = abs(before.points[0, 1]) > 1
            found += branch
            assert not branch or route.points[0] == pytest.approx(before.points[0] + moved)
    assert found


@pytest.mark.parametrize("name", sorted(NAMED))
def test_no_floor_hides_the_next_shelf(pair, name):
    """From every named camera the line of sight to the upper part of each box passes by the floor above it."""
    scene = pair[0]
    pieces = scene.pieces
    camera = look_at(scene, (1280, 720), Camera(*NAMED[name])).camera
    for box in pieces.boxes:
        shelf = pieces.shelf_at(box.bottom)
        if not shelf:
            continue
        top = np.array(box.origin) + np.array(box.size) * (0.5, 0.9, 1.0)
        floor = pieces.floor + pieces.shelves[shelf - 1]
        along = (floor - top[1]) / (camera.eye[1] - top[1])
        x, _, z = top + along * (camera.eye - top)
        above = [c for c in pieces.cards if c.shelf == shelf - 1 and 0 < along < 1]
        assert not any(c.x < x < c.x + c.width and c.z < z < c.z + c.depth for c in above), box.plane.tap
