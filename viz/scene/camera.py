"""The camera: matrices, framing and rays, in plain NumPy.

Columns are vectors: a point p is seen at `matrix @ (x, y, z, 1)`. x and y of the result run from -1 to 1 across the
picture, upwards. Shift and zoom act on the finished picture, as a view camera's shift does: they frame the scene
without changing its perspective.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from refgguf.errors import InputError

NAMED = {
    "overview": (-38.0, 12.0, 34.0),  # azimuth, elevation, field of view in degrees
    "front": (0.0, 3.0, 16.0),
    "left": (-62.0, 10.0, 34.0),
    "right": (46.0, 13.0, 34.0),
    "top": (-25.0, 48.0, 30.0),
}
CLOSE = (-20.0, 8.0, 24.0)  # for one layer or head


@dataclass(frozen=True)
class Camera:
    """Where from and how the scene is seen.

    Attributes:
        azimuth: degrees from the front (+z) towards the right (+x).
        elevation: degrees above the ground.
        fov: vertical field of view, degrees, before zoom.
        target: the point that it turns around.
        distance: from the target.
        zoom: enlarges the finished picture.
        shift: moves it, in half widths and half heights of the picture.
    """

    azimuth: float = -40.0
    elevation: float = 13.0
    fov: float = 34.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance: float = 100.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def eye(self) -> np.ndarray:
        """Where the camera stands."""
        return np.asarray(self.target) + self.distance * self.backward

    @property
    def backward(self) -> np.ndarray:
        """Direction from the target to the camera."""
        a, e = np.radians([self.azimuth, self.elevation])
        return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions that appear as right and up in the picture."""
        a = np.radians(self.azimuth)
        right = np.array([np.cos(a), 0.0, -np.sin(a)])
        return right, np.cross(self.backward, right)

    def matrix(self, aspect: float, near: float, far: float) -> np.ndarray:
        """Return the (4, 4) matrix from world to clip space.

        Args:
            aspect: width of the picture over its height.
            near: distance of the nearest thing to be seen.
            far: distance of the farthest.
        """
        right, up = self.axes()
        back = self.backward
        view = np.eye(4)
        view[:3, :3] = right, up, back
        view[:3, 3] = -view[:3, :3] @ self.eye
        f = 1 / np.tan(np.radians(self.fov) / 2)
        lens = np.zeros((4, 4))
        lens[0, 0], lens[1, 1] = f / aspect * self.zoom, f * self.zoom
        lens[2, 2], lens[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
        lens[3, 2] = -1
        lens[0, 2], lens[1, 2] = (
            -self.shift[0],
            -self.shift[1],
        )  # w = -z, so this adds the shift after division
        return lens @ view

    def depth_range(self, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
        """Return near and far distances that hold a box of the world."""
        corners = box_corners(low, high)
        depth = (self.eye - corners) @ self.backward
        far = max(float(depth.max()) * 1.05, 1.0)
        # far enough away to tell far things' depths apart, but before what is looked at from close by
        near = max(float(depth.min()) * 0.95, min(far / 2000, self.distance / 20), 1e-4)
        return near, far

    def project(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return where points appear, (n, 3): pixels from the left, pixels from the top, distance along the view.

        A point behind the camera has a distance of 0 or less and no meaningful place.
        """
        width, height = size
        clip = np.c_[points, np.ones(len(points))] @ self.matrix(width / height, 0.1, 10.0).T
        w = np.where(np.abs(clip[:, 3]) < 1e-9, 1e-9, clip[:, 3])
        x, y = clip[:, 0] / w, clip[:, 1] / w
        return np.stack([(x + 1) / 2 * width, (1 - y) / 2 * height, clip[:, 3]], axis=1)

    def ray(self, x: float, y: float, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return origin and unit direction of the line of sight through a place of the picture, in pixels."""
        width, height = size
        f = 1 / np.tan(np.radians(self.fov) / 2)
        across = ((2 * x / width - 1) - self.shift[0]) / (f * self.zoom) * (width / height)
        upward = ((1 - 2 * y / height) - self.shift[1]) / (f * self.zoom)
        right, up = self.axes()
        direction = right * across + up * upward - self.backward
        return self.eye, direction / np.linalg.norm(direction)


def box_corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the eight corners of boxes, (…·8, 3)."""
    low, high = np.atleast_2d(low), np.atleast_2d(high)
    pick = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], bool)
    return np.where(pick[None], high[:, None], low[:, None]).reshape(-1, 3)


def aim(camera: Camera, low: np.ndarray, high: np.ndarray, nearness: float = 1.0) -> Camera:
    """Let a camera look at the middle of a box of the world from a distance that suits its size.

    Args:
        camera: gives the angles.
        low: lowest corner.
        high: highest corner.
        nearness: how strong the perspective is; 1 is usual.
    """
    target = (np.asarray(low) + high) / 2
    right, up = camera.axes()
    corners = box_corners(low, high) - target
    reach = max(np.ptp(corners @ right), np.ptp(corners @ up) * 1.6)
    depth = np.ptp(corners @ camera.backward)
    distance = (0.62 * reach + 0.62 * depth) / nearness
    return replace(
        camera, target=tuple(float(t) for t in target), distance=float(distance), zoom=1.0, shift=(0.0, 0.0)
    )


# angles, None for those that are chosen; an extra zoom; what to frame
CameraWords = tuple[Camera | None, float, str | None]


def parse_camera(text: str) -> CameraWords:
    """Read a camera from the command line.

    Args:
        text: a name of NAMED; "layer:3" or "head:3.0" (layer and head), with an angle's name before it if wanted
            ("front:layer:3"); or "AZIMUTH,ELEVATION" or "AZIMUTH,ELEVATION,ZOOM" in degrees.

    Returns:
        The angles as a camera, None for the overview, which chooses them; an extra zoom; what to frame ("layer:3",
        "head:3.0"), None for everything.

    Raises:
        InputError: the text is none of these.
    """
    words = text.strip().lower()
    if words == "overview":
        return None, 1.0, None
    if words in NAMED:
        return Camera(*NAMED[words]), 1.0, None
    match = re.fullmatch(r"(?:([a-z]+):)?(layer:\d+|head:\d+\.\d+)", words)
    if match and (match[1] or "close") in {*NAMED, "close"}:
        return Camera(*NAMED.get(match[1], CLOSE)), 1.0, match[2]
    try:
        numbers = [float(n) for n in words.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(np.isfinite(numbers)):
        names = ", ".join(NAMED)
        raise InputError(
            f"--camera {text!r} is not understood; give {names}, layer:N, head:LAYER.HEAD, "
            "or AZIMUTH,ELEVATION[,ZOOM] in degrees"
        )
    zoom = numbers[2] if len(numbers) == 3 else 1.0
    if not 0.05 <= zoom <= 100 or not -89 <= numbers[1] <= 89:
        raise InputError(f"--camera {text!r}: elevation lies between -89 and 89, zoom between 0.05 and 100")
    return Camera(numbers[0], numbers[1], NAMED["overview"][2]), zoom, None
