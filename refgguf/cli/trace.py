"""Run a prompt and save every intermediate tensor to a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, figures, options
from refgguf.errors import TraceError
from refgguf.output import check_output
from refgguf.taps import STACK, select

if TYPE_CHECKING:
    from refgguf.model import Model
    from refgguf.trace import Trace

SUFFIXES = (".safetensors", ".npz")


@click.command(
    epilog=options.examples(
        'refgguf trace model.gguf -p "Once upon a time" -o trace.safetensors',
        'refgguf trace model.gguf -p "Once upon a time" -o trace.npz --taps "blk.*.attn_probs" --taps logits',
        "refgguf trace model.gguf --ids 1,403,407 -o trace.npz --taps summary --json",
    )
)
@options.model_argument
@options.prompt_options
@options.target_option
@options.output_option("Where to write: a name that ends in .safetensors or .npz.", required=True)
@click.option(
    "--taps",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="What to keep: names and patterns as `refgguf taps` takes them, or summary; everything by default.",
)
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    model: str,
    prompt: options.Prompt,
    target: options.Prompt,
    output: str,
    patterns: tuple[str, ...],
    numerics: str,
    as_json: bool,
) -> None:
    """Run a prompt through MODEL and save its intermediate tensors as NumPy arrays by name.

    The file is read back with refgguf.load_trace, and by any reader of safetensors or npz; tokens, axis
    names, model and numerics are in it.
    """
    check_file(output)
    loaded = refgguf.load(model, numerics=numerics)
    ids = prompt.ids_for(loaded)
    names = select(loaded.taps, patterns or "all")
    start = time.perf_counter()
    trace = trace_with_progress(loaded, ids, names, target.target_for(loaded))
    seconds = time.perf_counter() - start
    trace.save(output)
    summary = summarize(trace, Path(output), seconds)
    if as_json:
        console.print_json(summary)
    else:
        print_summary(summary)


def check_file(output: str) -> None:
    """Refuse a file that could not be written before any time is spent on computing it."""
    if Path(output).suffix not in SUFFIXES:
        raise TraceError(f"{output}: a trace is saved as {' or '.join(SUFFIXES)}; give such a file name")
    check_output(output)


def trace_with_progress(
    model: Model, ids: list[int], names: list[str], target: list[int] | None = None
) -> Trace:
    """Trace a prompt, showing on a terminal which layer is being computed; `target` as in `Model.trace`."""
    with layer_progress(model, len(ids)):
        return model.trace(ids, taps=names, target=target)


@contextmanager
def layer_progress(model: Model, n_tokens: int, *, tapped: bool = True) -> Iterator[None]:
    """Show on a terminal, while the block runs tokens, how many layers are done.

    Args:
        model: what runs them.
        n_tokens: how many there are.
        tapped: something is kept of each layer, so that all tokens go through it at once.
    """
    if not console.is_terminal(sys.stderr):
        yield
        return
    from refgguf.forward import TOKENS_AT_ONCE
    from refgguf.recorder import watching

    n_layers = len(
        {(STACK.match(name), tap.layer) for name, tap in model.taps.items() if tap.layer is not None}
    )
    times = 1 if tapped else -(-n_tokens // TOKENS_AT_ONCE)
    entered = 0

    def enter(prefix: str) -> None:
        nonlocal entered
        show(entered)  # what has been entered before is done
        entered += 1

    with (
        console.progress(f"running {figures.plural(n_tokens, 'token')}", total=n_layers * times) as show,
        watching(enter),
    ):
        yield


def summarize(trace: Trace, path: Path, seconds: float) -> dict[str, object]:
    """Return what a trace holds, for JSON and for print_summary."""
    kinds = Counter(tensor.kind for tensor in trace.tensors)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "tokens": trace.tokens.tolist(),
        "token_texts": trace.token_texts,
        **({"source": trace.model["source"]} if "source" in trace.model else {}),
        "numerics": trace.numerics,
        "seconds": round(seconds, 3),
        "kinds": dict(kinds),
        "tensors": {name: list(value.shape) for name, value in trace.items()},
    }


def print_summary(summary: dict) -> None:
    """Print what was saved, for people."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())
    tokens = figures.plural(len(summary["tokens"]), "token")
    if "source" in summary:
        tokens = f"the encoder's {len(summary['source'])} and the decoder's {tokens}"
    click.echo(
        f"{figures.plural(len(summary['tensors']), 'tensor')} of {tokens} in {summary['seconds']:.2f} s"
    )
    click.echo(f"  {kinds}")
    click.echo(
        f"saved to {summary['file']} ({summary['bytes'] / 1e6:.2f} MB, {summary['numerics']} numerics)"
    )
    click.echo(
        f'read it with: refgguf.load_trace("{summary["file"]}")["{next(iter(summary["tensors"]), "")}"]'
    )
