"""Find the sub-commands in this folder, and import each only when it is used."""

from __future__ import annotations

import ast
import difflib
import importlib
from functools import cache
from pathlib import Path

import click

FOLDER = Path(__file__).resolve().parent
PACKAGE = "refgguf.cli"
EXIT_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
# the order in which --help lists the commands; one that is not named here comes last
GROUPS = {
    "See a model at work": ("demo", "run", "step", "view"),
    "Look at a file": ("info", "tensors", "metadata", "block", "tokenize", "verify", "quantize"),
    "Take the numbers out": ("taps", "trace", "embed"),
    "Judge": ("compare", "probe"),
    "What refgguf knows": ("archs", "support"),
}


@cache
def summaries() -> dict[str, str]:
    """Return the name and one-line summary of every sub-command, without importing any."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(_defines_command(statement) for statement in tree.body):
            lines = (ast.get_docstring(tree) or "").splitlines()
            found[path.stem.replace("_", "-")] = lines[0].rstrip(".") if lines else ""
    return found


def _defines_command(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "command" for target in statement.targets)
    return isinstance(statement, ast.FunctionDef) and statement.name == "command"


class LazyGroup(click.Group):
    """A group whose commands are the modules of this folder that define `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands, sorted."""
        return list(summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a sub-command's module; None when there is no such command."""
        if not (FOLDER / f"{_module(cmd_name)}.py").is_file() or cmd_name not in summaries():
            return None
        command = importlib.import_module(f"{PACKAGE}.{_module(cmd_name)}").command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words call, or name the nearest ones."""
        name = args[0]
        if not name.startswith("-") and name not in summaries() and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, summaries(), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(summaries())}"
            raise click.UsageError(f"no such command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands from their sources alone, by what they are for."""
        known = summaries()
        groups = {title: [name for name in names if name in known] for title, names in GROUPS.items()}
        groups["More commands"] = [name for name in known if name not in sum(GROUPS.values(), ())]
        # all in one column, as wide as the longest name
        room = max(map(len, known), default=0)
        for title, names in groups.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(room), known[name]) for name in names])


def _module(command: str) -> str:
    return command.replace("-", "_")
