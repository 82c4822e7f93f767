"""Take one weight apart: the bytes of its block, each field, and the arithmetic that yields the value."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from refgguf.cli import console, figures, options
from refgguf.errors import shown

if TYPE_CHECKING:
    from refgguf.kernels.quants.plain import Seen
    from refgguf.weights.anatomy import BlockAnatomy, FieldBytes

BYTES_A_LINE = 16
VALUES_A_LINE = 8
NUMBERS_SHOWN = 8


@click.command(
    epilog=options.examples(
        "refgguf block model.gguf blk.0.attn_q.weight",
        "refgguf block model.gguf blk.0.attn_q.weight 17 300",
        "refgguf block model.gguf token_embd.weight -1 -1 --values",
        "refgguf block model.gguf blk.0.attn_q.weight 17 300 --json",
    ),
    context_settings={"ignore_unknown_options": True},
)
@options.model_argument
@click.argument("tensor")
@click.argument("row", type=int, default=0)
@click.argument("col", type=int, default=0)
@click.option("--values", is_flag=True, help="Also print all weights of the block.")
@options.partial_option
@options.json_option
def command(model: str, tensor: str, row: int, col: int, values: bool, partial: bool, as_json: bool) -> None:
    """Show the block around one weight of a TENSOR of the file MODEL, by default the first.

    ROW and COL count from 0, negative ones from the end; rows are counted over all axes but the last.
    """
    from refgguf.gguf.reader import open_file
    from refgguf.weights.anatomy import block_anatomy

    with open_file(model, partial=partial) as file:
        found = block_anatomy(file[tensor], row, col)
        shape = file[tensor].shape
    if as_json:
        console.print_json(described(found, shape))
        return
    for part in (
        _head(found, shape),
        _hex(found),
        _fields(found),
        _weight(found),
        _values(found) if values else "",
    ):
        if part:
            click.echo(part)


def described(found: BlockAnatomy, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return everything about the weight and its block, for JSON."""
    return {
        "tensor": found.tensor,
        "type": found.format.name,
        "shape": shape,
        "row": found.row,
        "col": found.col,
        "block": {
            "number": found.block,
            "first_col": found.first_col,
            "n_weights": found.format.block_size,
            "offset": found.offset,
            "bytes": found.raw.hex(),
            "values": found.values,
        },
        "fields": [
            {
                "name": item.field.name,
                "kind": item.field.kind,
                "offset": item.at,
                "bytes": item.raw.hex(),
                "numbers": item.numbers,
                "meaning": item.field.meaning,
            }
            for item in found.fields
        ],
        "weight": {
            "index": found.index,
            "parts": [
                {
                    "name": part.name,
                    "byte": part.at,
                    "low_bit": part.low if part.at is not None else None,
                    "n_bits": part.count if part.at is not None else None,
                    "value": part.value,
                    "how": part.how or None,
                    "is_code": part.is_code,
                }
                for part in found.weight.parts
            ],
            "formula": found.weight.formula,
            "arithmetic": found.arithmetic,
            "value": found.weight.value,
            "bits": f"{found.weight.value.view('u4'):#010x}",
        },
    }


def _head(found: BlockAnatomy, shape: tuple[int, ...]) -> str:
    quant = found.format
    size = " × ".join(f"{axis:,}" for axis in shape)
    last = found.first_col + quant.block_size - 1
    columns = f"columns {found.first_col:,} … {last:,}" if quant.block_size > 1 else f"column {found.col:,}"
    return (
        click.style(shown(found.tensor), bold=True) + f"  {quant.name}, {size}\n"
        f"{quant.name}: {quant.summary}; {figures.plural(quant.block_size, 'weight')} "
        f"in {quant.type_size} bytes, {quant.bits_per_weight:.4g} bits each\n"
        f"row {found.row:,}, {columns}: block {found.block:,} of the row, at byte {found.offset:,} of the file\n"
    )


def _read(found: BlockAnatomy) -> dict[int, bool]:
    """Return the bytes that this weight is read from, and of each whether it holds code rather than scale."""
    read: dict[int, bool] = {}
    for part in found.weight.parts:
        if part.at is not None:
            for byte in range(part.at + part.low // 8, part.at + (part.low + part.count + 7) // 8):
                read[byte] = read.get(byte, False) or part.is_code
    return read


def _hex(found: BlockAnatomy) -> str:
    """Return the block's bytes; those that this weight is read from stand out."""
    read = _read(found)
    marked = console.is_terminal(sys.stdout) and console.colours()
    lines = []
    for first in range(0, len(found.raw), BYTES_A_LINE):
        cells = []
        for at in range(first, min(first + BYTES_A_LINE, len(found.raw))):
            text = f"{found.raw[at]:02x}"
            if marked:
                color = "yellow" if read.get(at) else "cyan"
                cells.append(f" {click.style(text, bold=True, fg=color) if at in read else text}")
            else:
                cells.append(f"[{text}]" if at in read else f" {text} ")
        lines.append(f"  {first:4} {''.join(cells).rstrip()}")
    key = (
        f"{click.style('yellow', fg='yellow', bold=True)}: this weight's code, "
        f"{click.style('cyan', fg='cyan', bold=True)}: its scales"
        if marked
        else "[in brackets]: read for this weight"
    )
    return f"{click.style('bytes', bold=True)}   {key}\n" + "\n".join(lines) + "\n"


def _fields(found: BlockAnatomy) -> str:
    names = max(len(item.field.name) for item in found.fields)
    lines = [click.style("fields", bold=True)]
    for item in found.fields:
        lines.append(
            f"  {item.field.name:{names}}  {_span(item.at, len(item.raw)):14}  {_contents(item)}  "
            f"{click.style(item.field.meaning, dim=True)}"
        )
    return "\n".join(lines) + "\n"


def _span(at: int, n_bytes: int) -> str:
    return f"byte {at}" if n_bytes == 1 else f"bytes {at}-{at + n_bytes - 1}"


def _contents(item: FieldBytes) -> str:
    kind = item.field.kind if item.field.count == 1 else f"{item.field.count} × {item.field.kind}"
    numbers = [f"{number:.6g}" if isinstance(number, float) else str(number) for number in item.numbers]
    rest = " …" if len(numbers) > NUMBERS_SHOWN else ""
    return f"{kind:9} {' '.join(numbers[:NUMBERS_SHOWN])}{rest}"


def _weight(found: BlockAnatomy) -> str:
    parts = found.weight.parts
    names = max(len(part.name) for part in parts)
    places = [_place(part) for part in parts]
    width = max(len(place) for place in places)
    lines = [
        click.style(f"weight {found.index} of the block (row {found.row:,}, column {found.col:,})", bold=True)
    ]
    for part, place in zip(parts, places, strict=True):
        how = f"  {click.style(part.how, dim=True)}" if part.how and part.at is None else ""
        lines.append(f"  {part.name:{names}}  {place:{width}}  {part.value!s}{how}")
    value = found.weight.value
    lines.append("")
    lines.append(f"  w = {found.weight.formula}")
    if found.arithmetic != str(value):
        lines.append(f"    = {found.arithmetic}")
    lines.append(f"    = {click.style(str(value), bold=True)}   bits {value.view('u4'):#010x}")
    return "\n".join(lines) + "\n"


def _place(part: Seen) -> str:
    """Return where a part was read: `byte 7, bits 4-7`."""
    if part.at is None:
        return ""
    first, low = part.at + part.low // 8, part.low % 8
    n_bytes = (low + part.count + 7) // 8
    if part.count == 8 * n_bytes:
        return _span(first, n_bytes)
    bits = f"bit {low}" if part.count == 1 else f"bits {low}-{low + part.count - 1}"
    return f"{_span(first, n_bytes)}, {bits}"


def _values(found: BlockAnatomy) -> str:
    lines = [click.style(f"all {found.format.block_size} weights of the block", bold=True)]
    cells = [f"{value:.6g}" for value in found.values]
    width = max(len(cell) for cell in cells) + 2
    for first in range(0, len(cells), VALUES_A_LINE):
        line = ""
        for i in range(first, min(first + VALUES_A_LINE, len(cells))):
            text = f"{cells[i]:>{width}}"
            line += click.style(text, bold=True, fg="yellow") if i == found.index else text
        lines.append(f"  {found.first_col + first:6}  {line}")
    return "\n".join(lines)
