"""Compile shaders and fill buffers: what all things that are drawn have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from vispy import gloo

FOLDER = Path(__file__).parent
# corners of a rectangle and its two triangles
CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
BLEND = {"blend": True, "blend_func": ("src_alpha", "one_minus_src_alpha"), "cull_face": False}
SOLID = {"blend": False, "cull_face": False, "depth_test": True, "depth_mask": True}


def program_of(name: str) -> gloo.Program:
    """Compile a program from its two shader files."""
    stages = ((FOLDER / f"{name}.{stage}.glsl").read_text(encoding="utf-8") for stage in ("vert", "frag"))
    return gloo.Program(*stages)


def bind(target: gloo.Program, attributes: Mapping[str, np.ndarray]) -> None:
    """Upload attributes, each (vertex, n) or (vertex,) float32, as one interleaved buffer."""
    count = len(next(iter(attributes.values())))
    table = np.empty(count, [(name, np.float32, a.shape[1:]) for name, a in attributes.items()])
    for name, a in attributes.items():
        table[name] = a
    target.bind(gloo.VertexBuffer(table))


def quads(n: int) -> np.ndarray:
    """Return the triangles of n rectangles of four vertices each, (2 n, 3) uint32."""
    found = np.array([0, 1, 2, 0, 2, 3])[None] + 4 * np.arange(n)[:, None]
    return found.reshape(-1, 3).astype(np.uint32)


def rectangles(n: int) -> gloo.IndexBuffer:
    """Return them as a buffer to draw."""
    return gloo.IndexBuffer(quads(n).reshape(-1))


def four_times(values) -> np.ndarray:
    """Return what all four corners of a rectangle share, (4, n) float32."""
    return np.tile(np.asarray(values, np.float32), (4, 1))
