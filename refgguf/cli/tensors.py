"""List a file's tensors: name, type, shape, size; with --stats also what values they hold."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from refgguf.cli import columns, console, figures, options
from refgguf.errors import InputError, QuantError, shown
from refgguf.gguf.metadata import nearest
from refgguf.gguf.reader import GGUFFile, open_file
from refgguf.gguf.roles import ROLES, layer_of, role_of
from refgguf.gguf.summary import total

if TYPE_CHECKING:
    from refgguf.gguf.statistics import TensorStatistics
    from refgguf.tensor import Tensor
    from refgguf.weights.code_statistics import CodeStatistics

    Figures = tuple[TensorStatistics, CodeStatistics | None] | str  # the text says why there are none

SORTS: dict[
    str, tuple[Callable[[Tensor], Any], bool]
] = {  # what to sort by, and whether the largest comes first
    "file": (lambda tensor: 0, False),
    "name": (lambda tensor: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", tensor.name)], False),
    "offset": (lambda tensor: (tensor.part, tensor.offset), False),
    "size": (lambda tensor: tensor.nbytes, True),
    "weights": (lambda tensor: tensor.n_values, True),
    "bits": (lambda tensor: tensor.bits_per_value or 0.0, True),
}
COLUMNS = ("name", "type", "shape", "weights", "bits", "size", "role", "offset", "part")
STATS = ("min", "max", "mean", "std", "rms", "zeros", "nan")
CODE_STATS = (
    "entropy",
    "saturated",
    "scale",
)  # of quantized tensors: bits a code carries, share at an end, median
LEFT = ("name", "type", "role")
# left out where the terminal is narrow, the first first
DROP = (
    "offset",
    "rms",
    "role",
    "weights",
    "bits",
    "size",
    "shape",
    "part",
    "nan",
    "std",
    "scale",
    "mean",
    "saturated",
    "zeros",
    "entropy",
    "type",
)
LONG_WORK = 1 << 24  # values from which decoding takes long enough to show a bar


@click.command(
    epilog=options.examples(
        "refgguf tensors model.gguf",
        "refgguf tensors model.gguf 'blk.0.*' --stats",
        "refgguf tensors model.gguf ffn_down --sort size",
        "refgguf tensors model.gguf --type Q6_K --layer 0-3 --role attention",
        "refgguf tensors model.gguf --json | jq '.[].name'",
    )
)
@options.model_argument
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only this type, such as Q4_K.")
@click.option("--layer", metavar="LAYERS", help="Only these layers: 3, 0-3 or 0,5,7-9.")
@click.option("--role", type=click.Choice(ROLES), multiple=True, help="Only tensors of this role.")
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="file",
    show_default=True,
    help="The order: as in the file, by name, or by figures with the largest first.",
)
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@click.option(
    "--stats",
    is_flag=True,
    help="Decode the tensors and show least, greatest, mean, deviation, RMS, zeros; of quantized ones also the "
    "entropy of their codes in bits, the share of codes at an end, and the median scale.",
)
@options.partial_option
@options.json_option
@options.threads_option
def command(
    model: str,
    patterns: tuple[str, ...],
    types: tuple[str, ...],
    layer: str | None,
    role: tuple[str, ...],
    sort: str,
    reverse: bool,
    stats: bool,
    partial: bool,
    as_json: bool,
) -> None:
    """List the tensors of the file MODEL.

    PATTERN is a part of a name, or a name with * and ? as wildcards; a tensor that fits one of several is shown.
    """
    with open_file(model, partial=partial) as file:
        chosen = select(file, patterns, types, parse_layers(layer), role)
        key, largest_first = SORTS[sort]
        chosen.sort(key=key, reverse=largest_first != reverse)
        if sort == "file" and reverse:
            chosen.reverse()
        found = measure(chosen) if stats else {}
        if as_json:
            console.print_json([described(tensor, found.get(tensor.name)) for tensor in chosen])
        elif not chosen:
            console.note(
                f"none of the {figures.plural(len(file), 'tensor')} fits" if len(file) else "no tensors"
            )
        else:
            _draw(file, chosen, found)
            for reason in dict.fromkeys(reason for reason in found.values() if isinstance(reason, str)):
                console.note(reason)


def select(
    file: GGUFFile,
    patterns: Iterable[str],
    types: Iterable[str],
    layers: set[int] | None,
    roles: Iterable[str],
) -> list[Tensor]:
    """Return the tensors that fit all conditions that are given.

    Raises:
        InputError: the file has no tensor of a type or name that was asked for.
    """
    wanted = {kind.upper() for kind in types}
    present = {tensor.type.upper() for tensor in file.tensors.values()}
    if missing := sorted(wanted - present):
        raise InputError(
            f"no tensor has the type {missing[0]}; the file has {', '.join(sorted(present)) or 'none'}"
        )
    globs = [p if set(p) & set("*?[") else f"*{p}*" for p in patterns]
    if globs and not any(fnmatch.fnmatchcase(name, glob) for name in file for glob in globs):
        words = " ".join(patterns)
        hint = nearest(words, file.tensors) if file.tensors else ""
        raise InputError(f"none of the {figures.plural(len(file), 'tensor')} is called {shown(words)}{hint}")
    return [
        tensor
        for tensor in file.tensors.values()
        if (not globs or any(fnmatch.fnmatchcase(tensor.name, glob) for glob in globs))
        and (not wanted or tensor.type.upper() in wanted)
        and (layers is None or layer_of(tensor.name) in layers)
        and (not roles or role_of(tensor.name) in roles)
    ]


def parse_layers(text: str | None) -> set[int] | None:
    """Return the layers that `3`, `0-3` or `0,5,7-9` means.

    Raises:
        InputError: it means none.
    """
    if text is None:
        return None
    layers: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", word)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise InputError(f"--layer: {shown(text)!r} names no layers; give 3, 0-3 or 0,5,7-9")
        layers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return layers


def measure(tensors: list[Tensor]) -> dict[str, Figures]:
    """Compute every tensor's figures; where a tensor cannot be decoded, its value is the reason."""
    from refgguf.gguf.statistics import tensor_statistics
    from refgguf.weights.code_statistics import code_statistics

    found: dict[str, Figures] = {}
    done, n_values = 0, sum(tensor.n_values for tensor in tensors)
    bar = console.progress("decoding", n_values) if n_values > LONG_WORK else nullcontext(lambda *_: None)
    with bar as show:
        for tensor in tensors:

            def step(n: int, before: int = done, name: str = shown(tensor.name)) -> None:
                show(before + n, name)

            try:
                found[tensor.name] = tensor_statistics(tensor, step), code_statistics(tensor)
            except QuantError as error:
                found[tensor.name] = str(error)
            done += tensor.n_values
    return found


def described(tensor: Tensor, stats: Figures | None) -> dict[str, Any]:
    """Return what is known of a tensor, for JSON."""
    found = {
        "name": tensor.name,
        "type": tensor.type,
        "shape": tensor.shape,
        "n_weights": tensor.n_values,
        "bits_per_weight": tensor.bits_per_value,
        "bytes": tensor.nbytes,
        "offset": tensor.offset,
        "part": tensor.part,
        "layer": layer_of(tensor.name),
        "role": role_of(tensor.name),
    }
    if isinstance(stats, str):
        found["stats"] = {"error": stats}
    elif stats is not None:
        values, codes = stats
        found["stats"] = asdict(values) | ({} if codes is None else {"codes": asdict(codes)})
    return found


def _draw(file: GGUFFile, tensors: list[Tensor], stats: dict[str, Figures]) -> None:
    names = [name for name in COLUMNS if name != "part" or len(file.parts) > 1]
    coded = any(not isinstance(found, str) and found[1] is not None for found in stats.values())
    measured = (*STATS, *(CODE_STATS if coded else ())) if stats else ()
    headers = [*names, *measured]
    rows = [_row(tensor, names, stats.get(tensor.name), measured) for tensor in tensors]
    together = total("together", tensors)
    foot = {
        "name": figures.plural(len(tensors), "tensor"),
        "weights": figures.count(together.n_values),
        "bits": figures.bits(together.bits_per_weight),
        "size": figures.size(together.nbytes),
    }
    columns.draw(headers, rows, footer=[foot.get(name, "") for name in headers], left=LEFT, drop=DROP)


def _row(tensor: Tensor, names: list[str], stats: Figures | None, measured: tuple[str, ...]) -> list[str]:
    cells = {
        "name": shown(tensor.name),
        "type": tensor.type,
        "shape": figures.shape(tensor.shape),
        "weights": figures.count(tensor.n_values),
        "bits": figures.bits(tensor.bits_per_value),
        "size": figures.size(tensor.nbytes),
        "role": role_of(tensor.name),
        "offset": f"{tensor.offset:,}",
        "part": str(tensor.part + 1),
    }
    row = [cells[name] for name in names]
    if stats is None:
        return row
    if isinstance(stats, str):
        return [*row, *["?"] * len(measured)]
    shown_figures = _figures(*stats)
    return [*row, *(shown_figures[name] for name in measured)]


def _figures(values: TensorStatistics, codes: CodeStatistics | None) -> dict[str, str]:
    found = {name: getattr(values, name) for name in ("min", "max", "mean", "std", "rms")}
    cells = {name: "-" if x is None else f"{x:.3g}" for name, x in found.items()}
    odd = values.n_nan + values.n_infinite
    cells["zeros"] = f"{100 * values.n_zeros / values.n_values:.3g} %" if values.n_zeros else "-"
    cells["nan"] = f"{odd:,}" if odd else "-"
    if codes is None:
        return cells | dict.fromkeys(CODE_STATS, "-")
    return cells | {
        "entropy": f"{codes.entropy:.2f}",
        "saturated": f"{100 * codes.saturated:.3g} %",
        "scale": f"{codes.scales[2]:.3g}",
    }
