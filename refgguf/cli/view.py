"""See a forward pass in 3D, in a window or as a picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

import refgguf
from refgguf.cli import console, options
from refgguf.cli.view_request import Request, read_ranges, unrunnable
from refgguf.errors import InputError, ModelError
from refgguf.viz.state import COLOURINGS, FLOWS, GRIDS, THEMES

if TYPE_CHECKING:
    from refgguf.viz.scene.build import Look
    from refgguf.viz.scene.camera import CameraWords
    from refgguf.viz.state import Shown, ShownFile
    from refgguf.viz.steps import Step
    from refgguf.viz.work import Opened

PICTURE = 1920, 1080
SMALLEST, LARGEST = 64, 16384
MOST_PIXELS = 100_000_000


@click.command(
    epilog=options.examples(
        'refgguf view model.gguf -p "Once upon a time" --save picture.png',
        'refgguf view model.gguf -p "Once upon a time" --save head.png --camera head:3.0 --size 1200x900',
        'refgguf view model.gguf -p "Once upon a time" --save first.png --layers 0-3 --theme dark',
        "refgguf view trace.safetensors --save picture.png --camera front",
        "refgguf view model.gguf --save structure.png --colour type",
        'refgguf view model.gguf -p "Once upon a time"',
    )
)
@options.model_argument
@options.optional_prompt_options
@options.target_option
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(),
    help="Draw a picture (.png, .jpg, .webp) or a moving one (.gif, .mp4) instead of a window.",
)
@click.option(
    "--size", metavar="WxH", help="Size in pixels of the picture (1920x1080 by default), or of the window."
)
@click.option(
    "--camera",
    metavar="VIEW",
    default="overview",
    show_default=True,
    help="overview, front, left, right, top; layer:N or head:LAYER.HEAD to come close; or AZIMUTH,ELEVATION[,ZOOM].",
)
@click.option(
    "--motion",
    type=click.Choice(("steps", "turn")),
    help="What a moving picture shows: operation after operation (the default), or the scene from changing sides.",
)
@click.option(
    "--steps",
    metavar="WHICH",
    help="Show an operation lit up with what flows into it, as number or tap name; a range (7-12) in a moving picture.",
)
@click.option("--layers", metavar="LIST", help="Layers to show, such as 0-3,7; all by default.")
@click.option(
    "--token",
    type=int,
    metavar="N",
    help="Position whose predictions are shown and whose row is marked; -1 is the last, the default.",
)
@click.option(
    "--colour",
    type=click.Choice(("auto", *COLOURINGS)),
    default="auto",
    show_default=True,
    help="Without a prompt: colour weights by their values, bits, tensor type, or the number of parameters in a box; "
    "auto takes values for small files, else bits.",
)
@click.option(
    "--arcs",
    metavar="WHICH",
    help="Draw attention as arcs between tokens: mean (over heads, every layer), LAYER or LAYER.HEAD; "
    "with :value behind it, weighed by the length of the value.",
)
@click.option(
    "--flow",
    type=click.Choice(FLOWS),
    help="Weigh the edges into the residual stream: by what they add to it, or to the score of the best next token.",
)
@click.option(
    "--grid",
    type=click.Choice(GRIDS),
    help="Show every head's attention pattern in one grid, layers by heads, instead of the whole pass.",
)
@click.option(
    "--reference",
    metavar="FILE",
    help="Without a prompt: colour weights by their error against those of another file, such as the unquantized one.",
)
@click.option("--theme", type=click.Choice(THEMES), default="light", show_default=True)
@options.numerics_option
@options.threads_option
def command(
    model: str,
    prompt: options.Prompt,
    target: options.Prompt,
    save: str | None,
    size: str | None,
    camera: str,
    motion: str | None,
    steps: str | None,
    layers: str | None,
    token: int | None,
    colour: str,
    arcs: str | None,
    flow: str | None,
    grid: str | None,
    reference: str | None,
    theme: str,
    numerics: str,
) -> None:
    """Show what MODEL computes for a prompt as a 3D scene: every box is a real tensor, every edge a real flow.

    MODEL is a GGUF file, or a trace saved by `refgguf trace`. Without a prompt nothing is run and the file's own
    tensors are shown, whatever its architecture. With --save the picture is drawn without a screen;
    otherwise a window opens.
    """
    from refgguf.viz.scene.arcs import read_arcs
    from refgguf.viz.scene.camera import parse_camera

    pixels = PICTURE if size is None else read_size(size)
    if save is not None and Path(save).suffix.lower() == ".mp4":
        pixels = pixels[0] // 2 * 2, pixels[1] // 2 * 2  # the codec wants even sizes
    request = Request(
        model,
        prompt,
        None if layers is None else read_ranges(layers),
        token,
        theme,
        colour,
        numerics,
        None if arcs is None else read_arcs(arcs),
        flow,
        reference,
        target,
        pixels[0] / pixels[1],
        grid is not None,
        given("numerics"),
    )
    view = parse_camera(camera)
    if motion is not None and (save is None or not moves(save)):
        raise InputError("--motion is for moving pictures: give --save and a name that ends in .gif or .mp4")
    if motion == "turn" and steps is not None:
        raise InputError("--motion turn shows the scene as it is; leave --steps away, or take --motion steps")
    if save is None:
        if steps is not None:
            raise InputError("--steps is for pictures: give --save; the window has a strip of all operations")
        show_window(request, None if size is None else pixels, view if given("camera") else None)
        return
    request.check(picture=True)
    check_drawing(save)
    stepping = steps is not None or (moves(save) and motion != "turn")
    look, chosen = compose(request.load(), pixels, view, steps, stepping)
    draw(look, save, motion or "steps", chosen)


def given(option: str) -> bool:
    """Tell whether an option was given, rather than left as it is by default."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def show_window(
    request: Request, size: tuple[int, int] | None = None, view: CameraWords | None = None
) -> None:
    """Open the window; the model runs when it is there. What cannot be run is shown as a file, and why is said.

    Args:
        request: what to show.
        size: width and height of the window in pixels; its own if None.
        view: from `parse_camera`: from where everything is seen first; as the window would if None.
    """
    from refgguf.viz.app.launch import check_window, open_window

    request.check()
    check_window()
    if not request.is_trace and request.model != "demo":
        refgguf.open(request.model).close()  # a file that is none is refused before there is a window
    open_window(opening=opening_of(request), theme=request.theme, size=size, view=view)


def opening_of(request: Request) -> Callable[[Callable[[str], None]], Opened]:
    """Return what opens the model for a window, and is given a function to tell what it does."""
    from refgguf.viz.session import Session
    from refgguf.viz.work import Opened

    def begin(text: str) -> Session:
        model = refgguf.load(request.model, numerics=request.numerics)
        layers = request.look(1, {t.layer for t in model.taps.values()})["layers"]
        return Session(model, model.tokenize(text), text, options={"layers": layers})

    def opening(say: Callable[[str], None]) -> Opened:
        say(f"reading {Path(request.model).name}")
        if request.is_trace:
            return Opened(shown=request.load())
        if not request.prompt.given:
            tensors = request.tensors()
            return Opened(shown=tensors, then=lambda: request.with_flow(tensors), begin=begin)
        say(f"loading {Path(request.model).name}")
        try:
            model, ids = request.loaded()
        except ModelError as error:
            return Opened(shown=request.tensors(), remark=unrunnable(error))
        request.check_grid(model)
        target = request.written(model, ids)
        n_tokens = len(ids) if target is None else 1 + len(target)
        look = request.look(n_tokens, {t.layer for t in model.taps.values()})
        return Opened(session=Session(model, ids, request.prompt.text or "", target=target, options=look))

    return opening


def moves(save: str) -> bool:
    """Tell whether a file's name asks for a moving picture."""
    from refgguf.viz.render.animation import FORMATS

    return Path(save).suffix.lower() in FORMATS


def check_drawing(save: str) -> None:
    """Refuse what cannot be drawn or written, before the model is run."""
    from refgguf.viz.render.animation import check_animation
    from refgguf.viz.render.offscreen import canvas
    from refgguf.viz.render.picture import check_picture

    check = check_animation if moves(save) else check_picture
    check(save)
    canvas()


def compose(
    shown: Shown | ShownFile,
    size: tuple[int, int],
    view: tuple,
    steps: str | None = None,
    stepping: bool = False,
) -> tuple[Look, list[Step] | None]:
    """Lay the scene out and frame it, and find the operations that are asked for; None if none are."""
    from refgguf.viz.scene.build import build_scene, look_at
    from refgguf.viz.scene.captions import step_overlay
    from refgguf.viz.state import Shown as Run
    from refgguf.viz.steps import chosen_steps, steps_of

    camera, zoom, part = view
    scene = build_scene(shown)
    run = isinstance(shown, Run)
    if steps is not None and not run:
        raise InputError(f"--steps needs a prompt: {options.NO_PROMPT}")
    chosen = None if steps is None else chosen_steps(steps_of(scene), steps)
    overlay = step_overlay(scene, size, None, close=part is not None) if stepping and run else None
    return look_at(scene, size, camera, zoom, part, overlay), chosen


def draw(look: Look, save: str, motion: str, steps: list[Step] | None = None) -> None:
    """Draw the picture, still or moving, and say where it is."""
    from refgguf.viz.render.animation import draw_step, frames, n_frames, save_animation
    from refgguf.viz.render.offscreen import FINE, render
    from refgguf.viz.render.picture import save_picture

    facts = look.scene.shown.facts
    if moves(save):
        total = n_frames(look, motion, steps)
        with console.progress("drawing", total=max(total, 1)) as show:
            count = save_animation(frames(look, motion, steps), save, show)
    elif steps is not None:
        if len(steps) > 1:
            raise InputError("--steps: a still picture shows one operation; save a .gif or .mp4 for several")
        save_picture(draw_step(look, steps[0]), save, f"{facts.name}: {steps[0].words}")
    else:
        save_picture(
            render(look, FINE), save, f"{facts.name}: {facts.prompt}" if facts.prompt else facts.name
        )
    length = f", {count} frames" if moves(save) else ""
    click.echo(
        f"saved {save}: {look.size[0]} x {look.size[1]}{length}, {len(look.scene.pieces.boxes):,} boxes"
    )


def read_size(text: str) -> tuple[int, int]:
    """Read "1920x1080".

    Raises:
        InputError: it is not two numbers within the limits.
    """
    match = re.fullmatch(r"(\d{1,6})\s*[x×X]\s*(\d{1,6})", text.strip())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(SMALLEST <= n <= LARGEST for n in size) or size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"--size {text!r}: give WIDTHxHEIGHT in pixels, such as 1920x1080, each {SMALLEST} to {LARGEST} "
            f"and together at most {MOST_PIXELS // 10**6} million"
        )
    return size
