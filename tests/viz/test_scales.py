"""Scales and colours: where a value stands on its colour map, and what lies beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refgguf.viz.scene import colours
from refgguf.viz.scene.overlay import BENT, NAMES, make_overlay
from refgguf.viz.scene.planes import ABSENT
from refgguf.viz.scene.scales import Scale, round_up, scale_of
from refgguf.viz.state import Facts

KINDS = sorted(colours.LIGHT.maps)
SIGNED = Scale("residual", -2.0, 2.0)


def test_a_scale_without_outliers_reaches_to_the_largest_magnitude():
    """Nothing lies beyond, and zero is in the middle when there are negative values."""
    scale = scale_of("residual", [np.linspace(-1, 2, 1001)])
    assert (scale.low, scale.high, scale.n_beyond) == (-2.0, 2.0, 0)
    assert (scale.minimum, scale.maximum, scale.n_values) == (-1.0, 2.0, 1001)


def test_a_scale_of_positive_values_starts_at_zero():
    """Without a negative value there is no negative half."""
    assert scale_of("attention", [np.linspace(0.1, 1, 50)]).low == 0.0


def test_outliers_do_not_stretch_a_scale_and_are_counted():
    """One value a hundred times as large as all others leaves the scale as it is and is named."""
    values = np.linspace(-1, 1, 40 * 50).reshape(40, 50)
    values[3, 7], values[30, 2] = 100.0, -90.0
    scale = scale_of("residual", [values])
    assert scale.high == 1.0
    assert scale.n_beyond == 2
    assert (scale.minimum, scale.maximum) == (-90.0, 100.0)


def test_values_that_are_no_numbers_are_counted_and_left_out():
    """NaN and infinities have no place on the scale, but the legend knows of them."""
    scale = scale_of("ffn", [np.array([1.0, np.nan, np.inf, -np.inf, -3.0])])
    assert (scale.high, scale.n_nan, scale.n_infinite, scale.n_values) == (3.0, 1, 2, 5)


@pytest.mark.parametrize("values", [np.zeros(5), np.full(3, np.nan), np.zeros((0, 4))])
def test_there_is_always_a_scale(values):
    """Zeros, nothing but NaN, and nothing at all still give a scale of some width."""
    assert scale_of("residual", [values]).high > 0


def test_a_scale_does_not_depend_on_the_order_of_tensors():
    """Layers may be given in any order."""
    parts = [np.random.default_rng(i).standard_normal((4, 90)) for i in range(3)]
    assert scale_of("residual", parts) == scale_of("residual", parts[::-1])


def growing_stream() -> list[np.ndarray]:
    """Return layers whose values grow threefold each, with a first token a hundred times as large as the others."""
    random = np.random.default_rng(0)
    layers = [random.standard_normal((12, 64)) * 3.0**layer for layer in range(4)]
    for values in layers:
        values[0] *= 100
    return layers


def test_a_stream_that_grows_gets_a_bent_scale():
    """Where a usual layer would be pale the scale bends: every layer has colours apart from zero's, outliers marked."""
    layers = [a.astype(np.float32) for a in growing_stream()]
    scale = scale_of("residual", layers)
    assert 0 < scale.knee < 2
    middle = (colours.N_GRADIENT - 1) // 2
    for values in layers:
        away = np.abs(colours.entry_of(values[1:], scale) - middle)
        assert np.median(away) > 0.05 * middle
    even = Scale("residual", scale.low, scale.high)
    assert np.median(np.abs(colours.entry_of(layers[0][1:], even) - middle)) == 0
    assert scale.n_beyond > 0
    assert scale_of("attention", [np.abs(a) for a in layers]).knee == 0


def test_a_bent_scale_keeps_order_sign_and_ends():
    """Larger values never stand lower, zero stays in the middle, and all that is no value keeps its own colour."""
    scale = Scale("residual", -50.0, 50.0, knee=0.5)
    values = np.concatenate([-np.geomspace(50, 1e-3, 400), [0], np.geomspace(1e-3, 50, 400)]).astype(
        np.float32
    )
    entries = colours.entry_of(values, scale)
    assert (np.diff(entries) >= 0).all()
    assert (entries[0], entries[400], entries[-1]) == (
        0,
        (colours.N_GRADIENT - 1) // 2,
        colours.N_GRADIENT - 1,
    )
    assert np.array_equal(entries + entries[::-1], np.full(801, colours.N_GRADIENT - 1))
    odd = np.array([-50.1, 50.1, np.nan, np.inf, ABSENT], np.float32)
    marks = [colours.BELOW, colours.ABOVE, colours.NAN, colours.INFINITE, colours.NOTHING]
    assert colours.entry_of(odd, scale).tolist() == marks
    np.testing.assert_allclose(scale.unbend(scale.bend(values)), values, rtol=1e-5)


@given(st.floats(1e-20, 1e20))
def test_rounding_up_never_rounds_down(value):
    """The printed limit has two digits, holds the value, and exceeds it by a tenth at most."""
    rounded = round_up(value)
    assert value <= rounded * (1 + 1e-9)
    assert rounded <= value * 1.11
    assert float(f"{rounded:.2g}") == rounded


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_the_colour_of_empty_paper(theme, kind):
    """In every map of a theme, signed or not, zero has exactly that theme's empty colour."""
    empty = np.rint(np.array(colours.rgb(colours.theme_of(theme).zero)) * 255)
    for low in (-1.0, 0.0):
        assert np.array_equal(colours.colour_of(np.float32(0), Scale(kind, low, 1.0), theme), empty)


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        (-2.0, 0),
        (2.0, colours.N_GRADIENT - 1),
        (0.0, (colours.N_GRADIENT - 1) // 2),
        (-2.1, colours.BELOW),
        (2.1, colours.ABOVE),
        (np.nan, colours.NAN),
        (np.inf, colours.INFINITE),
        (-np.inf, colours.INFINITE),
        (ABSENT, colours.NOTHING),
    ],
)
def test_entries_of_the_colour_table(value, entry):
    """The ends, the middle, and everything that is no value on the scale have entries of their own."""
    assert colours.entry_of(np.float32(value), SIGNED) == entry


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_moves_away_from_zero_in_lightness(theme, kind):
    """From zero to either end lightness changes in one direction only, so that a map reads without its hue."""
    table = colours.colour_map(theme, kind, True)[: colours.N_GRADIENT] / 255
    lightness = colours.oklab(table)[:, 0]
    middle = colours.N_GRADIENT // 2
    direction = -1 if theme == "light" else 1
    step = 1.5 / 255  # colours have 8 bits: a step may be rounded back by about one of them
    assert (direction * np.diff(lightness[middle:]) > -step).all()
    assert (direction * np.diff(lightness[: middle + 1]) < step).all()


# Machado, Oliveira, Fernandes 2009, severity 1.0: how linear sRGB is seen without red, green cones
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("eyes", sorted(BLINDNESS))
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", [k for k in KINDS if colours.LIGHT.maps[k].negative])
@pytest.mark.parametrize(("value", "least"), [(0.25, 0.045), (0.6, 0.1)])
def test_signs_can_be_told_apart_by_colour_blind_eyes(eyes, theme, kind, value, least):
    """The colours of a positive and a negative value differ clearly for the two common kinds of colour blindness."""
    scale = Scale(kind, -1.0, 1.0)
    pair = colours.colour_of(np.array([-value, value], np.float32), scale, theme) / 255
    linear = np.where(pair <= 0.04045, pair / 12.92, ((pair + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[eyes]).T, 0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    difference = np.linalg.norm(np.diff(colours.oklab(seen), axis=0))
    assert difference > least  # in Oklab 0.02 is about what one can just tell apart


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_what_they_are_written_on(theme):
    """All tones of words have the contrast that WCAG 2 asks of small text, 4.5 to 1, on the ground and on cards."""
    look = colours.theme_of(theme)

    def luminance(colour):
        srgb = np.array(colour)
        return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    for name, tone in {"ink": look.ink, "muted": look.muted, **look.hues}.items():
        for below in (look.ground, look.card):
            pair = sorted((luminance(tone), luminance(below)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beyond_a_scale_has_colours_of_its_own(theme, kind):
    """Values beyond a scale look different from its ends."""
    signed = bool(colours.LIGHT.maps[kind].negative)
    table = colours.oklab(colours.colour_map(theme, kind, signed) / 255)
    assert np.linalg.norm(table[colours.ABOVE] - table[colours.N_GRADIENT - 1]) > 0.05
    if signed:
        assert np.linalg.norm(table[colours.BELOW] - table[0]) > 0.05


@pytest.mark.parametrize("size", [(1920, 1080), (1400, 900)])
def test_bent_scales_are_marked_and_the_mark_is_explained(size):
    """Bent scales have a star behind their names, others none, whether or not all their numbers have room."""
    stream = scale_of("residual", growing_stream())
    even = scale_of("ffn", [np.linspace(-1, 1, 9, dtype=np.float32)])
    scales = {"residual": stream, "ffn": even}
    for notes, star in (([BENT], " *"), ([], "")):
        words = [label.text for label in make_overlay(Facts("a model"), scales, notes, size).labels]
        assert NAMES["residual"] + star in words
        assert NAMES["ffn"] in words
        assert (BENT in words) == bool(star)


def test_a_small_picture_marks_nothing_that_it_does_not_explain():
    """Where there is room for one note only, a star without its note is left out."""
    scales = {"residual": scale_of("residual", growing_stream())}
    words = [
        label.text
        for label in make_overlay(
            Facts("a model"), scales, ["Every cell is one number.", BENT], (900, 600)
        ).labels
    ]
    assert BENT not in words
    assert NAMES["residual"] in words


def test_many_notes_leave_title_and_legend():
    """Where scales and notes together would cover too much, notes share lines or go; title and legend stay."""
    scales = {kind: scale_of("ffn", [np.linspace(-1, 1, 9, dtype=np.float32)]) for kind in list(NAMES)[:14]}
    notes = [f"This is sentence number {i}, about as long as such sentences tend to be." for i in range(12)]
    few = [label.text for label in make_overlay(Facts("a model"), scales, notes[:2], (1600, 950)).labels]
    many = [label.text for label in make_overlay(Facts("a model"), scales, notes, (1600, 950)).labels]
    assert notes[0] in few
    assert "a model" in many
    assert f"{notes[0]}  ·  {notes[1]}" in many
    assert f"{notes[-2]}  ·  {notes[-1]}" in many


@pytest.mark.parametrize("size", [(150, 143), (200, 120), (90, 400)])
def test_a_tiny_picture_is_left_to_the_scene(size):
    """Where title and legend would be higher than the picture, there are none, and the scene keeps its room."""
    scales = {name: Scale(name, 0.0, 1.0) for name in ("attention", "ffn", "qkv", "residual", "logits")}
    overlay = make_overlay(Facts("a model", ("a detail",), "a prompt"), scales, [BENT], size)
    assert not overlay.covers and not overlay.labels
    assert make_overlay(Facts("a model"), scales, [BENT], (1280, 800)).covers
