"""Fixtures: a tiny model of each family, opened."""

from __future__ import annotations

import pytest

import refgguf
from tests.support.models import FAMILIES


@pytest.fixture(params=FAMILIES)
def model(request, tmp_path):
    """A tiny model of each family in turn."""
    return refgguf.load(FAMILIES[request.param]().write(tmp_path / f"{request.param}.gguf"))


@pytest.fixture
def llama_model(tmp_path):
    """A tiny Llama."""
    return refgguf.load(FAMILIES["llama"]().write(tmp_path / "llama.gguf"))
