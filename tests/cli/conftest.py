"""Fixtures of the command line's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from refgguf import cli
from tests.support.speaking_model import speaking_llama


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def refgguf_command(capsys: pytest.CaptureFixture) -> Callable[..., Done]:
    """Run a command in this process."""

    def run(*words: object) -> Done:
        code = cli.call([str(word) for word in words])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def speaking_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that reads and writes text."""
    return speaking_llama().write(tmp_path_factory.mktemp("model") / "speaking.gguf")
