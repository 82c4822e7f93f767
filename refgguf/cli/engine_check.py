"""What `refgguf verify MODEL -p PROMPT --engine llama.cpp` does: hold every intermediate tensor against llama.cpp's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console
from refgguf.cli.trace import check_file

if TYPE_CHECKING:
    from refgguf.cli.options import Prompt
    from refgguf.compare.operations import OperationComparison

ENGINES = ("llama.cpp",)
EXIT_DIFFERENT = 1


def check(
    path: str, prompt: Prompt, target: Prompt, numerics: tuple[str, ...], save: str | None, as_json: bool
) -> int:
    """Run the prompt in both programs and print how every tensor compares.

    Args:
        path: the model file.
        prompt: what to run.
        target: for a model with an encoder: what its decoder has written so far.
        numerics: which of ours to check.
        save: where to write llama.cpp's own tensors as a trace, or None.
        as_json: print JSON.

    Returns:
        The exit code: 0 if rounding explains every operation's difference, 1 otherwise.
    """
    if save is not None:
        check_file(save)
    from refgguf.compare.operations import compare_operations
    from refgguf.engines.apart import capture

    model = refgguf.load(path)
    ids = prompt.ids_for(model)
    with console.progress(f"running {len(ids)} tokens", total=1 + len(numerics)) as show:
        show(0, "in llama.cpp")
        theirs = capture(model, ids, target.target_for(model))
        if save is not None:
            theirs.save(save)
        results = {}
        for number, how in enumerate(numerics):
            show(1 + number, f"in {how} numerics")
            results[how] = compare_operations(model, theirs, numerics=how)
    agree = all(operation.agrees for found in results.values() for operation in found)
    if as_json:
        console.print_json(
            {
                "file": path,
                "engine": ENGINES[0],
                "tokens": ids,
                "agrees": agree,
                "numerics": {
                    how: [{**asdict(operation), "agrees": operation.agrees} for operation in found]
                    for how, found in results.items()
                },
            }
        )
    else:
        for how, found in results.items():
            _print(how, found)
    return 0 if agree else EXIT_DIFFERENT


def _print(numerics: str, found: list[OperationComparison]) -> None:
    click.echo(f"{numerics} numerics against llama.cpp")
    rows = [
        [
            operation.name,
            _bits(operation),
            _number(operation.relative_l2),
            _number(operation.tolerance),
            _number(operation.end_to_end) if operation.end_to_end_different else "same bits",
            "" if operation.agrees else "<- differs",
        ]
        for operation in found
    ]
    console.print_table(["tensor", "bits", "this operation", "allowed", "added up", ""], rows, headed=True)
    same = sum(operation.equal_bits for operation in found)
    through = sum(not operation.end_to_end_different for operation in found)
    first = next((operation.name for operation in found if not operation.agrees), None)
    other = next((operation.name for operation in found if operation.end_to_end_different), None)
    click.echo()
    click.echo(f"{same} of {len(found)} operations have llama.cpp's very bits, fed with its own tensors.")
    since = f"; the first other one is {other}" if other else ""
    click.echo(f"{through} of {len(found)} tensors have them when errors add up{since}.")
    if first is None:
        click.echo("Rounding explains every difference.")
    else:
        click.echo(f"The first operation that rounding does not explain: {first}")
    click.echo()


def _bits(operation: OperationComparison) -> str:
    if operation.equal_bits:
        return "equal"
    return f"{operation.n_different} of {operation.n_values}, ≤ {operation.largest_step} ulp"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
