"""List every intermediate tensor that can be read or replaced, under all its names."""

from __future__ import annotations

import click

import refgguf
from refgguf.cli import console, options
from refgguf.taps import Tap, select

HEADERS = ("TAP", "AXES", "MEANING", "LLAMA.CPP", "TRANSFORMERLENS")


@click.command(
    epilog=options.examples(
        "refgguf taps model.gguf",
        "refgguf taps model.gguf 'blk.0.*'",
        "refgguf taps model.gguf 'kq_soft_max-*' --json",
        "refgguf taps model.gguf --short",
    )
)
@options.model_argument
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--short", is_flag=True, help="Show a tap that every layer has only once, as blk.*.NAME.")
@options.json_option
def command(model: str, patterns: tuple[str, ...], short: bool, as_json: bool) -> None:
    """List the taps of MODEL: every intermediate tensor of a forward pass, in order of execution.

    PATTERN is a name of refgguf, llama.cpp or TransformerLens, with * and ? as wildcards, or "summary".
    Nothing is run: the list comes from the file's architecture.
    """
    loaded = refgguf.load(model)
    taps = [loaded.taps[name] for name in select(loaded.taps, patterns or "all")]
    if as_json:
        console.print_json([described(tap) for tap in taps])
        return
    rows = once_for_all_layers(taps) if short else [row(tap) for tap in taps]
    console.print_table(HEADERS, rows, shrink=2)


def described(tap: Tap) -> dict[str, object]:
    """Return what is known of a tap, for JSON."""
    return {
        "name": tap.name,
        "axes": tap.axes,
        "kind": tap.kind,
        "layer": tap.layer,
        "meaning": tap.meaning,
        "formula": tap.formula,
        "inputs": tap.inputs,
        "weights": tap.weights,
        "llama_cpp": tap.llama_cpp,
        "transformer_lens": tap.transformer_lens,
    }


def row(tap: Tap) -> tuple[str, ...]:
    """Return a tap's line of the table."""
    return (tap.name, " × ".join(tap.axes), tap.meaning, tap.llama_cpp or "-", tap.transformer_lens or "-")


def once_for_all_layers(taps: list[Tap]) -> list[tuple[str, ...]]:
    """Return the lines of the table with the same tap of all layers in one line."""
    lines = {}
    for tap in taps:
        name, axes, meaning, llama_cpp, lens = row(tap)
        if tap.layer is not None:
            name = name.replace(f"blk.{tap.layer}.", "blk.*.", 1)
            lens = lens.replace(f"blocks.{tap.layer}.", "blocks.*.", 1)
            stem, _, number = llama_cpp.rpartition("-")
            if number.isdigit():  # what leaves one layer enters the next: blk.3.resid_pre is l_out-2
                llama_cpp = (
                    f"{stem}-*" if int(number) == tap.layer else f"{stem}-(*{int(number) - tap.layer})"
                )
        lines[name, axes] = (name, axes, meaning, llama_cpp, lens)
    return list(lines.values())
