"""Values at the ends of float32, and tensors of nothing but what is no number: everything still says what is there."""

from __future__ import annotations

import numpy as np
import pytest

import refgguf
from refgguf.trace import Trace
from refgguf.viz.facts import shown_of_file
from refgguf.viz.heat_map import heat_map, value_in
from refgguf.viz.inspect import N_BINS, hit_words, statistics
from refgguf.viz.pages import figures_of, value_page
from refgguf.viz.scene import colours
from refgguf.viz.scene.build import Scene, build_scene
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.overlay import beyond
from refgguf.viz.scene.picking import cell_hit
from refgguf.viz.scene.scales import MOST_HIGH, pooled_magnitudes, scale_of
from refgguf.viz.state import ArcChoice
from refgguf.viz.steps import example_of, steps_of
from tests.support.gguf_bytes import GGUFBytes
from tests.support.scenes import shown, tiny_trace

MOST = np.finfo(np.float32).max


def scene_with(changed: dict[str, np.ndarray], shape: str = "grouped queries", **options) -> Scene:
    """Return the scene of a trace in which some tensors hold other values."""
    trace = tiny_trace(shape)
    return build_scene(
        shown(Trace(dict(trace) | changed, trace.taps, trace.tokens, trace.token_texts), **options)
    )


def filled(name: str, value: float, shape: str = "grouped queries") -> dict[str, np.ndarray]:
    """Return a tensor of nothing but one value."""
    return {name: np.full_like(tiny_trace(shape)[name], value)}


@pytest.mark.parametrize("odd", [np.nan, -np.inf])
def test_a_scale_comes_from_the_numbers_among_what_is_none(odd):
    """Where every group that is pooled holds something else than a number, the numbers still make the scale."""
    values = np.random.default_rng(0).uniform(-2, 2, (200, 200)).astype(np.float32)
    alone = scale_of("residual", [values[:, ::2]])
    mixed = values.copy()
    mixed[:, 1::2] = odd
    scale = scale_of("residual", [mixed])
    assert (scale.low, scale.high, scale.n_nan + scale.n_infinite) == (alone.low, alone.high, 20_000)
    mixed[:4, :4] = odd
    pooled = pooled_magnitudes(mixed, np.isfinite(mixed))
    assert np.isnan(pooled[0, 0])
    assert np.isfinite(pooled[1:]).all()
    assert np.nanmax(pooled) == np.abs(mixed[np.isfinite(mixed)]).max()


@pytest.mark.parametrize("signs", [(1,), (-1, 1)])
def test_the_largest_floats_lie_beyond_their_scale(signs):
    """They are counted, named and coloured as outliers; no distance on the scale is infinite."""
    values = np.resize(np.array(signs, np.float32) * MOST, (4, 6))
    scale = scale_of("residual", [values])
    assert (scale.high, scale.n_beyond, scale.n_infinite) == (MOST_HIGH, 24, 0)
    assert beyond(scale).startswith("24 beyond, up to")
    assert set(colours.entry_of(values, scale).reshape(-1)) <= {colours.BELOW, colours.ABOVE}
    assert colours.entry_of(np.float32(0), scale) == (0 if len(signs) == 1 else colours.N_GRADIENT // 2)
    assert colours.entry_of(np.float32(1e38), scale) == colours.N_GRADIENT - 1


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-45, 1e17, MOST, -MOST])
def test_a_histogram_of_one_value(value):
    """Everything is in one bar, however large the value is."""
    found = statistics(np.full((3, 5), value, np.float32))
    assert (found.minimum, found.maximum, found.mean) == (np.float32(value),) * 3
    assert sorted(found.counts) == [0] * (N_BINS - 1) + [15]


def test_the_farthest_values_are_finite():
    """Of a tensor with two numbers two places are told, not those of what is no number."""
    values = np.full((2, 3), np.nan, np.float32)
    values[0, 2], values[1, 1], values[0, 0] = 5, -7, np.inf
    found = statistics(values)
    assert (found.lowest, found.highest) == (((1, 1), (0, 2)), ((0, 2), (1, 1)))
    assert (found.n_nan, found.n_infinite) == (3, 1)


@pytest.mark.parametrize(
    ("odd", "told"),
    [((np.nan, 9.0), np.nan), ((np.inf, 9.0), np.inf), ((-9.0, 9.0), 9.0), ((MOST, -9.0), MOST)],
)
def test_under_the_cursor_is_what_a_cell_of_the_heat_map_shows(odd, told):
    """Of several values in a cell the one is told whose colour the cell has."""
    neurons = np.zeros_like(tiny_trace("wide")["blk.0.ffn_act"])
    neurons[1, 701], neurons[1, 703] = odd
    scene = scene_with({"blk.0.ffn_act": neurons}, "wide")
    number = next(i for i, box in enumerate(scene.pieces.boxes) if box.plane.tap == "blk.0.ffn_act")
    found = heat_map(scene, number)
    assert found.step[1] > 3
    hit = value_in(scene, number, found.step, 1, 701 // found.step[1])
    np.testing.assert_equal(hit.value, told)
    colour = colours.colour_of(np.float32(hit.value), scene.scale(scene.pieces.boxes[number]), "light")
    assert (found.colours[1, 701 // found.step[1]] == colour).all()


def test_an_operation_is_looked_at_where_its_largest_finite_value_is():
    """A value near the end of float32 is taken, infinities and NaN are not."""
    embed = tiny_trace("grouped queries")["embed"].copy()
    embed[-1, 3:6] = -MOST, np.inf, np.nan
    scene = scene_with({"embed": embed})
    step = next(step for step in steps_of(scene) if step.tap == "embed")
    assert example_of(scene, step).value == -MOST


@pytest.mark.parametrize("value", [np.nan, np.inf, -MOST, MOST, 0.0, 1e-45])
@pytest.mark.parametrize("name", ["embed", "blk.0.attn_probs", "blk.1.resid_post", "logits"])
def test_tensors_of_one_extreme_value(name, value):
    """Every view of a run and every page on its values is made, and says what there is."""
    changed = filled(name, value)
    scene = scene_with(changed, flow="stream", arcs=ArcChoice(0, 1, True))
    number = next(i for i, box in enumerate(scene.pieces.boxes) if box.plane.tap == name)
    hit = cell_hit(scene.pieces.boxes, number, 2, 1)
    assert f"{hit.value:.6g}" in value_page(scene, hit, {})
    found, words = figures_of(scene, hit)
    assert (found is None) == (not np.isfinite(value))
    assert ("holds no finite number" in words) == (found is None)
    scale = scene.scale(scene.pieces.boxes[number])
    n = changed[name].size
    assert (scale.n_nan, scale.n_infinite) == (n * np.isnan(value), n * np.isinf(value))
    assert 0 < scale.high <= MOST_HIGH


@pytest.mark.parametrize("value", [MOST, -MOST, np.inf])
def test_arcs_of_what_is_no_probability(value):
    """Patterns of other engines may hold anything: what arcs leave out is no share then, and nothing fails."""
    pattern = tiny_trace("grouped queries")["blk.0.attn_probs"].copy()
    pattern[:, 3, :2] = value, -value
    scene = scene_with({"blk.0.attn_probs": pattern}, arcs=ArcChoice())
    assert "Arcs" in scene.arcs.note


def test_errors_of_any_size_are_drawn_as_what_they_are(tmp_path):
    """Against a reference a finite error is finite, however large; an infinity spoils its own cell only."""
    random = np.random.default_rng(5)
    theirs = random.standard_normal((12, 32)).astype(np.float32)
    ours = theirs + np.float32(0.01) * random.standard_normal((12, 32)).astype(np.float32)
    ours[0, :5] = MOST, -1e20, np.inf, np.nan, -np.inf
    theirs[0, 4:6] = -np.inf, np.inf
    files = []
    for name, values in (("ours", ours), ("theirs", theirs)):
        builder = GGUFBytes().key("general.architecture", "string", "newest")
        files.append(
            refgguf.open(builder.tensor("w", "F32", (12, 32), values).write(tmp_path / f"{name}.gguf"))
        )
    plane = ErrorPlane(files[0]["w"], 0, 12, reference=files[1]["w"])
    cells = plane.pooled(1, 1)
    told = np.array([[plane.value(row, col) for col in range(32)] for row in range(12)])
    np.testing.assert_allclose(cells, np.where(np.isfinite(told), np.minimum(told, MOST), told), rtol=1e-6)
    assert np.isfinite(told[1:]).all()
    assert told[1:].max() < 0.1
    assert (told[0, 0] > 1e38, np.isfinite(told[0, :2]).all(), told[0, 2], told[0, 5]) == (
        True,
        True,
        np.inf,
        np.inf,
    )
    assert np.isnan(told[0, 3:5]).all()
    scene = build_scene(shown_of_file(files[0], reference=files[1]))
    assert "e+40% of the tensor's RMS" in hit_words(scene, cell_hit(scene.pieces.boxes, 0, 0, 0))
    assert "error of quantization" in figures_of(scene, cell_hit(scene.pieces.boxes, 0, 0, 0))[1]
