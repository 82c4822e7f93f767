"""Ask models what they can do: tasks with known answers, loss, what their attention heads look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, options
from refgguf.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from refgguf.probe import Probe

SIGNIFICANT = 0.05


@click.command(
    epilog=options.examples(
        "refgguf probe model.gguf",
        "refgguf probe model-f16.gguf model-q4_k_m.gguf model-q2_k.gguf -n 200",
        "refgguf probe model.gguf --task sums --task counting --heads",
    )
)
@click.argument("models", metavar="MODEL [MODEL …]", type=click.Path(), nargs=-1, required=True)
@click.option(
    "-n",
    "n",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Prompts for each task; 0 for none.",
)
@click.option("--task", "tasks", metavar="NAME", multiple=True, help="Only this task; may be given again.")
@click.option(
    "--documents",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Held-out documents to measure the loss on; 0 for none.",
)
@click.option("--heads", "every_head", is_flag=True, help="Show the scores of every attention head.")
@click.option("-s", "--seed", type=click.IntRange(0), default=0, show_default=True, help="Which prompts.")
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    models: tuple[str, ...],
    n: int,
    tasks: tuple[str, ...],
    documents: int,
    every_head: bool,
    seed: int,
    numerics: str,
    as_json: bool,
) -> None:
    """Give each MODEL the same prompts and show how many answers are right.

    The tasks are those that the embedded model was taught, in plain English, with prompts that were never in its
    training text. With more than one model, ▼ and ▲ mark what is significantly worse or better than in the first
    one (McNemar's exact test on the same prompts, p < 0.05).
    """
    from refgguf import probe as ask

    if not n and not documents:
        raise InputError("-n 0 and --documents 0 leave nothing to ask")
    loaded = [refgguf.load(path, numerics=numerics) for path in models]
    for model in loaded:
        if not options.has_tokenizer(model):
            raise InputError(f"{model.path.name} has no tokenizer; the tasks are text and cannot be asked")
    labels = [Path(name).name for name in models]
    runs = ask.n_runs(tasks or None, n)
    results = []
    with console.progress("asking", total=runs * len(loaded)) as show:
        for number, model in enumerate(loaded):
            results.append(
                ask.probe(
                    model,
                    tasks=tasks or None,
                    n=n,
                    n_documents=documents,
                    seed=seed,
                    progress=lambda done, at=number, name=labels[number]: show(at * runs + done, name),
                )
            )
    if as_json:
        console.print_json(
            {"models": [as_dict(*pair, results[0]) for pair in zip(labels, results, strict=True)]}
        )
        return
    _print_summary(labels, results)
    if every_head:
        for label, result in zip(labels, results, strict=True):
            _print_heads(label, result)


def _loss(result: Probe) -> str:
    """The loss and its standard error, which one document alone does not give."""
    if result.loss is None:
        return ""
    per_token, error = result.loss.per_token, result.loss.error
    return f"{per_token:.3f} ± {error:.3f}" if math.isfinite(error) else f"{per_token:.3f}"


def _print_summary(labels: list[str], results: list[Probe]) -> None:
    from refgguf.demo.tasks import TASKS

    first = results[0]
    rows = []
    for name in first.tasks:
        rows.append([name, *(_accuracy(result, first, name) for result in results), TASKS[name].about])
    if first.loss is not None:
        losses = [_loss(r) for r in results]
        rows.append(["loss", *losses, "nats per token of held-out stories and scenes"])
        bits = [f"{r.loss.bits_per_byte:.3f}" if r.loss else "" for r in results]
        rows.append(["", *bits, "bits per byte of the same"])
    for score, about in _head_rows(first):
        rows.append([f"{score} head", *(_best(result, score) for result in results), about])
    console.print_table(["", *labels, ""], rows, shrink=len(labels) + 1, headed=True)


def _accuracy(result: Probe, first: Probe, name: str) -> str:
    found = result.tasks[name]
    low, high = found.interval
    return f"{found.accuracy:6.1%} [{low:.0%}–{high:.0%}] {_change(result, first, name)}".rstrip()


def _change(result: Probe, first: Probe, name: str) -> str:
    from refgguf.probe import paired_p

    if result is first or paired_p(first.tasks[name], result.tasks[name]) >= SIGNIFICANT:
        return ""
    return "▼" if result.tasks[name].accuracy < first.tasks[name].accuracy else "▲"


def _head_rows(result: Probe) -> list[tuple[str, str]]:
    from refgguf.probe import HEAD_SCORES

    return [(score, about) for score, about in HEAD_SCORES.items() if result.best_head(score)]


def _best(result: Probe, score: str) -> str:
    best = result.best_head(score)
    return "" if best is None else f"{best[2]:.2f} layer {best[0]} head {best[1]}"


def _print_heads(label: str, result: Probe) -> None:
    """Print a table of all heads; the highest value of each score is marked."""
    scores = [score for score, _ in _head_rows(result)]
    if not scores:
        return
    tops = {score: result.best_head(score)[:2] for score in scores}
    rows = []
    for layer, head in _positions(result.heads[scores[0]]):
        cells = [
            f"{result.heads[score][layer, head]:.2f}{'*' if tops[score] == (layer, head) else ' '}"
            for score in scores
        ]
        rows.append([f"layer {layer} head {head}", *cells])
    click.echo()
    console.print_table([label, *scores], rows, headed=True)


def _positions(values: np.ndarray) -> list[tuple[int, int]]:
    n_layers, n_heads = values.shape
    return [(i, j) for i in range(n_layers) for j in range(n_heads) if values[i, j] == values[i, j]]


def as_dict(label: str, result: Probe, first: Probe) -> dict[str, object]:
    """Return what was found about a model for JSON."""
    from refgguf.probe import paired_p

    tasks = {
        name: {
            "accuracy": found.accuracy,
            "interval": found.interval,
            "right": sum(found.right),
            "n": len(found.right),
            "p_against_first": paired_p(first.tasks[name], found),
        }
        for name, found in result.tasks.items()
    }
    loss = result.loss and {
        "nats_per_token": result.loss.per_token,
        "standard_error": result.loss.error,
        "bits_per_byte": result.loss.bits_per_byte,
        "documents": len(result.loss.tokens),
        "tokens": sum(result.loss.tokens),
    }
    return {"file": label, "name": result.name, "tasks": tasks, "loss": loss, "heads": result.heads}
