"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refgguf.errors import OutputError
from refgguf.output import atomic_output, check_output


def test_a_file_appears_when_it_is_complete(tmp_path: Path):
    """The target does not exist while it is being written; after the block it is there, alone."""
    target = tmp_path / "out.png"
    with atomic_output(target) as path:
        assert path.suffix == ".png"
        path.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["out.png"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    """When the block raises, the old content stays and no temporary file is left."""
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_output(target) as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path):
    """A new file gets what the umask says, an old one keeps what it had."""
    with atomic_output(tmp_path / "new") as path:
        path.touch()
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode
    plain.chmod(0o600)
    with atomic_output(plain) as path:
        path.write_text("x")
    assert plain.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_named(tmp_path: Path):
    """The error says which folder is missing."""
    with (
        pytest.raises(OutputError, match=r"out\.txt: cannot be written, the folder .*nowhere does not exist"),
        atomic_output(tmp_path / "nowhere" / "out.txt"),
    ):
        pytest.fail("the block must not run")


def test_a_folder_is_no_file(tmp_path: Path):
    """Writing to a folder's name is refused before anything is computed."""
    with pytest.raises(OutputError, match="it is a folder"), atomic_output(tmp_path):
        pytest.fail("the block must not run")


LIMITED = """
import resource, sys
import numpy as np
from refgguf.errors import OutputError
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.trace import _save_safetensors
from refgguf.output import atomic_output
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
values = np.ones((100, 100), np.float32)
try:
    if sys.argv[1].endswith(".gguf"):
        write_gguf(sys.argv[1], {"general.architecture": "x"}, [NewTensor("a", "F32", (100, 100), values)])
    else:
        with atomic_output(sys.argv[1]) as path:
            _save_safetensors({"a": values}, path, {}, Path(sys.argv[1]))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.gguf", "only a part of it could be; the disk is probably full"),
        ("out.safetensors", "file too large"),
    ],
)
def test_what_does_not_fit_is_said_once(tmp_path: Path, name: str, reason: str):
    """Writers that report a full disk in words of their own come out as one sentence, and leave nothing."""
    command = [sys.executable, "-c", LIMITED, tmp_path / name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / name}: cannot be written, {reason}\n"
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_an_output_error(tmp_path: Path):
    """Running out of space inside the block names the target, and leaves nothing."""
    with (
        pytest.raises(OutputError, match="big: cannot be written, no space"),
        atomic_output(tmp_path / "big"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_errors_about_other_files_stay_themselves(tmp_path: Path):
    """A file that is missing on the reading side is not blamed on the output."""
    with pytest.raises(FileNotFoundError) as caught, atomic_output(tmp_path / "out"):
        (tmp_path / "input").read_bytes()
    assert caught.value.filename == str(tmp_path / "input")


KILLED = """
import os, signal, sys
from refgguf.output import atomic_output
with atomic_output(sys.argv[1]) as path:
    path.write_bytes(b"half")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs locks and signals as POSIX has them")
def test_what_a_killed_process_has_left_goes_with_the_next_write(tmp_path: Path):
    """SIGKILL leaves a hidden part; the next write of the same file removes it, once it is old and nobody has it."""
    target, other = tmp_path / "out.gif", tmp_path / ".out-notapart.gif"
    other.write_text("the user's own")
    subprocess.run([sys.executable, "-c", KILLED, target, "killed"], check=False)
    left = next(p for p in tmp_path.iterdir() if p != other)
    assert left.read_bytes() == b"half"
    command = [sys.executable, "-c", KILLED, target, "waits"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        assert busy.stdout.readline()
        held = next(p for p in tmp_path.iterdir() if p not in (other, left))
        with atomic_output(target) as path:
            path.write_text("new")
        assert left.exists()  # too young: its process might have just begun
        for part in (left, held):
            os.utime(part, (0, 0))
        with atomic_output(target) as path:
            path.write_text("newer")
        assert not left.exists()
        assert held.exists()  # a process is writing it
        busy.stdin.close()
        assert busy.wait(60) == 0
    assert sorted(tmp_path.iterdir()) == [other, target]
    assert target.read_bytes() == b"half"  # the last that was done


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_written_to_directly():
    """/dev/null is not replaced by a file."""
    with atomic_output("/dev/null") as path:
        assert path == Path("/dev/null")
    assert not Path("/dev/null").is_file()


def test_checking_first_leaves_everything_as_it_is(tmp_path: Path):
    """Asking whether a file can be written neither makes it nor touches an old one."""
    check_output(tmp_path / "new.npz")
    assert os.listdir(tmp_path) == []
    (tmp_path / "old.npz").write_text("old")
    check_output(tmp_path / "old.npz")
    assert (tmp_path / "old.npz").read_text() == "old"


@pytest.mark.parametrize("name", ["nowhere/out.npz", "."])
def test_checking_first_finds_what_writing_would(tmp_path: Path, name: str):
    """A missing folder, or a folder in place of a file, is refused before the work."""
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / name)
