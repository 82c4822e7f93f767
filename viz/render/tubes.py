"""All edges and nodes as one mesh."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from vispy import gloo

from refgguf.viz.render.programs import SOLID, bind, program_of
from refgguf.viz.render.things import Things
from refgguf.viz.scene.colours import Theme
from refgguf.viz.scene.meshes import Mesh
from refgguf.viz.scene.regions import Sight

LIGHT = np.array([-0.3, 0.8, 0.52])
WIDER = 0.4  # how much wider a glowing tube is, as in the shader


class Tubes:
    """All edges and nodes as one mesh.

    Attributes:
        routes: (run,) int: numbers of the routes, the vertices of each of which stand together in a run.
        things: the runs as they are drawn; None if there are none.
    """

    def __init__(self, mesh: Mesh, theme: Theme):
        starts = np.flatnonzero(np.diff(mesh.routes, prepend=-2))
        self.routes = mesh.routes[starts]
        self.glowing = np.zeros(len(starts), bool)
        self.things: Things | None = None
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
        self.counts = np.diff(starts, append=len(mesh.middles))
        reach = mesh.radii[:, :1] * (1 + WIDER)
        low = np.minimum.reduceat(mesh.middles - reach, starts, axis=0)
        high = np.maximum.reduceat(mesh.middles + reach, starts, axis=0)
        of_run = np.searchsorted(starts, mesh.triangles[:, 0], side="right") - 1
        self.things = Things(mesh.triangles, np.bincount(of_run, minlength=len(starts)), low, high)
        self.glow = gloo.VertexBuffer(np.zeros((len(mesh.middles), 1), np.float32))
        self.program["a_glow"] = self.glow

    def set_glow(self, routes: Collection[int]) -> np.ndarray:
        """Let these routes glow, and no others; returns which runs of vertices did not glow before, or do no longer."""
        before, self.glowing = self.glowing, np.isin(self.routes, list(routes))
        changed = np.flatnonzero(self.glowing != before)
        if len(changed):
            self.glow.set_data(np.repeat(self.glowing, self.counts).astype(np.float32)[:, None])
        return changed

    def draw(
        self, matrix: np.ndarray, thinnest: float, focus: float = 0.0, sight: Sight | None = None
    ) -> None:
        """Draw them.

        Args:
            matrix: (4, 4) from world to clip space.
            thinnest: radius below which no tube is drawn, over its distance from the eye.
            focus: 1 if tubes that do not glow step back.
            sight: the part of the picture that is needed; None for all.
        """
        triangles = None if self.things is None else self.things.chosen(sight)
        if triangles is not None:
            self.program["u_thinnest"] = thinnest
            self.program["u_focus"] = focus
            self.program["u_matrix"] = matrix.T.astype(np.float32)
            gloo.set_state(**SOLID)
            self.program.draw("triangles", triangles)
