"""Tests that draw: skipped, with the reason, where there is no OpenGL."""

from __future__ import annotations

import pytest

from refgguf.errors import NoGLError


@pytest.fixture(autouse=True, scope="session")
def opengl():
    """One hidden canvas for all tests; vispy never frees one."""
    from refgguf.viz.render.offscreen import canvas

    try:
        return canvas()
    except NoGLError as error:
        pytest.skip(str(error))
