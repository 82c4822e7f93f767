"""See a forward pass in 3D, in a window or as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import options
from refgguf.cli.trace import trace_with_progress
from refgguf.errors import InputError, ModelError
from refgguf.gguf.roles import layer_of
from refgguf.viz.state import THEMES

if TYPE_CHECKING:
    from refgguf.model import Model
    from refgguf.viz.scene.build import Look
    from refgguf.viz.state import Shown, ShownFile

TRACES = (".safetensors", ".npz")
SMALLEST, LARGEST = 64, 16384
MOST_PIXELS = 100_000_000
SHORT = 64  # tokens that always fit
MOST_BYTES = 6e9  # of traced tensors
MOST_DECODED = 20_000_000  # weights that are decoded without being asked for


@click.command(
    epilog=options.examples(
        'refgguf view model.gguf -p "Once upon a time" --save picture.png',
        'refgguf view model.gguf -p "Once upon a time" --save head.png --camera head:3.0 --size 1200x900',
        'refgguf view model.gguf -p "Once upon a time" --save first.png --layers 0-3 --theme dark',
        "refgguf view trace.safetensors --save picture.png --camera front",
        "refgguf view model.gguf --save structure.png",
        'refgguf view model.gguf -p "Once upon a time"',
    )
)
@options.model_argument
@options.optional_prompt_options
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(),
    help="Draw a picture (.png, .jpg, .webp) or a moving one (.gif, .mp4) instead of a window.",
)
@click.option(
    "--size", metavar="WxH", default="1920x1080", show_default=True, help="Size of the picture in pixels."
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
    default="steps",
    show_default=True,
    help="What a moving picture shows: operation after operation, or the scene from changing sides.",
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
    type=click.Choice(("auto", "values", "bits")),
    default="auto",
    show_default=True,
    help="Without a prompt: colour weights by their values or by their bits; auto takes values for small files.",
)
@click.option("--theme", type=click.Choice(THEMES), default="light", show_default=True)
@options.numerics_option
@options.threads_option
def command(
    model: str,
    prompt: options.Prompt,
    save: str | None,
    size: str,
    camera: str,
    motion: str,
    layers: str | None,
    token: int | None,
    colour: str,
    theme: str,
    numerics: str,
) -> None:
    """Show what MODEL computes for a prompt as a 3D scene: every box is a real tensor, every edge a real flow.

    MODEL is a GGUF file, or a trace saved by `refgguf trace`. Without a prompt nothing is run and the file's own
    tensors are shown, whatever its architecture. With --save the picture is drawn without a screen;
    otherwise a window opens.
    """
    from refgguf.viz.scene.camera import parse_camera

    pixels = read_size(size)
    wanted = None if layers is None else read_ranges(layers)
    view = parse_camera(camera)
    if save is None:
        show_window(model, prompt, wanted, numerics, token, theme, colour)
        return
    check_drawing(save)
    shown = load_shown(model, prompt, wanted, numerics, token, theme, colour)
    look = compose(shown, pixels, view)
    draw(look, save, motion)


def show_window(
    model: str,
    prompt: options.Prompt,
    layers: Sequence[int] | None,
    numerics: str,
    token: int | None,
    theme: str,
    colour: str,
) -> None:
    """Open the window; the model runs when it is there. What cannot be run is shown as a file, and why is said."""
    from refgguf.viz.app.launch import check_window

    check_window()
    from refgguf.viz.app.window import open_window
    from refgguf.viz.session import Session

    if Path(model).suffix in TRACES or not prompt.given:
        open_window(shown=load_shown(model, prompt, layers, numerics, token, theme, colour))
        return
    try:
        loaded = refgguf.load(model, numerics=numerics)
    except ModelError as error:
        open_window(shown=load_file(model, layers, theme, colour), remark=str(error))
        return
    ids = prompt.ids_for(loaded)
    layers = checked_layers(layers, {t.layer for t in loaded.taps.values()})
    place = -1 if token is None else checked_token(token, len(ids))
    look = {"theme": theme, "layers": layers, "token": place, "marked": token is not None}
    open_window(session=Session(loaded, ids, prompt.text or "", options=look))


def check_drawing(save: str) -> None:
    """Refuse what cannot be drawn or written, before the model is run."""
    from refgguf.viz.render.animation import FORMATS, check_animation
    from refgguf.viz.render.offscreen import canvas
    from refgguf.viz.render.picture import check_picture

    check = check_animation if Path(save).suffix.lower() in FORMATS else check_picture
    check(save)
    canvas()


def load_shown(
    model: str,
    prompt: options.Prompt,
    layers: Sequence[int] | None,
    numerics: str,
    token: int | None,
    theme: str,
    colour: str,
) -> Shown | ShownFile:
    """Run the prompt, or read the trace, or open the file, and say what to show of it."""
    from refgguf.viz import facts
    from refgguf.viz.scene.anatomy import anatomy_of

    look = {"theme": theme, "marked": token is not None}
    if Path(model).suffix in TRACES:
        if prompt.given:
            raise InputError(f"{model} is a trace, which has its prompt in it; leave the prompt away")
        trace = refgguf.load_trace(model)
        layers = checked_layers(layers, {t.layer for t in trace.tensors})
        return facts.shown_of_trace(
            trace, layers=layers, token=checked_token(token, len(trace.tokens)), **look
        )
    if not prompt.given:
        if token is not None:
            raise InputError(f"--token needs a prompt: {options.NO_PROMPT}")
        return load_file(model, layers, theme, colour)
    loaded = refgguf.load(model, numerics=numerics)
    ids = prompt.ids_for(loaded)
    layers = checked_layers(layers, {t.layer for t in loaded.taps.values()})
    place = checked_token(token, len(ids))
    needed = anatomy_of(loaded.taps, layers).needed()
    names = [name for name in loaded.taps if name in set(needed)]
    check_memory(loaded, names, ids)
    trace = trace_with_progress(loaded, ids, names)
    return facts.shown_of_model(loaded, trace, prompt.text or "", layers=layers, token=place, **look)


def check_memory(model: Model, names: Sequence[str], ids: Sequence[int]) -> None:
    """Refuse a prompt whose tensors would not fit into memory, before it is run.

    Raises:
        InputError: they would take more than MOST_BYTES.
    """
    if len(ids) <= SHORT:
        return
    n_bytes = 0
    for tensor in model.trace(ids[:1], taps=names).tensors:  # one token tells the shapes
        per_token = sum(axis in ("token", "query", "key") for axis in tensor.axes)
        n_bytes += tensor.values.nbytes * len(ids) ** per_token
    if n_bytes > MOST_BYTES:
        raise InputError(
            f"the tensors of {len(ids):,} tokens would take {n_bytes / 1e9:,.1f} GB; "
            "give a shorter prompt, or fewer layers with --layers 0-3"
        )


def load_file(model: str, layers: Sequence[int] | None, theme: str, colour: str) -> ShownFile:
    """Open a file to show its tensors, whether or not it can be run."""
    from refgguf.viz import facts

    file = refgguf.open(model)
    try:
        taps = refgguf.load(model).taps
    except ModelError:
        taps = {}
    layers = checked_layers(layers, {layer_of(name) for name in file.tensors})
    if colour == "auto":
        colour = "values" if file.n_values <= MOST_DECODED else "bits"
    return facts.shown_of_file(file, taps, layers=layers, theme=theme, colour=colour)


def compose(shown: Shown | ShownFile, size: tuple[int, int], view: tuple) -> Look:
    """Lay the scene out and frame it."""
    from refgguf.viz.scene.build import build_scene, look_at

    camera, zoom, part = view
    return look_at(build_scene(shown), size, camera, zoom, part)


def draw(look: Look, save: str, motion: str) -> None:
    """Draw the picture, still or moving, and say where it is."""
    from refgguf.viz.render.animation import FORMATS, frames, save_animation
    from refgguf.viz.render.offscreen import render
    from refgguf.viz.render.picture import save_picture

    facts = look.scene.shown.facts
    moving = Path(save).suffix.lower() in FORMATS
    if moving:
        count = save_animation(frames(look, motion), save)
    else:
        save_picture(render(look), save, f"{facts.name}: {facts.prompt}" if facts.prompt else facts.name)
    length = f", {count} frames" if moving else ""
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


def read_ranges(text: str) -> tuple[int, ...]:
    """Read numbers and ranges such as "0-3,7".

    Raises:
        InputError: it is something else.
    """
    numbers: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", word)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"--layers {text!r}: give numbers and ranges, such as 0-3,7")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def checked_layers(layers: Sequence[int] | None, have: set[int | None]) -> tuple[int, ...] | None:
    """Return the layers, or say which one the model lacks."""
    if layers is None:
        return None
    known = sorted(layer for layer in have if layer is not None)
    missing = [layer for layer in layers if layer not in known]
    if missing:
        raise InputError(f"--layers: there is no layer {missing[0]}; the model has {known[0]} to {known[-1]}")
    return tuple(layers)


def checked_token(token: int | None, n_tokens: int) -> int:
    """Return the position counted from the start, or say that there is no such."""
    place = -1 if token is None else token
    if not -n_tokens <= place < n_tokens:
        raise InputError(f"--token {token}: the prompt has {n_tokens} tokens, 0 to {n_tokens - 1}")
    return place % n_tokens
