"""Walk through a forward pass token by token and operation by operation, with the real numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, options
from refgguf.cli.taps import described
from refgguf.cli.trace import trace_with_progress

if TYPE_CHECKING:
    from refgguf.cli.stepper.guesses import Guesses
    from refgguf.cli.stepper.walk import Walk
    from refgguf.model import Model
    from refgguf.trace import Trace

PRINT_WIDTH = 120


@click.command(
    epilog=options.examples(
        'refgguf step model.gguf -p "Once upon a time"',
        'refgguf step model.gguf -p "Once upon a time" --at blk.2.attn_probs --token 3',
        'refgguf step model.gguf -p "Once upon a time" --taps "blk.0.*" | less',
    )
)
@options.model_argument
@options.prompt_options
@options.target_option
@click.option(
    "--token",
    type=int,
    metavar="N",
    help="Begin at token N, counted from 0, or from the end as -1; without a terminal, print only it.",
)
@click.option("--at", metavar="TAP", help="Begin at this operation; without a terminal, print only it.")
@click.option("--taps", "patterns", metavar="PATTERN", multiple=True, help="Show only these operations.")
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    model: str,
    prompt: options.Prompt,
    target: options.Prompt,
    token: int | None,
    at: str | None,
    patterns: tuple[str, ...],
    numerics: str,
    as_json: bool,
) -> None:
    """Step through what MODEL computes for a prompt.

    Each page shows one operation on one token: what is computed, from what, by which formula, with which shapes,
    the numbers themselves, one of them worked out by hand, and the model's best guess so far. In a terminal, keys
    move (? lists them); otherwise everything is printed.
    """
    from refgguf.cli.stepper.guesses import Guesses
    from refgguf.cli.stepper.walk import Walk

    loaded = refgguf.load(model, numerics=numerics)
    run = tracer(loaded, patterns)
    walk = Walk(loaded, prompt.ids_for(loaded), run, target.target_for(loaded))
    walk.go(token, at)
    token = None if token is None else walk.token
    guesses = Guesses(loaded)
    if as_json:
        console.print_json([as_dict(walk, guesses) for _ in pages(walk, token, at)])
    elif console.is_terminal(sys.stdout) and console.is_terminal(sys.stdin):
        from refgguf.cli.stepper.screen import Screen

        Screen(walk, guesses).run()
    else:
        print_pages(walk, guesses, token, at)


def tracer(model: Model, patterns: Sequence[str]) -> Callable[..., Trace]:
    """Return what runs token ids (and a target) and traces the operations to show, and those that the guesses need."""
    from refgguf.cli.stepper.guesses import STREAM
    from refgguf.taps import select

    names = select(model.taps, list(patterns) or "all")
    needed = {name for name in model.taps if name == "logits" or name.rpartition(".")[2] in STREAM}
    names = [name for name in model.taps if name in needed or name in names]
    return lambda ids, target=None: trace_with_progress(model, list(ids), names, target)


def pages(walk: Walk, token: int | None, at: str | None):
    """Go through every page that is to be printed, yielding at each."""
    matches = range(walk.n_operations) if at is None else walk.matches(at)
    for text in walk.texts:
        operations = [number for number in matches if number in text.operations]
        for number in range(len(text.ids)) if token is None else [token] if token < len(text.ids) else []:
            for walk.operation in operations:
                walk.token = number
                yield


def print_pages(walk: Walk, guesses: Guesses, token: int | None, at: str | None) -> None:
    """Print pages one after the other."""
    from refgguf.cli.stepper import page

    out = console.stdout_console(width=PRINT_WIDTH, soft_wrap=True)
    last_token = last_guess = None
    for _ in pages(walk, token, at):
        if (walk.reads, walk.token) != last_token:
            last_token, last_guess = (walk.reads, walk.token), None
            out.print(page.title(walk, PRINT_WIDTH))
        out.print(page.place(walk))
        for line in page.body(walk, PRINT_WIDTH):
            out.print(line, overflow="ignore", no_wrap=True)
        if (source := guesses.source(walk)) != last_guess:
            last_guess = source
            out.print()
            for line in page.guess_lines(walk, guesses, PRINT_WIDTH):
                out.print(line, overflow="ignore", no_wrap=True)
        out.print()


def as_dict(walk: Walk, guesses: Guesses) -> dict[str, object]:
    """Return a page for JSON."""
    from refgguf.cli.stepper.slices import numbers_of
    from refgguf.cli.stepper.worked import worked

    here, reading = walk.slice(walk.current), guesses.here(walk)
    return {
        "token": walk.token,
        "token_id": int(walk.text.ids[walk.token]),
        "token_text": walk.label(),
        "operation": walk.operation,
        "tap": described(walk.current),
        "axes": here.axes,
        "shape": here.values.shape,
        "numbers": vars(numbers_of(here.values)),
        "example": worked(walk),
        "guesses": None if reading is None else [vars(guess) for guess in reading.best],
    }
