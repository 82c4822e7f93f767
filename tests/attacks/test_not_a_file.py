"""What people pass by mistake: folders, pipes, devices, empty files, other formats."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest

import refgguf
from refgguf import errors
from tests.support.gguf_bytes import GGUFBytes

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


def test_a_missing_file(tmp_path: Path):
    """A path without a file raises what `open` would, as a GGUFError too."""
    with pytest.raises(FileNotFoundError, match=r"none\.gguf: there is no such file") as caught:
        refgguf.open(tmp_path / "none.gguf")
    assert isinstance(caught.value, errors.GGUFError)
    with pytest.raises(errors.MissingFileError, match="the path is empty"):
        refgguf.open("")


def test_a_mistyped_file_name_is_put_right(tmp_path: Path):
    """A path that is nearly that of a file names it; one in a folder that is not there has no advice."""
    GGUFBytes().write(tmp_path / "llama-q4_k_m.gguf")
    with pytest.raises(errors.MissingFileError, match=r"no such file; did you mean .*/llama-q4_k_m\.gguf\?$"):
        refgguf.open(tmp_path / "llama-q4_k_s.gguf")
    with pytest.raises(errors.MissingFileError, match=r"no such file$"):
        refgguf.open(tmp_path / "folder" / "llama-q4_k_m.gguf")


def test_a_path_with_a_null_character(tmp_path: Path):
    """A path that no system can have is a missing file, in one sentence."""
    with pytest.raises(errors.MissingFileError, match="null character"):
        refgguf.open(f"{tmp_path}/a\0b")


def test_a_name_too_long(tmp_path: Path):
    """What the system says of a path it cannot take is passed on."""
    with pytest.raises(errors.FileAccessError, match="cannot be opened"):
        refgguf.open(tmp_path / ("x" * 5000))


def test_a_folder(tmp_path: Path):
    """A folder is called one."""
    with pytest.raises(errors.FileAccessError, match="is a folder; give a GGUF file"):
        refgguf.open(tmp_path)


@posix
@pytest.mark.timeout(60)
def test_a_pipe_that_nobody_writes_to(tmp_path: Path):
    """Opening a named pipe does not wait for a writer."""
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(errors.FileAccessError, match="is a named pipe"):
        refgguf.open(tmp_path / "pipe.gguf")


@posix
@pytest.mark.timeout(60)
def test_devices_and_sockets(tmp_path: Path, monkeypatch):
    """Endless and other devices are not read."""
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        if Path(device).exists():
            with pytest.raises(errors.FileAccessError, match=r"is a device|cannot be opened"):
                refgguf.open(device)
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.gguf")
        with pytest.raises(errors.FileAccessError, match=r"cannot be opened|is a socket"):
            refgguf.open("s.gguf")


@posix
def test_no_permission(tmp_path: Path):
    """A file that may not be read says so."""
    path = GGUFBytes().write(tmp_path / "secret.gguf")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything; run the tests as an ordinary user")
    with pytest.raises(errors.FileAccessError, match="permission denied"):
        refgguf.open(path)


@posix
def test_links(tmp_path: Path):
    """A link to a file is followed; a dangling one is a missing file; a circle is refused."""
    GGUFBytes().write(tmp_path / "file.gguf")
    (tmp_path / "link.gguf").symlink_to("file.gguf")
    assert refgguf.open(tmp_path / "link.gguf").version == 3
    (tmp_path / "dangling.gguf").symlink_to("nowhere.gguf")
    with pytest.raises(errors.MissingFileError):
        refgguf.open(tmp_path / "dangling.gguf")
    (tmp_path / "circle.gguf").symlink_to("circle.gguf")
    with pytest.raises(errors.FileAccessError, match="cannot be opened"):
        refgguf.open(tmp_path / "circle.gguf")


SAFETENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (bytes(1000), "a file of zero bytes"),
        (b"ggml" + bytes(100), "the time before GGUF"),
        (struct.pack("<I", 0x67676A74) + bytes(100), "the time before GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04" + bytes(100), "convert_hf_to_gguf.py"),
        (b"\x1f\x8b\x08" + bytes(100), "unpack it first"),
        (struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4), "a safetensors file"),
        (b'{"a": 1}', "JSON"),
        (b"hello world", r"begins with b'hell' where b'GGUF' is expected"),
        (b"gguf" + bytes(100), r"begins with b'gguf'"),
    ],
)
def test_other_formats_are_recognised(content: bytes, what: str, tmp_path: Path):
    """The message says what the file seems to be, since that is what the user has to change."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(errors.BadMagicError, match=what):
        refgguf.open(path)


def test_nothing_stays_open_after_a_refusal(tmp_path: Path):
    """A thousand refused files leave no descriptor behind."""
    path = GGUFBytes(n_keys=5).write(tmp_path / "bad.gguf")
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc to count open files")
    before = len(list(folder.iterdir()))
    for _ in range(1000):
        with pytest.raises(errors.TruncatedFileError):
            refgguf.open(path)
    assert len(list(folder.iterdir())) == before
