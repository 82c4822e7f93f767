"""Moving pictures: the steps of a forward pass, or a camera that swings, as GIF or MP4."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from refgguf.errors import InputError, OutputError
from refgguf.output import atomic_output, check_output
from refgguf.viz.render.offscreen import canvas, draw_tiles
from refgguf.viz.scene.build import Look
from refgguf.viz.state import Shown
from refgguf.viz.steps import steps_of

FORMATS = (".gif", ".mp4")
MOTIONS = ("steps", "turn")
SWING = 26.0  # degrees to either side
TURN_FRAMES = 48
STEP_MS, TURN_MS = 480, 70  # milliseconds for a frame
HOLD_MS = 1600  # for the whole scene at the end of the steps
MOST_COLOURS = 255


def check_animation(path: str | os.PathLike[str]) -> None:
    """Refuse a file that could not be written, before any time is spent on drawing.

    Raises:
        OutputError: the file cannot be written, or needs a program that is not there.
    """
    check_output(path)
    if Path(path).suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise OutputError(
            f"{path}: MP4 is written by the program ffmpeg, which is not installed; save a .gif instead"
        )


def frames(look: Look, motion: str) -> Iterator[tuple[np.ndarray, int]]:
    """Draw the frames of a motion.

    Args:
        look: the scene as it is framed.
        motion: one of MOTIONS: "steps" lights up operation after operation with what flows into it; "turn" swings
            the camera.

    Yields:
        (height, width, 3) uint8 and how many milliseconds it is seen.

    Raises:
        InputError: there are no steps to show, since nothing was run.
        NoGLError: there is no OpenGL.
    """
    canvas().set_current()
    from refgguf.viz.render.renderer import Renderer

    renderer = Renderer(look)
    if motion == "turn":
        for share in np.arange(TURN_FRAMES) / TURN_FRAMES:
            camera = replace(
                look.camera, azimuth=look.camera.azimuth + SWING * float(np.sin(2 * np.pi * share))
            )
            renderer.set_camera(camera)
            yield draw_tiles(renderer), TURN_MS
        return
    if not isinstance(look.scene.shown, Shown):
        raise InputError(
            "there are no steps to show without a prompt; give one with -p, or use --motion turn"
        )
    for step in steps_of(look.scene):
        styles = renderer.plain_styles()
        styles[list(step.boxes | step.inputs), 2] = 1.0
        renderer.slabs.set_styles(styles)
        renderer.tubes.set_glow(step.routes)
        renderer.focus = 1.0
        yield draw_tiles(renderer), STEP_MS
    renderer.slabs.set_styles(renderer.plain_styles())
    renderer.tubes.set_glow(())
    renderer.focus = 0.0
    yield draw_tiles(renderer), HOLD_MS


def save_animation(moving: Iterator[tuple[np.ndarray, int]], path: str | os.PathLike[str]) -> int:
    """Write frames to a file, whole or not at all; returns how many there were.

    Args:
        moving: from `frames`.
        path: ends in one of FORMATS.

    Raises:
        OutputError: the file cannot be written.
    """
    check_animation(path)
    if Path(path).suffix.lower() == ".mp4":
        return _save_mp4(moving, path)
    pictures, times = [], []
    for picture, milliseconds in moving:
        image = Image.fromarray(picture)
        pictures.append(image.quantize(MOST_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
        times.append(milliseconds)
    with atomic_output(path) as unfinished:
        pictures[0].save(
            unfinished,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=times,
            loop=0,
            optimize=True,
        )
    return len(pictures)


def _save_mp4(moving: Iterator[tuple[np.ndarray, int]], path: str | os.PathLike[str]) -> int:
    count, writer = 0, None
    with atomic_output(path) as unfinished:
        try:
            for picture, milliseconds in moving:
                picture = picture[
                    : picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2
                ]  # the codec wants even sizes
                writer = writer or _ffmpeg(picture.shape[1], picture.shape[0], unfinished)
                writer.stdin.write(
                    np.ascontiguousarray(picture).tobytes() * max(1, round(milliseconds / TURN_MS))
                )
                count += 1
            _, said = writer.communicate()
        except BrokenPipeError:  # it has given up, and says why
            said = writer.stderr.read()
            writer.wait()
        finally:
            if writer is not None and writer.poll() is None:
                writer.kill()
                writer.wait()
        if writer.returncode:
            raise OutputError(
                f"{path}: ffmpeg could not write it: {' '.join(said.decode(errors='replace').split())[:200]}"
            )
    return count


def _ffmpeg(width: int, height: int, path: Path) -> subprocess.Popen:
    """Start the program that turns raw pictures into a film."""
    words = f"ffmpeg -y -loglevel error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1000 / TURN_MS:.3f}".split()
    words += ["-i", "-", "-pix_fmt", "yuv420p", "-f", "mp4", str(path)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
