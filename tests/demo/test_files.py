"""Names of the embedded model: `demo`, `demo:q4_k_m`, and paths, which stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import refgguf
from refgguf.demo import files
from refgguf.errors import InputError, UnknownQuantError
from tests.support.speaking_model import speaking_llama


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in the place of the embedded one, and a cache folder of its own."""
    path = speaking_llama().write(tmp_path / "shipped.gguf")
    monkeypatch.setattr(files, "SHIPPED", path)
    monkeypatch.setenv("REFGGUF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return path


def test_the_name_stands_for_the_shipped_file(shipped: Path):
    """`demo` is the shipped file, in `load` and in `open`."""
    assert files.located("demo") == shipped
    assert refgguf.load("demo").path == shipped
    with refgguf.open("demo") as file:
        assert Path(file.path) == shipped


def test_paths_stay_as_they_are(shipped: Path):
    """Any other path is returned untouched, and a file that is really called demo goes first."""
    for path in ("model.gguf", Path("demo.gguf"), b"demo", "./demo"):
        assert files.located(path) is path
    Path("demo").write_bytes(shipped.read_bytes())
    assert files.located("demo") == "demo"


def test_a_type_is_quantized_once(shipped: Path):
    """`demo:q8_0` is made in the cache folder on first use, loads, and is found there the second time."""
    path = files.located("demo:q8_0")
    assert (
        path.parent.parent == shipped.parent / "cache" / "demo"
    )  # a folder for each version of the shipped file
    assert path.name == "demo-q8_0.gguf"
    assert refgguf.load("demo:q8_0").tokenize("a") == refgguf.load("demo").tokenize("a")
    stamp = path.stat().st_mtime_ns
    assert files.located("demo:Q8_0") == path
    assert path.stat().st_mtime_ns == stamp
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_another_shipped_file_is_quantized_anew(shipped: Path):
    """The cached file belongs to the shipped file's bytes: after an upgrade there is another one."""
    first = files.located("demo:q8_0")
    speaking_llama(seed=2).write(shipped)
    assert files.located("demo:q8_0") != first


def test_an_unknown_type_is_told(shipped: Path):
    """`demo:q9_z` says that there is no such type, and leaves nothing behind."""
    with pytest.raises(UnknownQuantError, match="q9_z"):
        files.located("demo:q9_z")
    assert not (shipped.parent / "cache").exists()


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installation without the file says so."""
    monkeypatch.setattr(files, "SHIPPED", tmp_path / "none.gguf")
    with pytest.raises(InputError, match="install it again"):
        files.located("demo")
