"""Options of refgguf view: each does something that is seen, or one sentence says why it cannot; none is ignored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from refgguf.cli import call
from tests.support.models import FAMILIES
from tests.support.scenes import tiny_trace

pytestmark = pytest.mark.render
SIZE = "320x200"
OPTIONS = {
    "size": ["--size", "200x320"],
    "camera": ["--camera", "front"],
    "camera of a layer": ["--camera", "layer:1"],
    "camera of a head": ["--camera", "head:1.0"],
    "camera by angles": ["--camera", "30,20,2"],
    "motion": ["--motion", "turn"],
    "steps": ["--steps", "3"],
    "layers": ["--layers", "0"],
    "token": ["--token", "1"],
    "colour": ["--colour", "type"],
    "arcs": ["--arcs", "mean"],
    "flow": ["--flow", "stream"],
    "grid": ["--grid", "heads"],
    "reference": ["--reference", "OTHER"],
    "theme": ["--theme", "dark"],
    "numerics": ["--numerics", "llama.cpp"],  # seen in the title, which takes a large picture
}
# what is refused, by what is shown
REFUSED = {
    "file": {"camera of a head", "motion", "steps", "token", "arcs", "flow", "grid", "numerics"},
    "prompt": {"motion", "colour", "reference"},
    "trace": {"motion", "colour", "reference", "numerics"},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A file, a prompt for it, and a saved trace, as the command line is given them; and a file like the first."""
    folder = tmp_path_factory.mktemp("sources")
    model = str(FAMILIES["llama"]().write(folder / "llama.gguf"))
    other = str(FAMILIES["llama"](seed=2).write(folder / "other.gguf"))
    trace = str(tiny_trace("grouped queries").save(folder / "trace.safetensors"))
    return {"file": [model], "prompt": [model, "--ids", "1,2,3,4"], "trace": [trace]}, other


@pytest.fixture(scope="module")
def plain(sources, tmp_path_factory):
    """The pictures without any option."""
    found = {}
    for source, words in sources[0].items():
        out = tmp_path_factory.mktemp("plain") / "out.png"
        assert call(["view", *words, "--save", str(out), "--size", SIZE]) == 0
        found[source] = pixels(out)
    return found


def pixels(path) -> np.ndarray:
    """Read a picture."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("source", REFUSED)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_seen_or_refused(sources, plain, tmp_path, capsys, source, option):
    """With one option, the picture is another one; or exit code 2, one sentence, no file."""
    words, other = sources
    chosen = [other if word == "OTHER" else word for word in OPTIONS[option]]
    out = tmp_path / "out.png"
    size = [] if option == "size" else ["--size", "1280x720" if option == "numerics" else SIZE]
    code = call(["view", *words[source], "--save", str(out), *size, *chosen])
    said = capsys.readouterr().err
    assert code == (2 if option in REFUSED[source] else 0), said
    if code:
        assert said.count("\n") == 1
        assert not out.exists()
    elif option == "numerics":
        exact = tmp_path / "exact.png"
        assert call(["view", *words[source], "--save", str(exact), *size]) == 0
        assert (pixels(out) != pixels(exact)).any()
    else:
        found = pixels(out)
        assert found.shape != plain[source].shape or (found != plain[source]).any()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("grid", "token"), ("grid", "theme"), ("grid", "layers"), ("grid", "camera of a head"), ("grid", "steps"),
        ("grid", "camera"), ("arcs", "flow"), ("arcs", "token"), ("steps", "layers"), ("steps", "camera of a layer"),
    ],
)  # fmt: skip
def test_two_options_are_both_seen(sources, tmp_path, first, second):
    """Two that go together give a picture that neither gives alone."""
    words, found = sources[0]["prompt"], []
    for number, chosen in enumerate(([first], [second], [first, second])):
        out = tmp_path / f"{number}.png"
        options = [word for name in chosen for word in OPTIONS[name]]
        assert call(["view", *words, "--save", str(out), "--size", SIZE, *options]) == 0
        found.append(pixels(out))
    assert (found[2] != found[0]).any()
    assert (found[2] != found[1]).any()


def test_a_moving_grid(sources, tmp_path):
    """Layer after layer lights up, then everything is seen."""
    out = tmp_path / "out.gif"
    words = ["view", *sources[0]["prompt"], "--grid", "heads", "--save", str(out), "--size", SIZE]
    assert call(words) == 0
    with Image.open(out) as film:
        assert film.n_frames == 4
