"""Check every decoded value of a file against other decoders: plain twin, gguf package, ggml."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from refgguf.cli import console, engine_check, figures, options
from refgguf.errors import InputError, shown

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.weights.references import Reference
    from refgguf.weights.verify import Check, Verdict

EXIT_DIFFERENT = 1
MANY = 20  # tensors that are listed when they differ; the rest is counted


@click.command(
    epilog=options.examples(
        "refgguf verify model.gguf",
        "refgguf verify model.gguf 'blk.0.*'",
        "refgguf verify model.gguf --plain all",
        "refgguf verify model.gguf --json",
        'refgguf verify model.gguf -p "Once upon a time" --engine llama.cpp',
    )
)
@options.model_argument
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    "--plain",
    metavar="N",
    default="16",
    show_default=True,
    help="Blocks of each tensor that the slow plain twins decode, or all.",
)
@options.optional_prompt_options
@options.target_option
@click.option(
    "--engine",
    type=click.Choice(engine_check.ENGINES),
    help="With a prompt: the program whose intermediate tensors are compared.",
)
@click.option(
    "--numerics",
    type=click.Choice((*options.NUMERICS, "both")),
    default="both",
    show_default=True,
    help="With a prompt: which of our arithmetics to compare.",
)
@options.output_option(
    "With a prompt: also save the other program's tensors as a trace (.safetensors or .npz)."
)
@options.partial_option
@options.json_option
@options.threads_option
@click.pass_context
def command(
    context: click.Context,
    model: str,
    patterns: tuple[str, ...],
    plain: str,
    prompt: options.Prompt,
    target: options.Prompt,
    engine: str | None,
    numerics: str,
    output: str | None,
    partial: bool,
    as_json: bool,
) -> None:
    """Decode every tensor of the file MODEL and compare each value's bits with every other decoder at hand.

    Compared are our plain twins (scalar Python written from the drawing of each block), the gguf package and, where
    llama-cpp-python is installed or REFGGUF_GGML names a folder with libggml-base, ggml itself. Exit code 1 says
    that a value differs or that a tensor cannot be decoded.

    With a prompt, the model is run instead, here and in llama.cpp, and every intermediate tensor is compared: each
    operation on llama.cpp's own inputs, so that errors do not add up, and once with errors adding up. Exit code 1
    says that rounding does not explain a difference.
    """
    if prompt.given or engine:
        if not prompt.given:
            raise InputError(options.NO_PROMPT)
        which = options.NUMERICS if numerics == "both" else (numerics,)
        context.exit(engine_check.check(model, prompt, target, which, output, as_json))
    from refgguf.cli.tensors import select
    from refgguf.gguf.reader import open_file
    from refgguf.weights.references import references
    from refgguf.weights.verify import verify

    sample = _parse_plain(plain)
    with open_file(model, partial=partial) as file:
        chosen = select(file, patterns, (), None, ())
        others = references()
        n_values = sum(tensor.n_values for tensor in chosen)
        with console.progress("verifying", n_values, lambda n: f"{figures.count(int(n))} values/s") as show:
            found = verify(chosen, others, sample=sample, progress=lambda n, name: show(n, shown(name, 40)))
            verdicts = list(found)
        if as_json:
            console.print_json(described(file, others, verdicts))
        else:
            _print(file, others, verdicts)
    if any(verdict.n_different or verdict.problem for verdict in verdicts):
        context.exit(EXIT_DIFFERENT)


def _parse_plain(text: str) -> int | None:
    """Return how many blocks the plain twins decode, None for all."""
    if text == "all":
        return None
    if not text.isdigit() or not 0 < int(text) <= 1 << 40:
        raise InputError(f"--plain: {shown(text)!r} is neither a number of blocks nor all")
    return int(text)


def described(file: GGUFFile, others: tuple[Reference, ...], verdicts: list[Verdict]) -> dict[str, Any]:
    """Return everything that was found, for JSON."""
    return {
        "file": str(file.path),
        "references": [other.name for other in others],
        "n_tensors": len(verdicts),
        "n_values": sum(verdict.n_values for verdict in verdicts),
        "equal": not any(verdict.n_different or verdict.problem for verdict in verdicts),
        "tensors": [
            {
                "name": verdict.tensor,
                "type": verdict.type,
                "n_values": verdict.n_values,
                "problem": verdict.problem,
                "checks": [_check_described(check) for check in verdict.checks],
            }
            for verdict in verdicts
        ],
    }


def _check_described(check: Check) -> dict[str, Any]:
    worst = check.worst
    return {
        "reference": check.reference,
        "n_compared": check.n_compared,
        "n_different": check.n_different,
        "n_other_nan_bits": check.n_nan,
        "worst": worst
        and {
            "row": worst.row,
            "col": worst.col,
            "ours": worst.ours,
            "ours_bits": _bits(worst.ours),
            "theirs": worst.theirs,
            "theirs_bits": _bits(worst.theirs),
        },
    }


def _bits(value: Any) -> str:
    return f"{value.view('u4'):#010x}"


def _print(file: GGUFFile, others: tuple[Reference, ...], verdicts: list[Verdict]) -> None:
    """Print a line a type, then what differs, then the sum of it."""
    by_type: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_type[verdict.type].append(verdict)
    headers = ["type", "tensors", "values", *(other.name for other in others)]
    rows = [
        [
            kind,
            f"{len(group):,}",
            figures.count(sum(verdict.n_values for verdict in group)),
            *(_cell([v.checks[i] for v in group if v.checks]) for i in range(len(others))),
        ]
        for kind, group in sorted(by_type.items(), key=lambda item: -sum(v.n_values for v in item[1]))
    ]
    console.print_table(headers, rows, headed=True)
    wrong = [verdict for verdict in verdicts if verdict.n_different or verdict.problem]
    if wrong:
        click.echo()
    for verdict in wrong[:MANY]:
        for line in _lines(verdict):
            click.echo(line)
    if len(wrong) > MANY:
        click.echo(f"… and {len(wrong) - MANY:,} more tensors; --json lists all")
    click.echo()
    click.echo(_sentence(verdicts, wrong, others))


def _cell(checks: list[Check]) -> str:
    """Return what one decoder said of all tensors of a type."""
    compared, different = (
        sum(getattr(check, name) for check in checks) for name in ("n_compared", "n_different")
    )
    if not compared:
        return "-"
    if different:
        return f"{different:,} differ"
    return f"{figures.count(compared)} equal"


def _lines(verdict: Verdict) -> list[str]:
    """Return what is wrong with a tensor, a line for each decoder that differs."""
    name = click.style(f"{shown(verdict.tensor)} ({verdict.type})", bold=True)
    if verdict.problem:
        return [f"{name}: {verdict.problem}"]
    lines = []
    for check in verdict.checks:
        if check.worst is not None:
            worst = check.worst
            lines.append(
                f"{name}: {check.n_different:,} of {check.n_compared:,} values differ from {check.reference}, most in "
                f"row {worst.row:,}, column {worst.col:,}: {worst.ours!s} ({_bits(worst.ours)}) here, "
                f"{worst.theirs!s} ({_bits(worst.theirs)}) there"
            )
    return lines


def _said(checks: list[Check], n_values: int) -> str:
    """Return a decoder's name and how much of the file it saw; nothing where it knows none of the types."""
    compared, nan = sum(check.n_compared for check in checks), sum(check.n_nan for check in checks)
    if not compared:
        return ""
    seen = "all" if compared == n_values else f"{compared:,}"
    return f"{checks[0].reference} ({seen}{f', {nan:,} NaN in other bits' if nan else ''})"


def _sentence(verdicts: list[Verdict], wrong: list[Verdict], others: tuple[Reference, ...]) -> str:
    n_values = sum(verdict.n_values for verdict in verdicts)
    if not wrong:
        said = [_said([v.checks[i] for v in verdicts if v.checks], n_values) for i in range(len(others))]
        heard = ", ".join(text for text in said if text)
        n_tensors = figures.plural(len(verdicts), "tensor")
        return click.style(
            f"{n_tensors}, {n_values:,} values: the same bits from {heard or 'nobody'}", fg="green"
        )
    different = sum(1 for verdict in wrong if verdict.n_different)
    parts = [f"{different:,} differ"] if different else []
    if len(wrong) > different:
        parts.append(f"{len(wrong) - different:,} cannot be decoded")
    return click.style(f"of {len(verdicts):,} tensors {' and '.join(parts)}", fg="red")
