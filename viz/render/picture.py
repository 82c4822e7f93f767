"""Write pictures to files."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from refgguf.errors import OutputError
from refgguf.output import atomic_output, check_output

NO_FILE = r'\/:*?"<>|'  # what some system allows in no file's name
LONGEST = 150  # bytes of a model's name in that of its pictures
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuse a file that could not be written, before any time is spent on drawing.

    Raises:
        OutputError: the name does not end like a picture's, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path}: a picture's name ends in {', '.join(FORMATS)}, a moving one's in .gif or .mp4"
        )
    check_output(path)


def free_picture(name: str) -> Path:
    """Return the first free path for a picture in the current folder: "NAME-1.png", else "NAME-2.png" and so on.

    A model may be called anything: what no file can be called is replaced, and what would be too long is left away.
    """
    plain = "".join("-" if c in NO_FILE or not c.isprintable() else c for c in name)
    plain = plain.encode()[:LONGEST].decode(errors="ignore").strip() or "picture"
    try:
        folder = Path.cwd()
    except OSError:  # it has been removed meanwhile, which whoever writes will find out
        folder = Path()
    return next(path for n in count(1) if not (path := folder / f"{plain}-{n}.png").exists())


def save_picture(picture: np.ndarray, path: str | os.PathLike[str], description: str = "") -> None:
    """Write a picture, whole or not at all.

    Args:
        picture: (height, width, 3) uint8 sRGB.
        path: ends in one of FORMATS.
        description: kept in a PNG file's text.

    Raises:
        OutputError: the file cannot be written.
    """
    check_picture(path)
    format = FORMATS[Path(path).suffix.lower()]
    options: dict = {"quality": 95} if format != "PNG" else {}
    if format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Software", "refgguf")
        if description:
            options["pnginfo"].add_itxt("Description", description)
    with atomic_output(path) as unfinished:
        Image.fromarray(picture).save(unfinished, format=format, **options)
