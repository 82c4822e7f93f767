"""Show a file's metadata: all keys with their types, or one value as it is."""

from __future__ import annotations

import fnmatch
import json
import sys
from typing import Any

import click
import numpy as np

from refgguf.cli import console, figures, options
from refgguf.errors import InputError, shown
from refgguf.gguf.metadata import Metadata, MetadataArray
from refgguf.gguf.reader import open_file

LEAST_VALUE = 24  # letters that a value should have beside its key; else it goes below
SHORT = 8  # elements of an array that JSON shows without --full
WILDCARDS = set("*?")


@click.command(
    epilog=options.examples(
        "refgguf metadata model.gguf",
        "refgguf metadata model.gguf 'tokenizer.*'",
        "refgguf metadata model.gguf tokenizer.chat_template > template.jinja",
        "refgguf metadata model.gguf tokenizer.ggml.tokens | grep -n refrigerator",
        "refgguf metadata model.gguf --json --full",
    )
)
@options.model_argument
@click.argument("key", required=False)
@click.option("--full", is_flag=True, help="Show long arrays and strings whole.")
@options.partial_option
@options.json_option
def command(model: str, key: str | None, full: bool, partial: bool, as_json: bool) -> None:
    """Show the metadata of the file MODEL.

    With KEY, print that value alone and as it is, the elements of an array one a line; KEY with * or ? lists the
    keys that fit.
    """
    with open_file(model, partial=partial) as file:
        metadata = file.metadata
        if key is not None and not WILDCARDS & set(key):
            if as_json:
                console.print_json(metadata[key])
            else:
                _print_raw(metadata, key)
            return
        keys = [name for name in metadata if key is None or fnmatch.fnmatchcase(name, key)]
        if key is not None and not keys:
            raise InputError(f"none of the {figures.plural(len(metadata), 'key')} is called {shown(key)}")
        if as_json:
            console.print_json({name: described(metadata, name, full=full) for name in keys})
        elif not keys:
            console.note("no metadata")
        else:
            _draw(metadata, keys, full=full)


def described(metadata: Metadata, key: str, *, full: bool) -> dict[str, Any]:
    """Return a key's type and value, for JSON; of a long array the first elements unless `full`."""
    value = metadata[key]
    if not isinstance(value, MetadataArray):
        return {"type": metadata.type_of(key), "value": value}
    shortened = not full and len(value) > SHORT
    return {
        "type": f"{value.element_type}[]",
        "count": len(value),
        "value": value[:SHORT] if shortened else value.tolist(),
        **({"shortened": True} if shortened else {}),
    }


def _print_raw(metadata: Metadata, key: str) -> None:
    """Print one value for other programs: a string's own bytes; on a terminal, without control characters."""
    value = metadata[key]
    person = console.is_terminal(sys.stdout)
    if isinstance(value, MetadataArray):
        # an element must stay on its line, so what cannot be printed is escaped
        lines = [shown(x, 1 << 30) if isinstance(x, str) else figures.element(x) for x in value.tolist()]
        click.echo("\n".join(lines)) if lines else None
    elif not isinstance(value, str):
        # a float32 is shown by the fewest digits that give it back, not by those of the float64 it became
        exact = str(np.float32(value)) if metadata.type_of(key) == "float32" else repr(value)
        click.echo(figures.element(value) if isinstance(value, bool) else exact)
    elif person:
        click.echo("".join(c if c in "\n\t" or c.isprintable() else shown(c) for c in value))
    else:
        sys.stdout.flush()
        click.get_binary_stream("stdout").write(metadata.raw(key))


def _draw(metadata: Metadata, keys: list[str], *, full: bool) -> None:
    person = console.is_terminal(sys.stdout)
    width = console.stdout_console().width if person else 160
    key_width = max(len(shown(key)) for key in keys)
    type_width = max(len(_type(metadata, key)) for key in keys)
    room = max(24, width - key_width - type_width - 5)
    rows = []
    for key in keys:
        value = metadata[key]
        if full and isinstance(value, MetadataArray):
            text = f"[{', '.join(figures.element(item) for item in value.tolist())}]"
        elif isinstance(value, str):
            text = shown(value, 1 << 30) if full else _short(value, room)
        else:
            text = figures.value(value, room)
        rows.append([shown(key), _type(metadata, key), text])
    if full or not person:
        console.print_table(("KEY", "TYPE", "VALUE"), rows, headed=person)
        return
    if width < key_width + LEAST_VALUE:
        for name, _, text in rows:
            click.secho(name, bold=True)
            click.echo(f"  {text if len(text) <= width - 2 else text[: width - 3] + '…'}")
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    typed = width >= key_width + type_width + LEAST_VALUE
    if typed:
        table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    for name, kind, text in rows:
        table.add_row(name, kind, text) if typed else table.add_row(name, text)
    console.stdout_console().print(table)


def _type(metadata: Metadata, key: str) -> str:
    value = metadata[key]
    return f"{value.element_type}[]" if isinstance(value, MetadataArray) else metadata.type_of(key)


def _short(text: str, room: int) -> str:
    """Return a string on one line; of a long one the beginning and the length."""
    line = shown(text, 1 << 30) if text.isprintable() else json.dumps(text, ensure_ascii=False)[1:-1]
    line = shown(line, 1 << 30)
    if len(line) <= room:
        return line
    ending = f"… ({len(text):,} characters)"
    return line[: max(8, room - len(ending))] + ending
