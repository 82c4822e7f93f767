"""What the viewer keeps between sessions: saved views of each model, and whether the first hint was read."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from refgguf.errors import OutputError
from refgguf.output import atomic_output
from refgguf.viz.scene.camera import Camera

SLOTS = "123456789"


def config_folder() -> Path:
    """Return the folder in which this user's programs keep their settings."""
    if os.environ.get("XDG_CONFIG_HOME"):
        return Path(os.environ["XDG_CONFIG_HOME"]) / "refgguf"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home()) / "refgguf"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "refgguf"
    return Path.home() / ".config" / "refgguf"


class Settings:
    """Settings, read from a file and written back with every change.

    Attributes:
        path: the file.
        complaint: one sentence if the file could not be read, "" otherwise; a bad file is left as it is until
            something new is kept, and is then kept beside the new one under another name.
    """

    def __init__(self, path: Path | None = None):
        self.path = path or config_folder() / "viewer.json"
        self.complaint = ""
        self._known: dict = {}
        self._bad = False
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            self._refuse(str(error))
            return
        try:
            known = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            self._refuse(str(error))
            return
        if isinstance(known, dict):
            self._known = known
        else:
            self._refuse("it holds no object")

    def _refuse(self, why: str) -> None:
        self._bad = True
        self.complaint = f"the saved views in {self.path} cannot be read ({why}); they are left aside"

    @property
    def hint_seen(self) -> bool:
        """Whether the hint of the first start was read."""
        return self._known.get("hint_seen") is True

    def see_hint(self) -> None:
        """Note that the hint was read."""
        self._known["hint_seen"] = True
        self._write()

    def view(self, model: str, slot: str) -> Camera | None:
        """Return a saved view of a model, or None if there is none that can be used."""
        views = self._known.get("views")
        own = views.get(model) if isinstance(views, dict) else None
        return camera_from(own.get(slot)) if isinstance(own, dict) else None

    def slots(self, model: str) -> list[str]:
        """Return the slots that hold a view of a model."""
        return [slot for slot in SLOTS if self.view(model, slot) is not None]

    def keep_view(self, model: str, slot: str, camera: Camera) -> None:
        """Save a view of a model.

        Raises:
            OutputError: the file cannot be written.
        """
        if not isinstance(self._known.get("views"), dict):
            self._known["views"] = {}
        if not isinstance(self._known["views"].get(model), dict):
            self._known["views"][model] = {}
        self._known["views"][model][slot] = asdict(camera)
        self._write()

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._bad:
                self.path.replace(self.path.with_suffix(".bad.json"))
                self._bad = False
        except OSError as error:
            raise OutputError(f"cannot keep settings in {self.path}: {error}") from error
        with atomic_output(self.path) as unfinished:
            Path(unfinished).write_text(json.dumps(self._known, indent=1), encoding="utf-8")


def camera_from(known: object) -> Camera | None:
    """Return a camera from what a file holds, or None if it holds none."""
    if not isinstance(known, Mapping):
        return None
    found = {}
    for field in fields(Camera):
        value = known.get(field.name)
        wanted = {"target": 3, "shift": 2}.get(field.name)
        numbers = value if wanted else [value]
        if not isinstance(numbers, (list, tuple)) or len(numbers) != (wanted or 1):
            return None
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            return None
        found[field.name] = tuple(float(n) for n in numbers) if wanted else float(value)
    sound = 0 < found["fov"] < 170 and found["distance"] > 0 and found["zoom"] > 0
    return Camera(**found) if sound else None
