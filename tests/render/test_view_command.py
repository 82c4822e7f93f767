"""refgguf view --save: pictures of models and of saved traces, and what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from refgguf.cli import call
from refgguf.viz.render import offscreen
from tests.support import archsuite
from tests.support.models import FAMILIES
from tests.support.scenes import tiny_trace
from tests.support.testdata import data_file

pytestmark = pytest.mark.render


@pytest.fixture
def model_file(tmp_path):
    """A tiny Llama with random weights."""
    return str(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))


@pytest.fixture
def trace_file(tmp_path):
    """A saved trace of a tiny transformer."""
    return str(tiny_trace("grouped queries").save(tmp_path / "trace.safetensors"))


def opened(path) -> Image.Image:
    """Read a picture and close its file."""
    with Image.open(path) as picture:
        picture.load()
        return picture


def colours(path) -> int:
    """Return how many colours a picture has."""
    return len(np.unique(np.asarray(opened(path).convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_forward_pass_is_drawn(family, tmp_path, capsys):
    """For a model of each family, a prompt of ids becomes a picture of the size asked for."""
    model = FAMILIES[family]().write(tmp_path / "model.gguf")
    out = tmp_path / "out.png"
    assert call(["view", str(model), "--ids", "1,2,3,4", "--save", str(out), "--size", "640x360"]) == 0
    assert opened(out).size == (640, 360)
    assert colours(out) > 500
    assert "saved" in capsys.readouterr().out


def test_a_saved_trace_is_drawn(trace_file, tmp_path):
    """A trace needs no model and no prompt."""
    out = tmp_path / "out.png"
    assert call(["view", trace_file, "--save", str(out), "--size", "640x360", "--theme", "dark"]) == 0
    assert colours(out) > 500


@pytest.mark.testdata
def test_the_real_model_is_drawn(tmp_path):
    """stories260K and its prompt give a picture whose description holds the prompt."""
    out = tmp_path / "out.png"
    model = str(data_file("models/stories260K.gguf"))
    assert call(["view", model, "-p", "Once upon a time", "--save", str(out)]) == 0
    picture = opened(out)
    assert picture.size == (1920, 1080)
    assert picture.text["Description"] == "stories260K: Once upon a time"
    assert colours(out) > 5000


@pytest.mark.parametrize("colour", ["auto", "values", "bits", "type", "parameters"])
def test_without_a_prompt_the_file_is_drawn(model_file, tmp_path, colour):
    """Nothing is run; the weights are the picture."""
    out = tmp_path / "out.png"
    assert call(["view", model_file, "--save", str(out), "--size", "640x360", "--colour", colour]) == 0
    assert colours(out) > 300


def test_a_reference_has_colours_of_its_own(model_file, tmp_path, capsys):
    """With a reference, colours are errors: asking for types is a mistake, said in one line."""
    out = str(tmp_path / "out.png")
    assert call(["view", model_file, "--save", out, "--reference", model_file, "--colour", "type"]) == 2
    said = capsys.readouterr().err
    assert "--colour type" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.PNG"])
def test_kinds_of_picture_files(trace_file, tmp_path, name):
    """JPEG and WebP are written as well."""
    out = tmp_path / name
    assert call(["view", trace_file, "--save", str(out), "--size", "320x200"]) == 0
    assert opened(out).size == (320, 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "big"], "--size 'big'"),
        (["--size", "20000x10"], "--size '20000x10'"),
        (["--camera", "moon"], "--camera 'moon'"),
        (["--camera", "layer:77"], "no layer 77"),
        (["--layers", "1-0"], "--layers '1-0'"),
        (["--layers", "0-5"], "the model has 0 to 2"),
        (["--token", "4"], "4 tokens, 0 to 3"),
        (["--token", "-5"], "4 tokens, 0 to 3"),
        (["--save", "nowhere/out.png"], "the folder nowhere does not exist"),
        (["--save", "out.bmp"], ".png, .jpg"),
        (["--colour", "bits"], "--colour bits colours weights"),
        (["--grid", "heads", "--arcs", "mean"], "leave --arcs away"),
        (["--grid", "heads", "--flow", "logit"], "leave --flow away"),
        (["--motion", "turn"], ".gif or .mp4"),
        (["--motion", "turn", "--steps", "3", "--save", "out.gif"], "leave --steps away"),
    ],
)
def test_mistakes_are_said_in_one_line(model_file, tmp_path, capsys, monkeypatch, options, message):
    """A wrong option ends in one sentence and exit code 2, and no file is left."""
    monkeypatch.chdir(tmp_path)
    save = [] if "--save" in options else ["--save", "out.png"]
    assert call(["view", model_file, "--ids", "1,2,3,4", *save, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "heads"], "--grid needs a prompt"),
        (["--numerics", "llama.cpp"], "--numerics needs a prompt"),
        (["--token", "1"], "--token needs a prompt"),
        (["--arcs", "mean"], "--arcs needs a prompt"),
        (["--steps", "1"], "--steps needs a prompt"),
    ],
)
def test_what_needs_a_prompt_says_so(model_file, tmp_path, capsys, options, message):
    """Of a file alone these would do nothing."""
    out = tmp_path / "out.png"
    assert call(["view", model_file, "--save", str(out), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--colour", "type"], "give the GGUF file"),
        (["--numerics", "exact"], "has run already"),
        (["--reference", "demo"], "--reference compares weights"),
    ],
)
def test_what_a_trace_cannot_have_is_said(trace_file, tmp_path, capsys, options, message):
    """A trace has run, and holds no weights."""
    assert call(["view", trace_file, "--save", str(tmp_path / "out.png"), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_head_in_one_grid(model_file, trace_file, tmp_path, capsys, theme):
    """Of a model and of a trace, in both themes, one box for each head."""
    for source in ([model_file, "--ids", "1,2,3,4"], [trace_file]):
        out = tmp_path / "out.png"
        options = ["--grid", "heads", "--theme", theme, "--save", str(out), "--size", "640x360"]
        assert call(["view", *source, *options]) == 0
        assert colours(out) > 300
        assert f"{12 if source[0] == model_file else 8} boxes" in capsys.readouterr().out


def test_a_model_without_heads_has_no_grid(tmp_path, capsys):
    """One sentence, before it is run."""
    if archsuite.folder() is None:
        pytest.skip("the architecture suite is not at hand: REFGGUF_TESTDATA is not set")
    model = archsuite.Case("mamba-dense", tmp_path / "mamba.gguf").write()
    assert (
        call(["view", str(model), "--ids", "1,2", "--grid", "heads", "--save", str(tmp_path / "o.png")]) == 2
    )
    assert "has no attention heads" in capsys.readouterr().err


def test_nothing_is_run_for_a_picture_that_cannot_be_written(tmp_path, capsys):
    """An output that cannot be written is refused before the model is even opened."""
    assert call(["view", "no-such-model.gguf", "-p", "x", "--save", str(tmp_path / "no" / "out.png")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_prompt_that_would_not_fit_is_refused(model_file, tmp_path, capsys, monkeypatch):
    """The memory that a long prompt's tensors need is known from one token, to the byte, and is limited."""
    import refgguf
    from refgguf.viz import memory
    from refgguf.viz.scene.anatomy import anatomy_of

    model = refgguf.load(model_file)
    ids = [1, 2, 3, 4] * 10
    monkeypatch.setattr(memory, "SHORT", 8)
    real = sum(t.values.nbytes for t in model.trace(ids, taps=list(anatomy_of(model.taps).needed())).tensors)
    command = ["view", model_file, "--ids", ",".join(map(str, ids)), "--size", "64x64"]
    monkeypatch.setattr(memory, "MOST_BYTES", real - 1)
    assert call([*command, "--save", str(tmp_path / "out.png")]) == 2
    assert "give a shorter prompt" in capsys.readouterr().err
    monkeypatch.setattr(memory, "MOST_BYTES", real)
    assert call([*command, "--save", str(tmp_path / "out.png")]) == 0


def test_a_trace_takes_no_prompt(trace_file, tmp_path, capsys):
    """A prompt for a saved trace is a misunderstanding and is said to be one."""
    assert call(["view", trace_file, "-p", "x", "--save", str(tmp_path / "out.png")]) == 2
    assert "is a trace" in capsys.readouterr().err


def test_without_opengl_one_line_says_what_to_install(model_file, tmp_path, capsys, monkeypatch):
    """No OpenGL library: exit code 2 and the packages to install, before the model is run."""
    import vispy.app

    def fail(*args, **options):
        raise OSError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(vispy.app, "Canvas", fail)
    monkeypatch.setattr(offscreen, "canvas", offscreen.canvas.__wrapped__)
    assert call(["view", model_file, "--ids", "1,2", "--save", str(tmp_path / "out.png")]) == 2
    said = capsys.readouterr().err
    assert "libEGL.so.1" in said
    assert "apt install libegl1 libgl1 libfontconfig1" in said
    assert said.count("\n") == 1
