"""What colours of a file's weights say besides values and bits: tensor types and numbers of weights."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import refgguf
from refgguf.viz.facts import shown_of_file
from refgguf.viz.scene.build import build_scene, look_at
from refgguf.viz.scene.colours import N_GRADIENT, colour_map, colour_of, oklab, rgb
from refgguf.viz.scene.overlay import listed, share_words
from refgguf.viz.scene.type_colours import PAIRS, USUAL, places_of, type_colour
from tests.support.sparse_file import llama_7b, mixtral

# linear sRGB as people without red, green or blue cones see it (Machado, Oliveira, Fernandes 2009, severity 1)
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}  # fmt: skip
# types that usual mixes put into one file
TOGETHER = (
    ("F32", "Q4_K", "Q6_K"),
    ("F32", "Q2_K", "Q3_K", "Q6_K"),
    ("F32", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    ("F32", "Q5_K", "Q6_K", "Q8_0"),
    ("F32", "F16", "Q8_0"),
    ("F32", "BF16", "MXFP4", "Q8_0"),
    ("F32", "Q4_0", "Q4_1", "Q6_K"),
    ("F32", "IQ4_XS", "Q5_K", "Q6_K"),
    ("F32", "IQ2_XXS", "IQ3_S", "Q2_K", "Q4_K", "Q5_K"),
)


@pytest.fixture
def file(tmp_path):
    """One layer of a usual Q4_K_M file."""
    return refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=1))


def coloured(file, colour, theme="light", **options):
    """Return the scene of a file."""
    return build_scene(shown_of_file(file, colour=colour, theme=theme, **options))


def seen(colour: str, blind: str) -> np.ndarray:
    """Return Oklab of a colour as somebody sees it."""
    srgb = np.array(rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(BLIND[blind]) @ linear, 0, 1)
    return oklab(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("blind", sorted(BLIND))
@pytest.mark.parametrize("types", TOGETHER, ids=" ".join)
def test_types_of_one_file_stay_apart_for_colour_blind_eyes(types, blind, theme):
    """Any two are at least 0.07 apart in Oklab, several times the 0.02 that can just be seen side by side."""
    eyes = {name: seen(type_colour(theme, place), blind) for name, place in places_of(types).items()}
    for a, b in combinations(types, 2):
        distance = np.linalg.norm(eyes[a] - eyes[b])
        assert distance > 0.07, f"{a} and {b}: {distance:.3f}"


def test_no_two_types_share_a_colour_while_there_are_colours():
    """Also those that would like the same one, and those that nobody knows."""
    types = ["Q8_0", "Q8_1", "I8", "type 99", "type 98", "F16", "BF16", *list(USUAL)[:4]]
    places = places_of(types)
    assert len(set(places.values())) == len(set(types))
    assert places["Q8_0"] != places["I8"]
    many = places_of([f"type {i}" for i in range(100)])
    assert set(many.values()) == set(range(len(PAIRS)))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_box_has_the_colour_of_its_tensor_type(file, theme):
    """Two boxes have the same colour exactly if their tensors have the same type."""
    scene = coloured(file, "type", theme)
    look = look_at(scene, (640, 360))
    colours = {}
    for box, rect in zip(scene.pieces.boxes, look.atlas.rects, strict=True):
        cell = look.atlas.values[int(rect[1]), int(rect[0])]
        found = tuple(colour_of(cell, scene.scale(box), theme))
        assert colours.setdefault(box.plane.tensor.type, found) == found
    assert set(colours) == {"F32", "Q4_K", "Q6_K"}
    assert len(set(colours.values())) == 3


def test_the_legend_lists_the_types_with_their_shares(file):
    """All types of the file and no others, the most used first, with their shares of all weights."""
    scene = coloured(file, "type")
    counts = {}
    for tensor in file.tensors.values():
        counts[tensor.type] = counts.get(tensor.type, 0) + tensor.n_values
    order = sorted(counts, key=lambda t: -counts[t])
    assert listed(scene.scales) == [f"type {name}" for name in order]
    words = [label.text for label in look_at(scene, (1920, 1080)).overlay.labels]
    for name in order:
        at = words.index(name)
        assert words[at + 1] == share_words(counts[name] / file.n_values)
    assert any("tensor type" in line for line in words)


def test_the_bars_of_the_legend_are_as_long_as_the_shares(file):
    """What a type has of the weights it has of its bar; the least is as wide as high, so that its colour is seen."""
    scene = coloured(file, "type")
    overlay = look_at(scene, (1920, 1080)).overlay
    for name in listed(scene.scales):
        bars = [box for box in overlay.boxes if box.scale == name]
        share = scene.scales[name].n_values / file.n_values
        whole = sum(box.size[0] for box in bars)
        assert bars[0].size[0] == pytest.approx(max(share * whole, bars[0].size[1]))


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99999, "> 99.9 %"), (0.5, "50 %"), (0.0000449, "0.00449 %")]
)
def test_shares_are_read_as_they_are(share, text):
    """All but everything is not all."""
    assert share_words(share) == text


def test_layers_that_are_left_out_do_not_count(tmp_path):
    """Shares are of the weights shown: one layer's, and those outside the layers."""
    file = refgguf.open(llama_7b(tmp_path / "7b.gguf", n_layers=2))
    scene = coloured(file, "type", layers=(0,))
    shown = [t for t in file.tensors.values() if not t.name.startswith("blk.1.")]
    assert sum(scale.n_values for scale in scene.scales.values()) == sum(t.n_values for t in shown)


def test_parameters_are_counted_box_by_box(tmp_path):
    """Each cell has the number of weights of its box: a head's, an expert's; together those of the file."""
    file = refgguf.open(mixtral(tmp_path / "moe.gguf")[0])
    scene = coloured(file, "parameters")
    look = look_at(scene, (640, 360))
    counts = [float(look.atlas.values[int(rect[1]), int(rect[0])]) for rect in look.atlas.rects]
    assert sum(counts) == file.n_values
    expert = next(i for i, b in enumerate(scene.pieces.boxes) if b.plane.tap == "blk.0.ffn_up_exps.weight")
    assert counts[expert] == 4096 * 1024
    assert set(scene.scales) == {"parameters"}
    assert scene.scales["parameters"].high == max(counts)


def test_more_parameters_are_never_paler(file):
    """In the light theme a larger box is darker, or as dark; the legend has the largest at its end."""
    scene = coloured(file, "parameters")
    boxes = sorted(scene.pieces.boxes, key=lambda b: b.plane.figure)
    values = np.array([b.plane.figure for b in boxes], np.float32)
    light = oklab(colour_of(values, scene.scales["parameters"], "light") / 255)[:, 0]
    assert (np.diff(light) <= 1e-3).all()  # half a step of 8-bit colours
    assert light[-1] < 0.4 < light[0]
    words = [label.text for label in look_at(scene, (1920, 1080)).overlay.labels]
    assert "weights in a box" in words
    assert "131 M" in words


@pytest.mark.parametrize("colour", ["type", "parameters"])
def test_nothing_is_decoded_for_them(file, monkeypatch, colour):
    """Colours that say something of whole boxes need no weight."""
    from refgguf.tensor import Tensor

    monkeypatch.setattr(Tensor, "dequantize", lambda *args: pytest.fail("decoded"))
    look_at(coloured(file, colour), (640, 360))


def test_the_order_of_colourings(file):
    """One follows on another; values only where decoding them takes no time."""
    shown = shown_of_file(file, colour="bits")
    assert file.n_values > 20_000_000
    after = {c: shown_of_file(file, colour=c).next_colour for c in ("values", "bits", "type", "parameters")}
    assert after == {"values": "bits", "bits": "type", "type": "parameters", "parameters": "bits"}
    assert shown.next_colour == "type"


def test_a_types_table_is_one_colour():
    """From end to end, so that no figure can change it."""
    table = colour_map("light", "type 0", False)[:N_GRADIENT]
    assert (table == table[0]).all()
