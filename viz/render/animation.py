"""Moving pictures: the steps of a forward pass, or a camera that swings, as GIF or MP4."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from refgguf.errors import InputError, OutputError
from refgguf.output import atomic_output, check_output
from refgguf.viz.render.offscreen import FINE, draw_tiles, drawing
from refgguf.viz.scene.build import Look
from refgguf.viz.scene.captions import step_overlay
from refgguf.viz.state import Shown
from refgguf.viz.steps import Step, steps_of

if TYPE_CHECKING:
    from refgguf.viz.render.renderer import Renderer

FORMATS = (".gif", ".mp4")
MOTIONS = ("steps", "turn")
SWING = 26.0  # degrees to either side
TURN_FRAMES = 48
STEP_MS, TURN_MS = 480, 70  # milliseconds for a frame
HOLD_MS = 1600  # for the whole scene at the end of the steps
MOST_COLOURS, PLAIN = (
    255,
    6,
)  # of a GIF's palette, and how many of those are the most frequent colours as they are
FAINT = 0.55  # how much the boxes glow that flow into the operation
SEEN_FRAMES = 6  # that the palette of a GIF is made from


def check_animation(path: str | os.PathLike[str]) -> None:
    """Refuse a file that could not be written, before any time is spent on drawing.

    Raises:
        OutputError: the file cannot be written, or needs a program that is not there.
    """
    check_output(path)
    if Path(path).suffix.lower() == ".mp4" and _program() is None:
        raise OutputError(
            f"{path}: MP4 is written by the program ffmpeg, which is not installed: "
            'pip install "refgguf[mp4]" brings one along; or save a .gif instead'
        )


def _program() -> str | None:
    """Return where ffmpeg is: the system's, or the one that the package imageio-ffmpeg brings along."""
    found = shutil.which("ffmpeg")
    if found is None:
        try:
            from imageio_ffmpeg import get_ffmpeg_exe

            found = get_ffmpeg_exe()
        except (ImportError, RuntimeError):  # the package is there without a program for this machine
            return None
    return found


def n_frames(look: Look, motion: str, steps: Sequence[Step] | None = None) -> int:
    """Return how many frames `frames` draws; 0 for what it refuses."""
    if motion == "turn":
        return TURN_FRAMES
    if not isinstance(look.scene.shown, Shown):
        return 0
    return 1 + len(steps_of(look.scene) if steps is None else steps)


def frames(look: Look, motion: str, steps: Sequence[Step] | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Draw the frames of a motion.

    Args:
        look: the scene as it is framed.
        motion: one of MOTIONS: "steps" lights up operation after operation with what flows into it; "turn" swings
            the camera.
        steps: the operations to show; all if None.

    Yields:
        (height, width, 3) uint8 and how many milliseconds it is seen.

    Raises:
        InputError: there are no steps to show, since nothing was run.
        NoGLError: there is no OpenGL.
    """
    with drawing():
        yield from _frames(look, motion, steps)


def _frames(look: Look, motion: str, steps: Sequence[Step] | None) -> Iterator[tuple[np.ndarray, int]]:
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
    for step in steps_of(look.scene) if steps is None else steps:
        light_up(renderer, step)
        yield draw_tiles(renderer), STEP_MS
    light_up(renderer, None)
    renderer.set_size(look.size, look.overlay)
    yield draw_tiles(renderer), HOLD_MS


def draw_step(look: Look, step: Step) -> np.ndarray:
    """Draw one operation, lit up with what flows into it, (height, width, 3) uint8.

    Raises:
        NoGLError: there is no OpenGL.
    """
    with drawing():
        from refgguf.viz.render.renderer import Renderer

        renderer = Renderer(look)
        light_up(renderer, step)
        return draw_tiles(renderer, FINE)


def light_up(renderer: Renderer, step: Step | None) -> None:
    """Let an operation glow, and tell of it; None lets everything be as it is."""
    styles = renderer.plain_styles()
    if step is not None:
        styles[list(step.inputs), 2] = FAINT
        styles[list(step.boxes), 2] = 1.0
        look = renderer.look
        width, height = look.size
        close = any(right > width and bottom < height / 2 for _, _, right, bottom in look.overlay.covers)
        renderer.set_size(look.size, step_overlay(look.scene, look.size, step, close=close))
    renderer.highlight(styles, () if step is None else step.routes, focus=step is not None)


def save_animation(
    moving: Iterator[tuple[np.ndarray, int]],
    path: str | os.PathLike[str],
    progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Write frames to a file, whole or not at all; returns how many there were.

    Args:
        moving: from `frames`.
        path: ends in one of FORMATS.
        progress: called with how many frames are drawn.

    Raises:
        OutputError: the file cannot be written.
    """
    check_animation(path)
    if Path(path).suffix.lower() == ".mp4":
        return _save_mp4(moving, path, progress)
    # the palette is made from frames of the beginning, the middle and the end: until then they wait, packed
    packed: list[bytes] = []
    times: list[int] = []
    shape = (0, 0, 3)
    for picture, milliseconds in moving:
        shape = picture.shape
        packed.append(zlib.compress(picture.tobytes(), 1))
        times.append(milliseconds)
        progress(len(packed))

    def unpacked(number: int) -> Image.Image:
        return Image.fromarray(np.frombuffer(zlib.decompress(packed[number]), np.uint8).reshape(shape))

    seen = np.unique(np.linspace(0, len(packed) - 1, SEEN_FRAMES).astype(int))
    palette = _palette([unpacked(int(i)) for i in seen])
    images = (unpacked(i).quantize(palette=palette, dither=Image.Dither.NONE) for i in range(len(packed)))
    with atomic_output(path) as unfinished:
        next(images).save(
            unfinished,
            format="GIF",
            save_all=True,
            append_images=images,
            duration=times,
            loop=0,
            optimize=True,
        )
    return len(packed)


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return one palette for all frames, so that nothing but what moves changes; plain areas keep their very colour."""
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in pictures]) >> 2
    packed, counts = np.unique(pixels @ np.array([1 << 12, 1 << 6, 1]), return_counts=True)
    colours = np.stack([packed >> 12, packed >> 6 & 63, packed & 63], axis=1).astype(np.uint8) * 4 + 2
    # each colour counts as the root of its pixels: else most of the palette would be shades of the ground
    often = np.repeat(colours, np.rint(np.sqrt(counts)).astype(int), axis=0)
    # an octree leaves no colour without one that is close
    made = Image.fromarray(often[None]).quantize(MOST_COLOURS - PLAIN, Image.Quantize.FASTOCTREE)
    last, counts = np.unique(np.asarray(pictures[-1]).reshape(-1, 3), axis=0, return_counts=True)
    plain = last[np.argsort(-counts, kind="stable")[:PLAIN]]
    made.putpalette([*made.getpalette()[: 3 * (MOST_COLOURS - PLAIN)], *(int(c) for c in plain.reshape(-1))])
    return made


def _save_mp4(
    moving: Iterator[tuple[np.ndarray, int]], path: str | os.PathLike[str], progress: Callable[[int], object]
) -> int:
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
                progress(count)
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
    words = (
        f"-y -loglevel error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1000 / TURN_MS:.3f}".split()
    )
    words += ["-i", "-", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    return subprocess.Popen([_program(), *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
