"""List what can be read: tensor types and tokenizers."""

from __future__ import annotations

import click

from refgguf.cli import console, options

Rows = list[tuple[str, ...]]

TYPE_HEADERS = ("TYPE", "BITS/WEIGHT", "BLOCK", "DECODE", "MULTIPLY LIKE LLAMA.CPP", "QUANTIZE", "WHAT IT IS")
TOKENIZER_HEADERS = ("TOKENIZER", "WHAT IT IS")


@click.command(
    epilog=options.examples("refgguf support", "refgguf support types", "refgguf support --markdown")
)
@click.argument("what", type=click.Choice(["types", "tokenizers"]), required=False)
@click.option("--markdown", is_flag=True, help="Print tables for a document.")
@options.json_option
def command(what: str | None, markdown: bool, as_json: bool) -> None:
    """List the tensor types and tokenizers that this version of refgguf knows; `refgguf archs` lists what it runs.

    The lists come from the code itself: a type or tokenizer is one file, found when it is there.
    """
    tables = {name: table for name, table in all_tables().items() if what in (None, name)}
    if as_json:
        console.print_json({name: as_dicts(headers, rows) for name, (headers, rows) in tables.items()})
    elif markdown:
        click.echo("\n\n".join(as_markdown(headers, rows) for headers, rows in tables.values()))
    else:
        for number, (headers, rows) in enumerate(tables.values()):
            click.echo() if number else None
            console.print_table(headers, rows, shrink=len(headers) - 1)


def all_tables() -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Return headers and rows of both tables."""
    return {
        "types": (TYPE_HEADERS, types()),
        "tokenizers": (TOKENIZER_HEADERS, tokenizers()),
    }


def types() -> Rows:
    """Return a line for every tensor type of the format, from many bits to few."""
    from refgguf.gguf.types import TENSOR_TYPES
    from refgguf.kernels.dots import dots
    from refgguf.kernels.quants import formats

    rows = []
    for kind in sorted(TENSOR_TYPES.values(), key=lambda kind: (-kind.bits_per_value, kind.name)):
        known, dot = formats().get(kind.name), dots().get(kind.name)
        rows.append((
            kind.name,
            f"{kind.bits_per_value:g}",
            str(kind.block_size),
            _yes(known is not None),
            _yes(dot is not None and dot.llama_cpp is not None),
            _yes(known is not None and known.quantize is not None),
            known.summary if known is not None else "",
        ))  # fmt: skip
    return rows


def tokenizers() -> Rows:
    """Return a line for every kind of tokenizer, as `tokenizer.ggml.model` names it."""
    from refgguf.tokenizer import kinds

    return [(kind, (family.__doc__ or "").splitlines()[0].rstrip(".")) for kind, family in kinds().items()]


def _yes(true: bool) -> str:
    return "yes" if true else "-"


def as_dicts(headers: tuple[str, ...], rows: Rows) -> list[dict[str, str]]:
    """Return a table for JSON."""
    keys = [header.lower().replace(" ", "_").replace("/", "_per_").replace(".", "_") for header in headers]
    return [dict(zip(keys, row, strict=True)) for row in rows]


def as_markdown(headers: tuple[str, ...], rows: Rows) -> str:
    """Return a table for a document."""
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
