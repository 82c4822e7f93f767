"""Show what a file is: architecture, sizes by role and type, tokenizer, memory it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from refgguf.cli import console, figures, options
from refgguf.errors import shown
from refgguf.gguf.reader import open_file
from refgguf.gguf.summary import Share, Summary, summarize

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDE = 110  # columns from which two tables stand side by side
BAR = 12


@click.command(
    epilog=options.examples(
        "refgguf info model.gguf",
        "refgguf info model.gguf --context 32768",
        "refgguf info model-00001-of-00003.gguf --json",
        "refgguf info first-20-megabytes.gguf --partial",
    )
)
@options.model_argument
@click.option(
    "--context",
    "contexts",
    type=click.IntRange(1, 1 << 40),
    metavar="N",
    multiple=True,
    help="Tell the memory for N tokens; may be given several times. By default 4096 and the trained context.",
)
@options.partial_option
@options.json_option
def command(model: str, contexts: tuple[int, ...], partial: bool, as_json: bool) -> None:
    """Show what the file MODEL is, without reading its weights.

    Works for every GGUF file, also of an architecture that refgguf cannot run.
    """
    with open_file(model, partial=partial) as file:
        summary = summarize(file, contexts)
        if as_json:
            console.print_json(described(summary))
        else:
            _draw(summary)


def described(summary: Summary) -> dict[str, Any]:
    """Return all figures, for JSON."""
    file = summary.file
    return {
        "path": str(file.path),
        "parts": [
            {"path": str(path), "bytes": size} for path, size in zip(file.parts, file.sizes, strict=True)
        ],
        "bytes": file.size,
        "version": file.version,
        "byte_order": file.byte_order,
        "alignment": file.alignment,
        "architecture": file.architecture,
        "name": summary.name,
        "n_weights": summary.all.n_values,
        "n_active_weights": summary.active_values,
        "bits_per_weight": summary.all.bits_per_weight,
        "hyper_parameters": {
            key.removeprefix(f"{file.architecture}."): file.metadata[key]
            for key in file.metadata
            if key.startswith(f"{file.architecture}.")
        },
        "roles": [_share(share) for share in summary.by_role.values()],
        "types": [_share(share) for share in summary.by_type.values()],
        "tokenizer": summary.tokenizer,
        "memory": [
            {
                "context": need.context,
                "kv_cache_bytes": need.kv_bytes,
                "state_bytes": need.state_bytes,
                "is_upper_bound": not need.exact,
                "total_bytes": summary.all.nbytes + need.total,
            }
            for need in summary.memory
        ],
        "remarks": list(file.remarks),
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "name": share.label,
        "n_tensors": share.n_tensors,
        "n_weights": share.n_values,
        "bytes": share.nbytes,
        "bits_per_weight": share.bits_per_weight,
    }


def _draw(summary: Summary) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console.stdout_console()
    out.print(_title(summary))
    left = [_model_table(summary), _tokenizer_table(summary)]
    right = [
        _share_table("role", summary.by_role),
        _share_table("type", summary.by_type),
        _memory_table(summary),
    ]
    left, right = [part for part in left if part is not None], [part for part in right if part is not None]
    if out.width >= WIDE and left and right:
        grid = Table.grid(padding=(0, 4))
        grid.add_row(_stack(left), _stack(right))
        out.print(grid)
    else:
        for part in [*left, *right]:
            out.print(part)
    for remark in summary.file.remarks:
        out.print(Text.assemble(("note ", "yellow"), shown(remark, 300)))


def _number(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else figures.value(value, 40)


def _stack(parts: list[Table]) -> Table:
    from rich.table import Table

    column = Table.grid()
    for part in parts:
        column.add_row(part)
    return column


def _title(summary: Summary) -> RenderableType:
    from rich.text import Text

    file = summary.file
    facts = []
    if summary.all.n_values:
        facts.append(f"{figures.count(summary.all.n_values)} weights")
        if summary.active_values:
            facts.append(f"{figures.count(summary.active_values)} active")
        facts.append(f"{figures.bits(summary.all.bits_per_weight)} bits per weight")
    else:
        facts.append("no tensors")
    facts.append(figures.size(file.size))
    form = [f"GGUF {file.version}", f"{file.byte_order}-endian", f"alignment {file.alignment:,}"]
    if len(file.parts) > 1:
        form.append(f"{len(file.parts)} parts")
    return Text.assemble(
        (shown(summary.name or file.path.stem), "bold"),
        f" · {shown(file.architecture or 'no architecture')}\n",
        (" · ".join(facts), "cyan"),
        "\n",
        (f"{shown(file.path, 4096)}\n{' · '.join(form)}", "dim"),
        "\n",
        overflow="fold",
    )


def _model_table(summary: Summary) -> Table | None:
    if not summary.hyper:
        return None
    table = _table("model", "")
    for word, value in summary.hyper.items():
        table.add_row(shown(word, 40), _number(value))
    return table


def _tokenizer_table(summary: Summary) -> Table | None:
    found = summary.tokenizer
    if not found:
        return None
    table = _table("tokenizer", "")
    table.add_row("kind", f"{shown(found['model'], 30)}, {found['kind']}")
    for key in ("pre", "tokens", "merges"):
        if key in found:
            table.add_row(key, _number(found[key]))
    for key in ("bos", "eos"):
        if key in found:
            text = found[key]["text"]
            table.add_row(key, f"{found[key]['id']}" + (f"  {shown(text, 30)}" if text is not None else ""))
    table.add_row("chat template", "yes" if found["chat_template"] else "no")
    return table


def _share_table(title: str, found: dict[str, Share]) -> Table | None:
    if not found:
        return None
    table = _table(title, "tensors", "weights", "bits", "size", "", right=(1, 2, 3, 4))
    largest = max(share.nbytes for share in found.values())
    for share in found.values():
        table.add_row(
            share.label,
            f"{share.n_tensors:,}",
            figures.count(share.n_values),
            figures.bits(share.bits_per_weight),
            figures.size(share.nbytes),
            "█" * round(BAR * share.nbytes / largest) if largest else "",
        )
    table.columns[-1].style = "blue"
    return table


def _memory_table(summary: Summary) -> Table | None:
    if not summary.memory:
        return None
    weights = summary.all.nbytes
    table = _table("memory for", "weights", "cache (f16)", "state", "together", right=(1, 2, 3, 4))
    for need in summary.memory:
        bound = "" if need.exact else "≤ "
        table.add_row(
            f"{need.context:,} tokens",
            figures.size(weights),
            bound + figures.size(need.kv_bytes),
            figures.size(need.state_bytes) if need.state_bytes else "-",
            bound + figures.size(weights + need.total),
        )
    return table


def _table(*headers: str, right: tuple[int, ...] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number in right else "left", no_wrap=number in right)
    return table
