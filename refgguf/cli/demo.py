"""Let the embedded model write a story, show what happens inside, and open the 3D view."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

import refgguf
from refgguf.cli import console, options
from refgguf.errors import ViewerError
from refgguf.output import check_output
from refgguf.sampling import softmax

if TYPE_CHECKING:
    from refgguf.model import Model, Step
    from refgguf.trace import Trace
    from refgguf.viz.state import Shown

OPENING = "One morning"
TAPS = ("blk.*.resid_post", "blk.*.attn_probs", "blk.*.ffn_act")
TRACE_FILE, PICTURE_FILE = "refgguf-demo.safetensors", "refgguf-demo.png"
PICTURE_SIZE = (1920, 1080)
HEADERS = ("layer", "best guess", "strongest head", "looks at", "largest neuron")


@dataclass(frozen=True)
class LayerView:
    """What one layer does for one token.

    Attributes:
        layer: its number.
        guess: the next token if the model stopped here (logit lens).
        probability: of that guess.
        head: the head that looks hardest at one earlier token, leaving out the first token, where heads rest.
        looks_at: the text of that token.
        attention: how much of its attention goes there.
        neuron: the neuron with the largest activation.
        activation: that activation.
    """

    layer: int
    guess: str
    probability: float
    head: int | None
    looks_at: str
    attention: float
    neuron: int | None
    activation: float

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        head = "" if self.head is None else f"{self.head}  {self.attention:4.0%}"
        neuron = "" if self.neuron is None else f"{self.neuron:>5}  {self.activation:+.2f}"
        return (str(self.layer), f"{self.guess!r:12} {self.probability:4.0%}", head, self.looks_at, neuron)


@click.command(epilog=options.examples("refgguf demo", 'refgguf demo -p "Once upon a time" --seed 7'))
@click.option(
    "-p", "--prompt", default=OPENING, show_default=True, metavar="TEXT", help="How the story begins."
)
@click.option("-n", "n", type=click.IntRange(1), default=160, show_default=True, help="Most tokens to write.")
@click.option(
    "--temp",
    type=click.FloatRange(0),
    default=0.7,
    show_default=True,
    help="Temperature; 0 takes the best token.",
)
@click.option("-s", "--seed", type=click.IntRange(0), default=None, help="Tell the same story again.")
@click.option(
    "--model", default="demo", show_default=True, metavar="MODEL", help="Another model, such as demo:q4_k."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False),
    default=".",
    show_default=True,
    help="Where the trace (and the picture, without a display) is written.",
)
@click.option("--no-view", is_flag=True, help="Stop after the trace is saved.")
@options.threads_option
def command(
    prompt: str, n: int, temp: float, seed: int | None, model: str, folder: str, no_view: bool
) -> None:
    """Write a story with the model that comes with refgguf, and look inside while it does.

    The table shows each layer's best guess for the next token (the logit lens), the attention head that looks
    hardest at one earlier token, and the neuron that is most active. The whole trace is saved and then shown.
    """
    target = Path(folder) / TRACE_FILE
    check_output(target)
    loaded = refgguf.load(model)
    ids = loaded.tokenize(prompt)
    told = list(ids)
    views = _write(loaded, ids, n, temp, seed, told)
    if views and not console.is_terminal(sys.stdout):
        token, rows = _latest_decision(views)
        click.echo(f"\nInside, as it chose {token!r}:")
        console.print_table(HEADERS, [row.cells() for row in rows], headed=True)
    trace = loaded.trace(told[: loaded.config.context_length])
    trace.save(target)
    console.note(f"trace   {target}  ({len(trace.names)} tensors, {len(told)} tokens)")
    if not no_view:
        _show(loaded, trace, Path(folder) / PICTURE_FILE)


def _write(
    model: Model, ids: list[int], n: int, temp: float, seed: int | None, told: list[int]
) -> list[tuple[str, list[LayerView]]]:
    """Write token by token: live with the table on a terminal, else as plain text; `told` grows."""
    views = []
    steps = model.generate(ids, n, temp, seed=seed, taps=TAPS)
    if not console.is_terminal(sys.stdout):
        click.echo(model.detokenize(ids), nl=False)
        for step in steps:
            views.append((step.text, inside(model, step, told)))
            told.append(step.token)
            click.echo(step.text, nl=False)
        click.echo()
        return views
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    text = Text(model.detokenize(ids), style="bold")
    with Live(console=console.stdout_console(), refresh_per_second=20) as live:
        for step in steps:
            views.append((step.text, inside(model, step, told)))
            told.append(step.token)
            text.append(step.text, style="default")
            live.update(Group(text, Text(), _table(views[-1][1])))
    return views


def _table(rows: list[LayerView]):
    from rich.table import Table

    table = Table(*HEADERS, box=None, header_style="dim")
    for row in rows:
        table.add_row(*row.cells())
    return table


def inside(model: Model, step: Step, told: list[int]) -> list[LayerView]:
    """Read a step's trace: what each layer did at the last token before the new one."""
    trace = step.trace
    residual = np.stack([trace[f"blk.{i}.resid_post"][-1] for i in range(model.config.n_layers)])
    probs = softmax(model.lens(residual))
    best = probs.argmax(-1)
    rows = []
    for layer in range(model.config.n_layers):
        head, key, share = _strongest_head(trace, layer)
        neuron, value = _largest_neuron(trace, layer)
        guess = int(best[layer])
        looks_at = "" if head is None else model.token_text(told[key])
        rows.append(
            LayerView(
                layer,
                model.token_text(guess),
                float(probs[layer, guess]),
                head,
                looks_at,
                share,
                neuron,
                value,
            )
        )
    return rows


def _strongest_head(trace: Trace, layer: int) -> tuple[int | None, int, float]:
    name = f"blk.{layer}.attn_probs"
    if name not in trace.names:
        return None, 0, 0.0
    probs = trace[name][:, -1]
    earlier = probs[:, 1:-1] if probs.shape[1] > 2 else probs[:, :1]
    head, key = np.unravel_index(earlier.argmax(), earlier.shape)
    at = int(key) + (1 if probs.shape[1] > 2 else 0)
    return int(head), at, float(probs[head, at])


def _largest_neuron(trace: Trace, layer: int) -> tuple[int | None, float]:
    name = f"blk.{layer}.ffn_act"
    if name not in trace.names:
        return None, 0.0
    values = trace[name][-1].ravel()
    at = int(np.abs(values).argmax())
    return at, float(values[at])


def _latest_decision(views: list[tuple[str, list[LayerView]]]) -> tuple[str, list[LayerView]]:
    """Return the token that a surely predicting model made up its mind about last: the one to look at."""

    def undecided(view: tuple[str, list[LayerView]]) -> tuple[int, float]:
        last = view[1][-1]
        return sum(row.guess != last.guess for row in view[1]) * (last.probability > 0.9), last.probability

    return max(views, key=undecided)


def _show(model: Model, trace: Trace, picture: Path) -> None:
    """Open the 3D view of the story; where no window can be opened, save the picture and say where."""
    from refgguf.viz import facts
    from refgguf.viz.app.launch import check_window, open_window

    shown = facts.shown_of_model(model, trace)
    try:
        check_window()
    except ViewerError as error:
        console.note(f"no window: {str(error).partition(';')[0]}")
        _draw(shown, picture)
        return
    open_window(shown=shown)


def _draw(shown: Shown, picture: Path) -> None:
    from refgguf.viz.render.offscreen import FINE, render
    from refgguf.viz.render.picture import save_picture
    from refgguf.viz.scene.build import build_scene, look_at
    from refgguf.viz.scene.camera import parse_camera

    camera, zoom, part = parse_camera("overview")
    look = look_at(build_scene(shown), PICTURE_SIZE, camera, zoom, part)
    save_picture(render(look, FINE), str(picture), f"{shown.facts.name}: {shown.facts.prompt}")
    console.note(f"picture {picture}")
