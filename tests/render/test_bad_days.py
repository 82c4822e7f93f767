"""Old drivers, full disks and processes that are ended while they draw: one line, and nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.support.interruptible import interruptible
from tests.support.scenes import tiny_trace

pytestmark = pytest.mark.render


@pytest.fixture
def trace_file(tmp_path):
    """A saved trace of a tiny transformer."""
    return str(tiny_trace("one head").save(tmp_path / "trace.safetensors"))


def view(trace_file: str, target, *words: str, **environment: str) -> subprocess.Popen:
    """Start drawing in a process of its own, with another driver if the environment says so."""
    command = [
        sys.executable,
        "-m",
        "refgguf",
        "view",
        trace_file,
        "--save",
        str(target),
        "--size",
        "320x200",
    ]
    env = {**os.environ, **environment}
    return interruptible(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def needs_mesa() -> None:
    """Skip where the driver is none whose version can be chosen from outside."""
    from refgguf.viz.render.offscreen import drawing

    with drawing():
        from vispy.gloo import gl

        version = str(gl.glGetParameter(gl.GL_VERSION))
    if "Mesa" not in version:
        pytest.skip("only Mesa's drivers can be told to offer an older OpenGL")


def test_opengl_2_1_draws_the_same(trace_file, tmp_path):
    """A driver that has nothing newer than OpenGL 2.1 and GLSL 1.20 draws the very same picture."""
    needs_mesa()
    for name, environment in (
        ("new.png", {}),
        ("old.png", {"MESA_GL_VERSION_OVERRIDE": "2.1", "MESA_GLSL_VERSION_OVERRIDE": "120"}),
    ):
        process = view(trace_file, tmp_path / name, **environment)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    new, old = (np.asarray(Image.open(tmp_path / name)) for name in ("new.png", "old.png"))
    assert np.array_equal(new, old)


def test_an_older_driver_is_refused_in_one_line():
    """OpenGL 1.4, or a driver that tells no version, is no traceback but a sentence with what to do."""
    from refgguf.errors import NoGLError
    from refgguf.viz.render.offscreen import check_version

    for version in ("1.4 Mesa 22.3.6", "1.1.0", ""):
        with pytest.raises(NoGLError, match=r"OpenGL 2\.1 is needed.*apt install"):
            check_version(version)
    for version in ("2.1 Mesa 22.3.6", "4.5 (Compatibility Profile) Mesa", "3.0 NVIDIA"):
        check_version(version)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="ends processes as POSIX does")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ending_it_leaves_nothing_behind(trace_file, tmp_path, name):
    """Ctrl-C, and whoever ends the process, find no half file and no hidden part, whenever they come."""
    folder = tmp_path / "out"
    folder.mkdir()
    for wait in (0.0, 1.0):
        process = view(trace_file, folder / "steps.gif", "--size", "800x500")
        time.sleep(wait)
        while wait and not os.listdir(folder) and process.poll() is None:
            time.sleep(0.002)  # until it writes
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=240)
        assert os.listdir(folder) in ([], ["steps.gif"])  # it may have been done by then
        if not os.listdir(folder):
            assert process.returncode != 0
        assert "Traceback" not in said or wait == 0.0  # while Python itself starts, it says so


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("name", ["steps.gif", "picture.png"])
def test_a_full_disk_is_one_line(trace_file, tmp_path, name):
    """When there is no room for the picture, one line names it, and no part of it stays."""
    folder = tmp_path / "out"
    folder.mkdir()
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "from refgguf.cli import main; main(sys.argv[1:])"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "view",
        trace_file,
        "--save",
        str(folder / name),
        "--size",
        "320x200",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{name}: cannot be written, file too large" in done.stderr
    assert os.listdir(folder) == []
