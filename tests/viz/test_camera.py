"""The camera: matrices, rays and framing agree with each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refgguf.errors import InputError
from refgguf.viz.scene.build import look_at
from refgguf.viz.scene.camera import NAMED, Camera, aim, parse_camera
from refgguf.viz.scene.framing import CLEAR, fit, label_points, outline_points
from tests.support.scenes import SHAPES, tiny_scene

SIZE = (640, 400)
SEEN = replace(Camera(-33, 14, 36), target=(5.0, 2.0, 1.0), distance=40.0, zoom=1.3, shift=(0.2, -0.1))


def test_the_target_is_in_the_middle():
    """Without shift, the point that the camera turns around appears in the middle of the picture."""
    camera = replace(SEEN, shift=(0.0, 0.0))
    assert camera.project(np.array([camera.target]), SIZE)[0] == pytest.approx((320, 200, 40))


def test_azimuth_and_elevation():
    """From the front x runs right and y up; a positive azimuth looks from the right, elevation from above."""
    points = np.array([(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)])
    right, up, near = Camera(distance=10.0, azimuth=0, elevation=0).project(points, SIZE)
    assert right[0] > 320
    assert up[1] < 200
    assert near[2] < 10
    assert Camera(azimuth=30, elevation=20).eye[0] > 0
    assert Camera(azimuth=30, elevation=20).eye[1] > 0


def test_projection_is_what_the_matrix_does():
    """The pixels of `project` are those that OpenGL would make of the matrix, whatever near and far are."""
    points = np.random.default_rng(1).uniform(-8, 8, (20, 3))
    clip = np.c_[points, np.ones(20)] @ SEEN.matrix(SIZE[0] / SIZE[1], 3.0, 90.0).T
    place = clip[:, :2] / clip[:, 3:]
    pixels = np.stack([(place[:, 0] + 1) / 2 * SIZE[0], (1 - place[:, 1]) / 2 * SIZE[1]], axis=1)
    assert SEEN.project(points, SIZE)[:, :2] == pytest.approx(pixels)


def test_a_ray_meets_the_point_that_it_is_sent_through():
    """The ray through a point's pixel passes through the point."""
    points = np.random.default_rng(2).uniform(-8, 8, (20, 3))
    for point, (x, y, _) in zip(points, SEEN.project(points, SIZE), strict=True):
        origin, direction = SEEN.ray(x, y, SIZE)
        along = (point - origin) @ direction
        assert along > 0
        assert origin + along * direction == pytest.approx(point)


def test_depth_range_holds_everything():
    """Near and far lie before and behind every corner."""
    low, high = np.array([-5.0, -2, -3]), np.array([9.0, 4, 3])
    camera = aim(Camera(), low, high)
    near, far = camera.depth_range(low, high)
    corners = np.array([(x, y, z) for x in (-5, 9) for y in (-2, 4) for z in (-3, 3)], float)
    depth = camera.project(corners, SIZE)[:, 2]
    assert near < depth.min()
    assert depth.max() < far


@pytest.mark.parametrize("size", [(1920, 1080), (600, 900), (200, 150), (3000, 500)])
@pytest.mark.parametrize("angles", sorted(NAMED))
def test_a_framed_scene_fills_the_area_and_stays_inside(size, angles):
    """All points are inside the margins and two opposite sides of the area are reached."""
    points = outline_points(tiny_scene("four experts").pieces)
    camera = aim(Camera(*NAMED[angles]), points.min(axis=0), points.max(axis=0))
    area = (10.0, 20.0, size[0] - 30.0, size[1] - 40.0)
    seen = fit(camera, points, size, area).project(points, size)[:, :2]
    low, high = seen.min(axis=0), seen.max(axis=0)
    slack = np.array([low[0] - area[0], low[1] - area[1], area[2] - high[0], area[3] - high[1]])
    assert (slack > -0.01).all()
    assert min(slack[0] + slack[2], slack[1] + slack[3]) < 0.01 * max(size)


@pytest.mark.parametrize("size", [(1600, 900), (900, 900), (800, 1200)])
def test_a_scene_stands_in_the_middle_of_its_room(size):
    """From the front, what is wider than the picture has as much room above it as down to the title."""
    scene = tiny_scene("grouped queries")
    camera = Camera(*NAMED["front"])
    look = look_at(scene, size, camera)
    seen = look.camera.project(outline_points(scene.pieces), size)[:, :2]
    margin = 44 * min(size[0] / 1920, size[1] / 1080)
    below = min(
        (top - CLEAR - seen[(seen[:, 0] > left - CLEAR) & (seen[:, 0] < right + CLEAR), 1].max(initial=0))
        for left, top, right, _ in look.overlay.covers
    )
    assert seen[:, 1].min() - margin == pytest.approx(below, abs=1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_title_and_legend_are_not_drawn_over_the_scene(shape):
    """In the overview no part of the scene lies below the words."""
    scene = tiny_scene(shape)
    look = look_at(scene, (1280, 720))
    seen = look.camera.project(outline_points(scene.pieces), look.size)[:, :2]
    for left, top, right, bottom in look.overlay.covers:
        inside = (seen[:, 0] > left) & (seen[:, 0] < right) & (seen[:, 1] > top) & (seen[:, 1] < bottom)
        assert not inside.any()


def test_words_stand_where_a_scene_seen_from_the_right_leaves_room():
    """Seen from the right, the scene ends near the lower right corner: title and legend stand in the left one."""
    scene = tiny_scene("grouped queries")
    look = look_at(scene, (1280, 720), Camera(*NAMED["right"]))
    assert max(label.at[0] for label in look.overlay.labels) < 0.75 * 1280
    assert min(label.at[0] for label in look.overlay.labels) < 0.1 * 1280
    seen = look.camera.project(outline_points(scene.pieces), look.size)[:, :2]
    for left, top, right, bottom in look.overlay.covers:
        assert not (
            (left < seen[:, 0]) & (seen[:, 0] < right) & (top < seen[:, 1]) & (seen[:, 1] < bottom)
        ).any()
    mirrored = look_at(scene, (1280, 720), replace(Camera(*NAMED["right"]), azimuth=-46.0))
    assert max(label.at[0] for label in mirrored.overlay.labels) > 0.75 * 1280


@pytest.mark.parametrize(("shape", "size"), [("four experts", (1280, 720)), ("grouped queries", (1000, 500))])
def test_no_word_of_the_scene_fades_below_the_legend(shape, size):
    """Every place along every line of text keeps clear of the title and of the soft rim of its ground."""
    scene = tiny_scene(shape)
    look = look_at(scene, size)
    for label in scene.pieces.labels:
        start, end = label_points(label)[[0, 4]]
        line = start + np.linspace(0, 1, 60)[:, None] * (end - start)
        seen = look.camera.project(line, look.size)[:, :2]
        for left, top, right, bottom in look.overlay.covers:
            beside = np.maximum(
                [left - seen[:, 0], top - seen[:, 1]], [seen[:, 0] - right, seen[:, 1] - bottom]
            )
            assert beside.max(axis=0).min() > 26, label.text


@pytest.mark.parametrize(
    ("text", "angles", "zoom", "part"),
    [
        ("front", NAMED["front"], 1.0, None),
        ("layer:3", None, 1.0, "layer:3"),
        ("Front:Layer:12", NAMED["front"], 1.0, "layer:12"),
        ("head:2.7", None, 1.0, "head:2.7"),
        ("-30,12.5", (-30.0, 12.5, NAMED["overview"][2]), 1.0, None),
        ("10, 20, 1.5", (10.0, 20.0, NAMED["overview"][2]), 1.5, None),
    ],
)
def test_cameras_on_the_command_line(text, angles, zoom, part):
    """Names, parts and angles are understood."""
    camera, found_zoom, found_part = parse_camera(text)
    assert (found_zoom, found_part) == (zoom, part)
    if angles:
        assert (camera.azimuth, camera.elevation, camera.fov) == angles


def test_the_overview_chooses_its_own_angles():
    """It has no camera yet."""
    assert parse_camera("overview") == (None, 1.0, None)


@pytest.mark.parametrize(
    "text",
    ["", "nowhere", "layer", "layer:x", "head:3", "1", "1,2,3,4", "nan,0", "0,95", "0,0,0", "layer:1:front"],
)
def test_cameras_that_are_not_understood(text):
    """Anything else is refused in a sentence that says what can be given."""
    with pytest.raises(InputError, match="--camera"):
        parse_camera(text)


@pytest.mark.parametrize(
    ("part", "message"), [("layer:9", "no layer 9"), ("head:0.9", "no head 9 in layer 0")]
)
def test_parts_that_are_not_there(part, message):
    """A layer or head that the scene lacks is named."""
    with pytest.raises(InputError, match=message):
        look_at(tiny_scene("grouped queries"), SIZE, part=part)
