"""Tables that leave out their less important columns where the terminal is too narrow for all."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from refgguf.cli import console

GAP = 2  # blanks between two columns


def draw(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    footer: Sequence[str],
    left: Sequence[str],
    drop: Sequence[str],
) -> None:
    """Draw a table that fits the terminal; where no person looks, aligned lines with every column.

    Args:
        headers: the columns' names; the first column's cells are folded if nothing else helps.
        rows: the cells.
        footer: the cells of the last line, which only people see.
        left: columns whose cells stand left; numbers stand right.
        drop: columns that may be left out, the least important first.
    """
    if not console.is_terminal(sys.stdout):
        console.print_table([header.upper() for header in headers], rows, headed=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    out = console.stdout_console()
    kept = fitting(headers, [*rows, footer], drop, out.width - GAP)
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_footer=True, header_style="bold"
    )
    for number in kept:
        table.add_column(
            headers[number],
            footer[number],
            justify="left" if headers[number] in left else "right",
            no_wrap=number > 0,
            overflow="fold" if number == 0 else "ellipsis",
            style="cyan" if headers[number] == "type" else "",
            footer_style="bold",
        )
    for row in rows:
        table.add_row(*(row[number] for number in kept))
    out.print(table)


def fitting(
    headers: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str], width: int
) -> list[int]:
    """Return the numbers of the columns that fit into `width`, leaving out those of `drop` one by one."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    kept = list(range(len(headers)))
    for name in drop:
        if sum(widths[i] + GAP for i in kept) <= width:
            break
        kept = [i for i in kept if headers[i] != name]
    return kept
