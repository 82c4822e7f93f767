"""Write a model with smaller weights: any type, or llama.cpp's mixes such as Q4_K_M."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from refgguf.cli import console, figures, options
from refgguf.errors import InputError, shown

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.weights.mixes import Mix
    from refgguf.weights.plan import Choice, Wishes
    from refgguf.weights.quantize import Written

WORST_SHOWN = 3
NOTICEABLE = 0.1  # share of the time that compiling took


@click.command(
    epilog=options.examples(
        "refgguf quantize model-f16.gguf model-q4.gguf --type q4_k_m",
        "refgguf quantize model-f16.gguf model-q4.gguf --type q4_k_m --dry-run",
        "refgguf quantize model-f16.gguf out.gguf --type q4_0 --tensor-type ffn_down=q6_k",
        "refgguf quantize model-f16.gguf out.gguf --type mxfp4_moe",
        "refgguf quantize model-f16.gguf out.gguf --type q8_0 --pure",
    )
)
@options.model_argument
@click.argument("output", metavar="OUTPUT", type=click.Path())
@click.option(
    "--type", "type_name", required=True, metavar="TYPE", help="A type or mix: q8_0, q4_k_m, bf16 …"
)
@click.option(
    "--tensor-type",
    "tensor_types",
    metavar="PATTERN=TYPE",
    multiple=True,
    help="Give tensors whose name the regular expression finds this type; the first that fits counts.",
)
@click.option("--output-tensor-type", metavar="TYPE", help="Give output.weight this type.")
@click.option("--token-embedding-type", metavar="TYPE", help="Give token_embd.weight this type.")
@click.option("--leave-output-tensor", is_flag=True, help="Leave output.weight as it is.")
@click.option("--pure", is_flag=True, help="No mix: every tensor gets the one type.")
@click.option("--dry-run", is_flag=True, help="Show each tensor's type and size and write nothing.")
@options.json_option
@options.threads_option
def command(
    model: str,
    output: str,
    type_name: str,
    tensor_types: tuple[str, ...],
    output_tensor_type: str | None,
    token_embedding_type: str | None,
    leave_output_tensor: bool,
    pure: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Quantize the weights of the file MODEL and write them to OUTPUT.

    Metadata and small tensors are carried over. Which tensor gets which type follows llama.cpp; so do the bytes, as
    llama-quantize writes them without an importance matrix.
    """
    from refgguf.gguf.reader import open_file
    from refgguf.kernels.compiling import watch
    from refgguf.output import check_output
    from refgguf.weights import plan
    from refgguf.weights.quantize import check_other_file, write_quantized

    mix = plan.mix_of(type_name)
    wishes = plan.Wishes(
        patterns=tuple(plan.pattern_of(text) for text in tensor_types),
        output=output_tensor_type and plan.type_of(output_tensor_type),
        embedding=token_embedding_type and plan.type_of(token_embedding_type),
        keep_output=leave_output_tensor,
        pure=pure,
    )
    with open_file(model) as file:
        if not file.tensors:
            raise InputError(f"{file.path}: there are no tensors to quantize")
        facts = plan.facts_of(file.metadata, file.architecture)
        choices = plan.plan(file.tensors.values(), mix, facts, wishes)
        if not dry_run:
            check_other_file(file, output)
            check_output(output)
        _warn(choices, wishes, mix)
        if dry_run:
            _show_plan(choices, as_json)
            return
        started = time.monotonic()
        with console.progress(
            "quantizing", sum(choice.nbytes for choice in choices), lambda n: f"{figures.size(int(n))}/s"
        ) as show:
            written = write_quantized(
                file, output, choices, mix, progress=lambda done, name: show(done, shown(name, 40))
            )
        seconds, compiling = time.monotonic() - started, watch.seconds
        if as_json:
            console.print_json(described(file, output, mix, choices, written, seconds))
        else:
            _sum_up(output, choices, written, seconds)
            if compiling > NOTICEABLE * seconds:
                console.note(f"{compiling:.1f} s of it went into compiling kernels, which is done once")


def _warn(choices: list[Choice], wishes: Wishes, mix: Mix) -> None:
    """Say what may surprise: weights that were quantized before, rows that do not fit, patterns that find nothing."""
    from refgguf.kernels.quants import format_of

    twice = Counter(
        choice.tensor.type
        for choice in choices
        if not choice.is_copy and format_of(choice.tensor.type).block_size > 1
    )
    if twice:
        kinds = ", ".join(kind for kind, _ in twice.most_common())
        console.note(
            f"warning: the weights of {figures.plural(twice.total(), 'tensor')} are quantized already ({kinds}); "
            "quantizing again adds to the error, so start from F16, BF16 or F32 where you can"
        )
    unfit = [choice for choice in choices if choice.reason.endswith(tuple("0123456789"))]
    if unfit:
        became = ", ".join(f"{n:,} to {kind}" for kind, n in Counter(choice.type for choice in unfit).items())
        console.note(
            f"warning: the rows of {figures.plural(len(unfit), 'tensor')} do not fit the blocks of {mix.name}; {became}"
        )
    for pattern, _ in wishes.patterns:
        if not any(pattern.search(choice.tensor.name) for choice in choices):
            console.note(f"warning: no tensor's name fits --tensor-type {shown(pattern.pattern)}")


def _show_plan(choices: list[Choice], as_json: bool) -> None:
    if as_json:
        console.print_json([_choice_described(choice) for choice in choices])
        return
    rows = [
        [
            shown(choice.tensor.name),
            figures.shape(choice.tensor.shape),
            choice.tensor.type,
            "=" if choice.is_copy else choice.type,
            figures.size(choice.nbytes),
            choice.reason,
        ]
        for choice in choices
    ]
    console.print_table(["tensor", "shape", "from", "to", "size", "why"], rows, shrink=0)
    click.echo(_sizes(choices))


def _choice_described(choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.tensor.name,
        "shape": choice.tensor.shape,
        "from": choice.tensor.type,
        "to": choice.type,
        "bytes_before": choice.tensor.nbytes,
        "bytes": choice.nbytes,
        "reason": choice.reason or None,
    }


def described(
    file: GGUFFile, output: str, mix: Mix, choices: list[Choice], written: Written, seconds: float
) -> dict[str, Any]:
    """Return what was done, for JSON."""
    changes = {change.tensor: change for change in written.changes}
    tensors = []
    for choice in choices:
        change = changes.get(choice.tensor.name)
        tensors.append(
            _choice_described(choice) | {"rms": change and change.rms, "rms_error": change and change.error}
        )
    return {"from": str(file.path), "to": output, "type": mix.name, "seconds": seconds, "tensors": tensors}


def _sizes(choices: list[Choice]) -> str:
    n_values = sum(choice.tensor.n_values for choice in choices)
    before, after = sum(choice.tensor.nbytes for choice in choices), sum(choice.nbytes for choice in choices)
    per = (f"{8 * n / max(1, n_values):.2f}" for n in (before, after))
    return (
        f"{figures.count(n_values)} weights: {figures.size(before)} at {next(per)} bits a weight → "
        f"{figures.size(after)} at {next(per)}"
    )


def _sum_up(output: str, choices: list[Choice], written: Written, seconds: float) -> None:
    """Print what was written, and which tensors lost most."""
    counts = Counter(choice.type for choice in choices)
    click.echo(_sizes(choices))
    click.echo("tensors: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.most_common()))
    worst = sorted(written.changes, key=lambda change: -change.relative)[:WORST_SHOWN]
    if worst:
        lost = ", ".join(f"{shown(change.tensor)} {100 * change.relative:.2g} %" for change in worst)
        click.echo(f"largest errors, as shares of the weights' size: {lost}")
    click.echo(f"{output}: written in {seconds:.1f} s")
