"""Fixtures of the tests that compare with llama.cpp."""

from __future__ import annotations

import pytest

from tests.support import llama_cpp


@pytest.fixture(scope="module", autouse=True)
def _oracle_ends():
    """End llama.cpp's process after a module's last test."""
    yield
    llama_cpp.close()
