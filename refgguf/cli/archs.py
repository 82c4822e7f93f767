"""List the architectures: which of them run, what they are made of, how closely they match llama.cpp."""

from __future__ import annotations

import fnmatch
from dataclasses import asdict

import click

from refgguf.arch import catalogue_entries
from refgguf.arch.catalogue import Entry
from refgguf.cli import console, options
from refgguf.errors import InputError

HEADERS = ("ARCHITECTURE", "RUNS", "BUILDING BLOCKS, OR WHAT IS MISSING", "ERROR", "LIKE LLAMA.CPP")


@click.command(
    epilog=options.examples(
        "refgguf archs",
        "refgguf archs 'qwen*'",
        "refgguf archs --running --json",
        "refgguf archs --markdown",
    )
)
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--running", is_flag=True, help="Show only those that run.")
@click.option("--missing", is_flag=True, help="Show only those that do not.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@options.json_option
def command(patterns: tuple[str, ...], running: bool, missing: bool, markdown: bool, as_json: bool) -> None:
    """List every architecture that llama.cpp knows, whether refgguf runs it or not.

    PATTERN is a name with * and ? as wildcards.

    ERROR is the normalised mean squared error of all logits against llama.cpp's on a small random model; float32
    rounding gives some 1e-13 to 1e-12. Models with GELU differ by about 1e-7, because llama.cpp looks it up in a
    half-precision table. LIKE LLAMA.CPP is the error with --numerics llama.cpp, which goes through the same
    operations in the same order: most models then have llama.cpp's very bits.
    """
    if running and missing:
        raise InputError("--running and --missing exclude each other")
    chosen = [entry for entry in catalogue_entries() if not (missing if entry.runs else running)]
    if patterns:
        known = chosen
        chosen = [entry for entry in known if any(fnmatch.fnmatchcase(entry.name, p) for p in patterns)]
        if not chosen:
            raise InputError(
                f"no architecture is called {' or '.join(patterns)}; `refgguf archs` lists them all"
            )
    if as_json:
        console.print_json([{"runs": entry.runs, **asdict(entry)} for entry in chosen])
    elif markdown:
        print_markdown(chosen)
    else:
        console.print_table(HEADERS, [row(entry) for entry in chosen], shrink=2)
        console.note(f"{sum(entry.runs for entry in chosen)} of {len(chosen)} architectures run")


def row(entry: Entry) -> tuple[str, ...]:
    """Return an architecture's line of the table; of several models the worst figures."""
    exact = [a.exact for a in entry.agreement]
    like = [a.llama_cpp for a in entry.agreement]
    return (
        entry.name,
        "yes" if entry.runs else "no",
        entry.blocks or entry.missing or "",
        f"{max(exact):.0e}" if exact else "-",
        ("same bits" if max(like) == 0 else f"{max(like):.0e}") if like else "-",
    )


def print_markdown(entries: list[Entry]) -> None:
    """Print the table for a document."""
    click.echo(
        "| architecture | runs | building blocks, or what is missing | error | like llama.cpp |\n|---|---|---|---|---|"
    )
    for entry in entries:
        click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in row(entry)) + " |")
