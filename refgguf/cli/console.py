"""Print for people and for programs: JSON, tables, progress. Rich is imported only where it draws."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.console import Console


COMPILING = (
    "compiling kernels for this processor; what is compiled once is kept, and later runs begin at once"
)
WIDE = 80  # columns of a terminal that has room for what is being done, beside how much


class Progress(Protocol):
    """What `progress` gives: call it after each piece of work."""

    def __call__(self, done: float, text: str = "") -> None:
        """Say how much is done so far, and optionally what is being done."""


def print_json(value: object) -> None:
    """Print a value as JSON: indented, UTF-8, NaN and infinities as strings since JSON has none."""
    # into an encoding that lacks letters, all but ASCII goes as \u escapes
    escape = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() != "utf-8"
    click.echo(json.dumps(_plain(value), ensure_ascii=escape, indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Turn NumPy scalars, arrays, bytes and tuples into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bool | int | str) or value is None:
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset) or hasattr(value, "__iter__"):
        return [_plain(item) for item in value]
    return str(value)


def stdout_console(**options: Any) -> Console:
    """Return a rich console on standard output that neither marks up nor highlights what it is given."""
    from rich.console import Console

    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, **options)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, shrink: int | None = None, headed: bool = False
) -> None:
    """Print rows in aligned columns; on a terminal, headed and cut to its width.

    Args:
        headers: one for each column; left out where no person looks, so that lines are only data.
        rows: the cells.
        shrink: the column that gives way first when the terminal is too narrow; None to let lines be too long.
        headed: print the headers even where no person looks.
    """
    person = is_terminal(sys.stdout)
    shown = [list(headers), *map(list, rows)] if person or headed else [list(row) for row in rows]
    widths = [max((len(row[i]) for row in shown), default=0) for i in range(len(headers))]
    if person and shrink is not None:
        widths = narrowed(widths, shrink, shutil.get_terminal_size().columns)
    for number, row in enumerate(shown):
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 and (person or headed) else line)


def narrowed(widths: Sequence[int], shrink: int, room: int) -> list[int]:
    """Return how wide columns may be so that a line fits.

    Args:
        widths: what each would like.
        shrink: the column that gives way first, down to 12 letters; then the widest of the others, down to 8, and
            last of all the first column.
        room: letters of a line.
    """
    widths = list(widths)
    too_much = sum(widths) + 2 * (len(widths) - 1) - room
    given = min(max(too_much, 0), max(widths[shrink] - 12, 0))
    widths[shrink] -= given
    too_much -= given
    while too_much > 0:
        wide = [i for i, width in enumerate(widths) if i and width > 8] or [0]
        widest = max(wide, key=lambda i: widths[i])
        if widths[widest] <= 8:
            break
        widths[widest] -= 1
        too_much -= 1
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def is_terminal(stream: IO[str] | None) -> bool:
    """Tell whether a person looks at this stream."""
    return stream is not None and not stream.closed and stream.isatty()


def colours() -> bool:
    """Tell whether colours are wanted at all (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def note(text: str) -> None:
    """Print a remark on the error stream, so that the output stays clean."""
    click.echo(text, err=True)


def announce_compiling() -> None:
    """Say to a person who waits that kernels are being compiled, once and only where that takes a while."""
    from refgguf.kernels.compiling import watch

    if is_terminal(sys.stderr):
        watch.announce(lambda: note(COMPILING))


@contextmanager
def progress(text: str, total: float, rate: Callable[[float], str] | None = None) -> Iterator[Progress]:
    """Show a bar on the error stream while long work runs; nothing when that is no terminal.

    Percent, the time that is left, the rate and what is being done now stand behind the bar, so that it keeps its
    place; a narrow terminal goes without the last.

    Args:
        text: what is being done.
        total: how much there is to do, in any unit.
        rate: how much of it a second is shown as: `33.0 M values/s`; no rate if None.

    Yields:
        A function to call with how much is done so far.
    """
    if not is_terminal(sys.stderr):
        yield lambda done, text="": None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]}", style="cyan"),
    ]
    if console.width >= WIDE:
        last = Column(no_wrap=True, overflow="ellipsis")
        columns.append(TextColumn("{task.fields[now]}", table_column=last))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=total, rate="", now="")
        begun = time.monotonic()

        def show(done: float, now: str = "") -> None:
            more = {"now": escape(now)} if now else {}
            if rate is not None and done:
                more["rate"] = rate(done / max(time.monotonic() - begun, 1e-9))
            bar.update(task, completed=done, **more)

        yield show
