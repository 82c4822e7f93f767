"""Pixels: what the graphics driver draws is what the trace holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import refgguf
from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_file
from refgguf.viz.places import camera_on
from refgguf.viz.render import offscreen
from refgguf.viz.scene import colours
from refgguf.viz.scene.build import Look, build_scene, look_at, with_arcs
from refgguf.viz.scene.build import look_from as camera_look
from refgguf.viz.scene.camera import parse_camera
from refgguf.viz.scene.framing import label_points
from refgguf.viz.scene.notes import notes_on
from refgguf.viz.scene.parts import Label
from refgguf.viz.state import ArcChoice
from tests.support.scenes import SHAPES, shown, tiny_scene, tiny_trace
from tests.support.sparse_file import llama_7b

pytestmark = pytest.mark.render
SIZES = [(64, 64), (1280, 300), (300, 900)]
LEAST = 7.0  # pixels of a cell whose middle is free of borders and outlines


def look_from(scene, camera: str, size=(1200, 800)) -> Look:
    """See a scene from a camera as the command line has it."""
    return look_at(scene, size, *parse_camera(camera))


def cells(look: Look, scales: str | None = None):
    """Yield (pixel x, pixel y, colours allowed, value) of every cell that is large enough to be read.

    Args:
        look: what is seen.
        scales: name of the scale whose boxes are looked at; those of all if None.
    """
    covers = look.overlay.covers
    for box, step in zip(look.scene.pieces.boxes, look.atlas.steps, strict=True):
        if scales not in (None, box.scale):
            continue
        pooled = box.plane.pooled(*step)
        n_rows, n_cols = np.array(box.plane.shape) / step
        origin, size = np.array(box.origin), np.array(box.size)
        r, c = (i.reshape(-1) for i in np.indices(pooled.shape))
        corners = []
        for dr, dc in ((0.5, 0.5), (0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5)):
            share = np.stack([(c + dc) / n_cols, 1 - (r + dr) / n_rows, np.ones(len(r))], axis=1)
            corners.append(look.camera.project(origin + size * share, look.size))
        middle, left, right, top, bottom = corners
        wide = np.hypot(*(right - left)[:, :2].T)
        tall = np.hypot(*(bottom - top)[:, :2].T)
        scale = look.scene.scale(box)
        table = colours.colour_map(look.scene.theme.name, scale.kind, scale.signed)
        entries = colours.entry_of(pooled, scale).reshape(-1)
        for i in np.flatnonzero((wide > LEAST) & (tall > LEAST) & (middle[:, 2] > 0)):
            x, y = middle[i, :2]
            inside = 0 <= x < look.size[0] and 0 <= y < look.size[1]
            if inside and not any(a < x < b and t < y < u for a, t, b, u in grown(covers)):
                yield int(x), int(y), allowed(table, entries[i]), pooled.reshape(-1)[i]


def grown(covers):
    """Return the legend's rectangles with their margin."""
    return [(left - 25, top - 45, right + 45, bottom + 45) for left, top, right, bottom in covers]


def allowed(table: np.ndarray, entry: int) -> np.ndarray:
    """Return an entry's colour and, in the gradient, its neighbours': a driver may round the quotient otherwise."""
    if entry >= colours.N_GRADIENT:
        return table[entry : entry + 1]
    return table[max(entry - 1, 0) : min(entry + 2, colours.N_GRADIENT)]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("shape", "camera"),
    [
        ("grouped queries", "front:layer:0"),
        ("grouped queries", "head:1.2"),
        ("one head", "layer:0"),
        ("four experts", "layer:1"),
        ("parallel", "-25,8,2"),
        ("one token", "overview"),
    ],
)
def test_a_cells_colour_is_its_values(shape, camera, theme):
    """In the middle of every cell that is large enough stands the colour of the trace's value."""
    look = look_from(tiny_scene(shape, theme), camera)
    picture = offscreen.render(look, samples=1)
    checked = hidden = 0
    for x, y, colour, value in cells(look):
        if (picture[y, x] == colour).all(axis=1).any():
            checked += 1
        else:
            hidden += 1
            assert covered(look, x, y), (
                f"{picture[y, x]} instead of {colour[len(colour) // 2]} for {value} at {x}, {y}"
            )
    assert checked > 40
    assert hidden < 0.1 * checked


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_cell_of_the_grid_has_its_probabilitys_colour(theme):
    """In the grid of heads as well, on the scale from 0 to 1; what a query cannot see has the colour of nothing."""
    look = look_from(build_scene(shown(tiny_trace("grouped queries"), theme=theme, grid=True)), "overview")
    picture = offscreen.render(look, samples=1)
    found = [(colour, value, picture[y, x]) for x, y, colour, value in cells(look)]
    right = [(colour == pixel).all(axis=1).any() for colour, _, pixel in found]
    assert len(found) > 0.95 * 8**3  # all but a few close to the title
    assert np.mean(right) > 0.98  # a name may lie over one
    nothing = colours.colour_map(theme, "attention", False)[colours.NOTHING]
    hidden = [(pixel == nothing).all() for _, value, pixel in found if value < -1e38]
    assert len(hidden) > 0.95 * 8 * 28
    assert np.mean(hidden) > 0.98


def covered(look: Look, x: int, y: int) -> bool:
    """Say whether a tube, a disc or a word may lie over this pixel: one of them passes within a few pixels."""
    scene = look.scene
    for route in scene.pieces.routes:
        line = np.linspace(0, 1, 40)[:, None, None]
        points = (route.points[:-1] * (1 - line) + route.points[1:] * line).reshape(-1, 3)
        seen = look.camera.project(points, look.size)
        reach = 4 + 4 * route.radius * look.size[1] * look.camera.zoom / seen[:, 2]
        if (np.hypot(seen[:, 0] - x, seen[:, 1] - y) < reach).any():
            return True
    points = np.stack([label_points(label) for label in scene.pieces.labels])
    seen = look.camera.project(points.reshape(-1, 3), look.size)[:, :2].reshape(*points.shape[:2], 2)
    low, high = seen.min(axis=1) - 4, seen.max(axis=1) + 4
    return bool(((low < (x, y)) & ((x, y) < high)).all(axis=1).any())


def broken_trace() -> Trace:
    """Return a trace in which the embedding holds NaN, infinities and an outlier."""
    trace = tiny_trace("grouped queries")
    values = dict(trace)
    embed = values["embed"].copy()
    embed[0, :4] = np.nan, np.inf, -np.inf, 1e6
    embed[1, 0] = -1e6
    values["embed"] = embed
    return Trace(values, trace.taps, trace.tokens, trace.token_texts)


def cell_pixels(look: Look, picture: np.ndarray, box, row: int, col: int) -> np.ndarray:
    """Return the pixels well inside a cell, (n, 3)."""
    rows, cols = box.plane.shape
    share = [((col + i) / cols, 1 - (row + j) / rows, 1) for i in (0.25, 0.75) for j in (0.25, 0.75)]
    seen = look.camera.project(np.array(box.origin) + np.array(box.size) * np.array(share), look.size)
    x0, y0 = seen[:, :2].min(axis=0).astype(int) + 1
    x1, y1 = seen[:, :2].max(axis=0).astype(int)
    return picture[y0:y1, x0:x1].reshape(-1, 3)


def test_values_that_are_no_numbers_are_striped():
    """NaN and infinity have colours that no value has, with stripes of ink; outliers have the colours for beyond."""
    scene = build_scene(shown(broken_trace()))
    look = look_from(scene, "front:layer:0", (2400, 1500))
    picture = offscreen.render(look, samples=1)
    box = next(b for b in scene.pieces.boxes if b.role == "embedding")
    scale = scene.scale(box)
    table = colours.colour_map("light", scale.kind, scale.signed)
    for col, entry in ((0, colours.NAN), (1, colours.INFINITE), (2, colours.INFINITE)):
        found = np.unique(cell_pixels(look, picture, box, 0, col), axis=0)
        assert len(found) == 2, "a colour and its stripes"
        assert (found == table[entry]).all(axis=1).any()
    assert (cell_pixels(look, picture, box, 0, 3) == table[colours.ABOVE]).all()
    assert (cell_pixels(look, picture, box, 1, 0) == table[colours.BELOW]).all()
    assert (scale.n_nan, scale.n_infinite, scale.n_beyond >= 2) == (1, 2, True)


def test_rows_of_tokens_that_an_expert_never_saw_are_not_zero():
    """They have the grey of what was not computed, the rows of the other tokens the colours of their values."""
    scene = tiny_scene("four experts")
    look = look_from(scene, "front:layer:0", (2400, 1500))
    picture = offscreen.render(look, samples=1)
    topk = scene.shown.trace["blk.0.router_topk"]
    box = next(b for b in scene.pieces.boxes if b.role == "expert" and b.layer == 0 and b.head not in topk[2])
    scale = scene.scale(box)
    grey = colours.colour_map("light", scale.kind, scale.signed)[colours.NOTHING]
    pixels = [cell_pixels(look, picture, box, 2, col) for col in range(1, box.plane.shape[1] - 1)]
    same = np.concatenate(pixels) == grey
    assert same.all(axis=1).mean() > 0.5  # a tube or a word may pass in front


@pytest.mark.parametrize(("odd", "entry"), [(np.nan, colours.NAN), (-np.inf, colours.INFINITE)])
def test_one_value_that_is_no_number_is_seen_from_afar(odd, entry):
    """Among two thousand neurons in a box of a few pixels it keeps its colour, and the first note counts it."""
    trace = tiny_trace("wide")
    values = dict(trace)
    values["blk.0.ffn_act"] = values["blk.0.ffn_act"].copy()
    values["blk.0.ffn_act"][1, 777] = odd
    scene = build_scene(shown(Trace(values, trace.taps, trace.tokens, trace.token_texts)))
    look = look_from(scene, "front", (400, 240))
    box = next(b for b in scene.pieces.boxes if b.role == "neurons")
    ends = look.camera.project(np.array([box.origin, (box.right, box.top, box.size[2])]), look.size)[:, :2]
    (x0, y0), (x1, y1) = ends.min(axis=0).astype(int), ends.max(axis=0).astype(int) + 1
    assert 10 < x1 - x0 < 120
    seen = offscreen.render(look, samples=1)[y0:y1, x0:x1].reshape(-1, 3)
    scale = scene.scale(box)
    table = colours.colour_map("light", scale.kind, scale.signed)
    assert (np.abs(seen.astype(int) - table[entry]).max(axis=1) <= 1).any()
    word = "1 NaN" if np.isnan(odd) else "1 infinite"
    assert notes_on(scene, 1)[0] == f"Striped cells are no numbers: {word}."


def grown_trace(shape: str) -> Trace:
    """Return a trace in whose residual stream the first token is a thousand times as large as the others."""
    trace = tiny_trace(shape)
    values = {n: v * 1000.0 ** (np.arange(len(v)) == 0)[:, None] if ".resid" in n or n == "embed" else v
              for n, v in trace.items()}  # fmt: skip
    values = {n: np.asarray(v, np.asarray(trace[n]).dtype) for n, v in values.items()}
    return Trace(values, trace.taps, trace.tokens, trace.token_texts)


def right_and_wrong(look: Look, scale: str) -> tuple[int, int]:
    """Count cells on a scale with the colour of their value, and others that nothing covers."""
    picture = offscreen.render(look, samples=1)
    right = wrong = 0
    for x, y, colour, _ in cells(look, scale):
        if (picture[y, x] == colour).all(axis=1).any():
            right += 1
        elif not covered(look, x, y):
            wrong += 1
    return right, wrong


def test_a_bent_scale_colours_cells_as_its_legend_does():
    """Where one token is a thousand times as large as the others, cells still have the colours of their values."""
    scene = build_scene(shown(grown_trace("grouped queries")))
    assert scene.scales["residual"].knee > 0
    right, wrong = right_and_wrong(look_from(scene, "front:layer:0", (3200, 1800)), "residual")
    assert right > 200
    assert not wrong


def test_a_bent_scale_colours_the_part_of_a_box_that_is_seen():
    """So it is in the last columns of a box much wider than the picture, of which the others are not at hand."""
    scene = build_scene(shown(grown_trace("wide")))
    number, box = next((i, b) for i, b in enumerate(scene.pieces.boxes) if b.plane.tap == "blk.0.resid_post")
    cell, front = box.size[0] / box.plane.shape[1], box.origin[2] + box.size[2]
    middle = box.middle[1]  # of the second of three tokens
    ends = [(box.right - 12 * cell, middle - 3 * cell, front), (box.right, middle + 3 * cell, front)]
    look = camera_look(scene, (900, 600), camera_on(np.array(ends), (900, 600)))
    assert look.atlas.held[number, 0] > 0
    right, wrong = right_and_wrong(look, "residual")
    assert right > 10
    assert not wrong


def test_arcs_are_drawn_and_taken_away():
    """Arcs change the picture where they run, in their hue; without them it is the picture of before, bit for bit."""
    from refgguf.viz.render.renderer import Renderer

    scene = tiny_scene("grouped queries")
    look = look_from(scene, "front:layer:0", (1000, 700))
    plain = offscreen.render(look, samples=1)
    with offscreen.drawing():
        renderer = Renderer(look)
        renderer.set_arcs(with_arcs(scene, ArcChoice(0, 1)))
        renderer.slabs.set_styles(renderer.plain_styles())
        picture = offscreen.draw_tiles(renderer, 1)
    arc = renderer.look.scene.arcs.arcs[-1]
    x, y = look.camera.project(arc.points[11:12], look.size)[0, :2].astype(int)
    hue = np.array(scene.theme.hues["attention"]) * 255
    assert np.abs(picture[y, x] - hue).max() < 60 < np.abs(plain[y, x] - hue).max()
    with offscreen.drawing():
        renderer.set_arcs(with_arcs(scene, None))
        renderer.slabs.set_styles(renderer.plain_styles())
        assert np.array_equal(offscreen.draw_tiles(renderer, 1), plain)


def test_a_picture_is_the_same_every_time():
    """Drawn twice, a picture is equal to the last bit, from the trace on."""
    first, second = (
        offscreen.render(look_from(build_scene(shown(tiny_trace("four experts"))), "overview"))
        for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_tiles_fit_together(monkeypatch):
    """A picture drawn in many small tiles is the one drawn in a single tile, but for pixels on edges."""
    look = look_from(tiny_scene("grouped queries"), "overview", (500, 300))
    whole = offscreen.render(look, samples=1)
    monkeypatch.setattr(offscreen, "TILE", 128)
    tiled = offscreen.render(look, samples=1)
    # a tile's matrix has other last bits, which moves a pixel here and there across an edge
    assert (tiled != whole).any(axis=2).mean() < 0.001


@pytest.mark.parametrize(("shape", "size"), [(s, SIZES[i % len(SIZES)]) for i, s in enumerate(SHAPES)])
def test_every_scene_can_be_drawn_at_every_size(shape, size):
    """Tiny, wide and tall pictures have the size asked for, the ground's colour at the rim, and something on it."""
    look = look_from(tiny_scene(shape), "overview", size)
    picture = offscreen.render(look, samples=1)
    assert picture.shape == (size[1], size[0], 3)
    ground = np.rint(np.array(look.scene.theme.ground) * 255)
    assert np.abs(picture[0, 0] - ground).max() <= 1
    assert (np.abs(picture - ground).max(axis=2) > 8).mean() > 0.01


def test_gaps_between_heads_show_no_stripes_from_afar(tmp_path):
    """A matrix of 32 heads, seen so small that its gaps are finer than pixels, has one colour on its whole front."""
    file = refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=32))
    scene = build_scene(shown_of_file(file, colour="bits"))
    look = look_at(scene, (1600, 900))
    picture = offscreen.render(look).astype(int)
    seen = 0
    for layer in range(32):
        boxes = [b for b in scene.pieces.boxes if b.plane.tap == f"blk.{layer}.attn_q.weight"]
        assert len(boxes) == 32
        left, low, high = boxes[0].left, boxes[-1].bottom, boxes[0].top
        across, up = np.meshgrid(np.linspace(0.3, 0.7, 9), np.linspace(0.15, 0.85, 60))
        places = [left + across * boxes[0].size[0], low + up * (high - low), np.full_like(up, 1.5)]
        at = look.camera.project(np.stack(places, axis=-1).reshape(-1, 3), look.size)[:, :2].astype(int)
        colours_seen = picture[at[:, 1], at[:, 0]]
        away = look.camera.project(np.array([boxes[0].origin]), look.size)[0, 2]
        if boxes[0].apart[1] > 0.9 * look.pixel() * away:
            continue  # wide enough to be seen as gaps
        seen += np.ptp(at[:, 1]) > 20
        # outlines begin to show where a head is three pixels high; ground between heads differs by 40 and more
        assert np.ptp(colours_seen, axis=0).max() < 20, layer
    assert seen >= 5


@pytest.mark.parametrize("azimuth", [-35, 35, 145, 215])
def test_words_are_readable_from_every_side(azimuth):
    """An L has its foot at the lower right from wherever one looks: text is never mirrored nor upside down."""
    scene = tiny_scene("one head")
    high = max(b.top for b in scene.pieces.boxes)
    letter = Label("L", (20.0, high + 30.0, 1.5), 60.0, tone="ink")
    pieces = replace(scene.pieces, labels=[letter])
    look = look_at(replace(scene, pieces=pieces), (1200, 933), *parse_camera(f"{azimuth},10"))
    picture = offscreen.render(look, samples=1).astype(int)
    ink = (np.abs(picture - np.rint(np.array(scene.theme.ink) * 255)).max(axis=2) < 30) & (
        picture.max(axis=2) < 90
    )
    lowest = look.camera.project(np.array([(20.0, high + 25.0, 1.5)]), look.size)[0, 1]
    rows, cols = np.nonzero(ink[: int(lowest)])
    assert len(rows) > 200
    foot, head = cols[rows > np.quantile(rows, 0.95)], cols[rows < np.quantile(rows, 0.3)]
    assert foot.max() - foot.min() > 2 * (head.max() - head.min())
    assert foot.max() > head.max() + (head.max() - head.min())
    # seen at an angle the stem leans, but a mirrored L would stick out to the left
    assert foot.max() - head.max() > abs(head.min() - foot.min())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_boxes_wear_the_colour_beside_their_types_name(theme, tmp_path):
    """The pixel in the middle of each box is that of the bar of its tensor's type in the same picture's legend."""
    file = refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=1))
    look = look_from(build_scene(shown_of_file(file, colour="type", theme=theme)), "front")
    picture = offscreen.render(look, samples=1).astype(int)
    bars: dict[str, np.ndarray] = {}
    for bar in look.overlay.boxes:
        x, y = bar.origin[0] + bar.size[0] / 2, look.size[1] - bar.origin[1] - bar.size[1] / 2
        bars.setdefault(bar.scale, picture[int(y), int(x)])
    assert len({tuple(colour) for colour in bars.values()}) == 3
    compared = set()
    for box in look.scene.pieces.boxes:
        front = box.origin[2] + box.size[2]
        ends = np.array([(box.left, box.bottom, front), (box.right, box.top, front)])
        seen = look.camera.project(ends, look.size)
        if np.abs(seen[1] - seen[0])[:2].min() > LEAST:
            x, y = seen[:, :2].mean(axis=0).astype(int)
            kind = file[box.plane.tap].type
            assert np.abs(picture[y, x] - bars[f"type {kind}"]).max() <= 1, box.plane.tap
            compared.add(kind)
    assert compared >= {"Q4_K", "Q6_K"}


def test_probabilities_are_read_from_both_sides():
    """The filled part of the largest bar has its hue from the front and from behind; so the figure has its ink."""
    scene = tiny_scene("grouped queries")
    bar = max(scene.pieces.bars, key=lambda bar: bar.share)
    share = max(bar.share, 0.16 / bar.size[0])
    place = np.array(bar.origin) + 0.5 * share * (np.array(bar.end) - bar.origin) + [0, bar.size[1] / 2, 0]
    hue = np.array(scene.theme.hues["logits"]) * 255
    for azimuth in (-20, 160):
        look = look_from(scene, f"{azimuth},5,1.2", size=(1800, 900))
        x, y, _ = look.camera.project(place[None], look.size)[0]
        seen = offscreen.render(look)[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].reshape(-1, 3)
        assert np.abs(seen - hue).max(axis=1).min() < 30, azimuth
