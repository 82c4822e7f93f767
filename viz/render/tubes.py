"""All edges and nodes as one mesh."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from vispy import gloo

from refgguf.viz.render.programs import SOLID, bind, program_of
from refgguf.viz.scene.colours import Theme
from refgguf.viz.scene.meshes import Mesh

LIGHT = np.array([-0.3, 0.8, 0.52])


class Tubes:
    """All edges and nodes as one mesh."""

    def __init__(self, mesh: Mesh, theme: Theme):
        self.routes = mesh.routes
        self.triangles = None
        if not len(mesh.triangles):
            return
        self.program = program_of("tubes")
        self.program["u_light"] = tuple(LIGHT / np.linalg.norm(LIGHT))
        self.program["u_ground"] = theme.ground
        self.program["u_accent"] = theme.accent
        columns = {
            "middle": mesh.middles,
            "normal": mesh.normals,
            "radius": mesh.radii,
            "colour": mesh.colours,
        }
        bind(self.program, {f"a_{name}": column for name, column in columns.items()})
        self.glow = gloo.VertexBuffer(np.zeros((len(mesh.middles), 1), np.float32))
        self.program["a_glow"] = self.glow
        self.triangles = gloo.IndexBuffer(mesh.triangles.reshape(-1))

    def set_glow(self, routes: Collection[int]) -> None:
        """Let these routes glow, and no others."""
        if self.triangles is not None:
            self.glow.set_data(np.isin(self.routes, list(routes)).astype(np.float32)[:, None])

    def draw(self, matrix: np.ndarray, thinnest: float, focus: float = 0.0) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            thinnest: radius below which no tube is drawn, over its distance from the eye.
            focus: 1 if tubes that do not glow step back.
        """
        if self.triangles is not None:
            self.program["u_thinnest"] = thinnest
            self.program["u_focus"] = focus
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            gloo.set_state(**SOLID)
            self.program.draw("triangles", self.triangles)
