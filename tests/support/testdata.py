"""Real models and reference answers that lie outside the repository, in the folder that REFGGUF_TESTDATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_file(relative: str) -> Path:
    """Return a path inside the test data; skip the test where it is not at hand."""
    root = os.environ.get("REFGGUF_TESTDATA")
    if not root:
        pytest.skip("REFGGUF_TESTDATA is not set: it names the folder with real models and reference answers")
    path = Path(root) / relative
    if not path.exists():
        pytest.skip(f"{relative} is not in the folder that REFGGUF_TESTDATA names")
    return path
