"""Moving pictures: one frame for each operation, with what flows into it lit up; a camera that comes back."""

from __future__ import annotations

import os
import stat
import sys
import types

import numpy as np
import pytest
from PIL import Image

from refgguf.cli import call
from refgguf.errors import InputError
from refgguf.viz.facts import shown_of_file
from refgguf.viz.render.animation import frames, n_frames, save_animation
from refgguf.viz.scene.build import build_scene, look_at
from refgguf.viz.scene.colours import oklab
from refgguf.viz.steps import steps_of
from tests.support.models import FAMILIES
from tests.support.scenes import tiny_scene, tiny_trace

pytestmark = pytest.mark.render
SIZE = (320, 200)


@pytest.fixture
def trace_file(tmp_path):
    """A saved trace of a tiny transformer."""
    return str(tiny_trace("one head").save(tmp_path / "trace.safetensors"))


def test_every_operation_has_a_frame():
    """There is a frame for each step and one of the whole scene at the end, which is the plain picture."""
    from refgguf.viz.render.offscreen import render

    scene = tiny_scene("one head")
    look = look_at(scene, SIZE)
    shots = [picture for picture, _ in frames(look, "steps")]
    assert len(shots) == len(steps_of(scene)) + 1
    assert np.array_equal(shots[-1], render(look))
    accent = np.rint(np.array(scene.theme.accent) * 255)
    for shot, step in zip(shots[:-1], steps_of(scene), strict=True):
        # nearer to the colour of the rim than in the plain picture: what is not lit steps back to the pale ground
        far, plain = (np.abs(picture - accent).sum(axis=2) for picture in (shot, shots[-1]))
        lit = far < plain - 40
        for number in step.boxes:
            box = scene.pieces.boxes[number]
            corners = [
                (box.left, box.bottom),
                (box.right, box.bottom),
                (box.left, box.top),
                (box.right, box.top),
            ]
            seen = look.camera.project(np.array([(*c, box.size[2]) for c in corners]), SIZE)[:, :2]
            x0, y0 = np.floor(seen.min(axis=0)).astype(int) - 1
            x1, y1 = np.ceil(seen.max(axis=0)).astype(int) + 2
            assert lit[y0:y1, x0:x1].any(), step.tap


def test_the_camera_swings_and_comes_back():
    """The first frame of a turn is the picture itself, the others differ, and it moves evenly to both sides."""
    look = look_at(tiny_scene("one head"), SIZE)
    shots = [picture for picture, _ in frames(look, "turn")]
    middle = len(shots) // 2
    assert (shots[0] != shots[middle // 2]).any()
    # half way round the camera is back where it was
    assert (shots[0] != shots[middle]).any(axis=2).mean() < 0.001


def test_a_gif_is_written(trace_file, tmp_path, capsys):
    """The command writes a GIF with a frame for each step, of the size asked for."""
    out = tmp_path / "steps.gif"
    assert call(["view", trace_file, "--save", str(out), "--size", "320x200"]) == 0
    with Image.open(out) as film:
        assert film.size == SIZE
        assert film.n_frames == len(steps_of(tiny_scene("one head"))) + 1
    assert "frames" in capsys.readouterr().out


def test_how_far_it_is(trace_file, tmp_path):
    """Whoever waits is told of each frame, and how many there will be is known before the first."""
    look, told = look_at(tiny_scene("one head"), SIZE), []
    steps = steps_of(look.scene)
    for chosen, motion in ((None, "steps"), (steps[2:4], "steps"), (None, "turn")):
        told.clear()
        count = save_animation(frames(look, motion, chosen), tmp_path / "out.gif", told.append)
        assert told == list(range(1, count + 1))
        assert count == n_frames(look, motion, chosen)


def test_steps_need_a_run(tmp_path):
    """A file that was not run has no steps; the message says what to do."""
    import refgguf

    file = refgguf.open(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
    look = look_at(build_scene(shown_of_file(file, colour="bits")), SIZE)
    with pytest.raises(InputError, match="--motion turn"):
        next(frames(look, "steps"))


def test_mp4_needs_ffmpeg(trace_file, tmp_path, capsys, monkeypatch):
    """Without ffmpeg one sentence says so, before anything is drawn."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert call(["view", trace_file, "--save", str(tmp_path / "out.mp4")]) == 2
    said = capsys.readouterr().err
    assert "ffmpeg" in said
    assert 'pip install "refgguf[mp4]"' in said
    assert not (tmp_path / "out.mp4").exists()


def stand_in(folder, script: str) -> None:
    """Put a program called ffmpeg into a folder."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a shell script")
def test_mp4_gets_every_frame(trace_file, tmp_path, monkeypatch):
    """It is given raw frames of the size announced, each as often as it is long; what it writes is the file."""
    stand_in(tmp_path, 'for last; do :; done; wc -c > "$last"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    out = tmp_path / "out.mp4"
    assert call(["view", trace_file, "--save", str(out), "--size", "320x200", "--motion", "turn"]) == 0
    assert int(out.read_text()) == 48 * 320 * 200 * 3


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a shell script")
def test_ffmpeg_of_a_package(trace_file, tmp_path, capsys, monkeypatch):
    """Without the system's ffmpeg that of imageio-ffmpeg writes; odd sizes, which no codec takes, become even."""
    package = types.ModuleType("imageio_ffmpeg")
    package.get_ffmpeg_exe = lambda: str(tmp_path / "ffmpeg")
    stand_in(tmp_path, 'for last; do :; done; /usr/bin/wc -c > "$last"')
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)
    out = tmp_path / "out.mp4"
    assert call(["view", trace_file, "--save", str(out), "--size", "321x201", "--motion", "turn"]) == 0
    assert int(out.read_text()) == 48 * 320 * 200 * 3
    assert "320 x 200, 48 frames" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a shell script")
def test_mp4_that_fails_leaves_nothing(trace_file, tmp_path, capsys, monkeypatch):
    """What ffmpeg complains of becomes the message, and no half file stays."""
    stand_in(tmp_path, "cat > /dev/null; echo no such codec >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert call(["view", trace_file, "--save", str(tmp_path / "out.mp4"), "--size", "64x64"]) == 2
    assert "no such codec" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_one_operation_as_a_picture(trace_file, tmp_path, capsys):
    """--steps draws the operation that is named by number or tap, alone in focus, and refuses what is not there."""
    by_name, by_number = tmp_path / "name.png", tmp_path / "number.png"
    steps = steps_of(tiny_scene("one head"))
    size = ["--size", "320x200"]
    assert call(["view", trace_file, "--save", str(by_name), "--steps", steps[4].tap, *size]) == 0
    assert call(["view", trace_file, "--save", str(by_number), "--steps", "5", *size]) == 0
    assert by_name.read_bytes() == by_number.read_bytes()
    other = tmp_path / "other.png"
    assert call(["view", trace_file, "--save", str(other), "--steps", "6", *size]) == 0
    assert other.read_bytes() != by_number.read_bytes()
    capsys.readouterr()
    for wrong, said in (
        ("0", "operations 1 to"),
        (f"{len(steps) + 1}", "operations 1 to"),
        ("no", "give a number"),
        ("6-2", "a range goes forward, such as 2-6"),
    ):
        assert call(["view", trace_file, "--save", str(tmp_path / "no.png"), "--steps", wrong, *size]) == 2
        assert said in capsys.readouterr().err
    assert call(["view", trace_file, "--save", str(tmp_path / "no.png"), "--steps", "2-3", *size]) == 2
    assert "one operation" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_a_range_of_operations_moves(trace_file, tmp_path):
    """A moving picture of a range has a frame for each of its operations, and the whole at the end."""
    out = tmp_path / "some.gif"
    assert call(["view", trace_file, "--save", str(out), "--steps", "3-6", "--size", "320x200"]) == 0
    with Image.open(out) as picture:
        assert picture.n_frames == 5


def test_a_gif_keeps_the_colours_of_its_frames(tmp_path):
    """With 255 colours for all frames, what is drawn in colour is off by little, and nowhere by much."""
    from refgguf.viz.render.offscreen import render

    picture = render(look_at(tiny_scene("every head its keys"), (1200, 675)))
    save_animation(iter([(picture, 70), (picture[:, ::-1].copy(), 70)]), tmp_path / "two.gif")
    with Image.open(tmp_path / "two.gif") as image:
        seen = np.asarray(image.convert("RGB"))
    off = np.linalg.norm(oklab(picture / 255) - oklab(seen / 255), axis=2)
    coloured = np.abs(picture - picture[0, 0].astype(int)).max(axis=2) > 8
    assert off[coloured].mean() < 0.0108
    assert off.max() < 0.13
