"""Names of pictures that are saved without being named."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("PIL")

from refgguf.viz.render.picture import free_picture


def test_a_name_that_is_free(tmp_path, monkeypatch):
    """Pictures of a model are numbered in the current folder; none takes another's place."""
    monkeypatch.chdir(tmp_path)
    for n in (1, 2, 3):
        path = free_picture("small world")
        assert path == tmp_path / f"small world-{n}.png"
        path.touch()


@pytest.mark.parametrize(
    ("name", "expected"),
    (
        ("a/b\\c:d", "a-b-c-d-1.png"),
        ("line\nline\0", "line-line--1.png"),
        ("\ud800", "--1.png"),
        ("", "picture-1.png"),
        ("ä" * 400, "ä" * 75 + "-1.png"),
    ),
)
def test_a_name_that_any_model_may_have(tmp_path, monkeypatch, name, expected):
    """Whatever a model is called, there is a file that can be written."""
    monkeypatch.chdir(tmp_path)
    path = free_picture(name)
    assert path.name == expected
    path.touch()


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
def test_a_folder_that_is_gone(tmp_path, monkeypatch):
    """A current folder that was removed is for the writer to find: a name there is all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert free_picture("small world").name == "small world-1.png"
    monkeypatch.chdir(tmp_path)
