"""The project's source files by their import names, and what each imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"refgguf": ROOT / "refgguf", "refgguf.kernels": ROOT / "kernels", "refgguf.viz": ROOT / "viz"}


@dataclass(frozen=True)
class Source:
    """One module: its import name, its file, and whether it is a package's __init__."""

    name: str
    path: Path

    @property
    def label(self) -> str:
        """The path a person would open."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return _parse(self.path)

    def imports(self) -> Iterator[tuple[str, int]]:
        """Yield the full name of everything imported, at any depth, with its line.

        `from a.b import c` yields `a.b.c` when that is a module of the project, else `a.b`.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.label}:{node.lineno}: relative import; write the full name"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield (full if full in names() else node.module), node.lineno


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def sources() -> tuple[Source, ...]:
    """Return every module of the package, by import name."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found.append(Source(".".join((package, *parts)), path))
    return tuple(found)


@cache
def names() -> frozenset[str]:
    """Return the import names of all modules and packages."""
    return frozenset(source.name for source in sources()) | frozenset(PACKAGES)


def python_folders() -> set[str]:
    """Return the import name of every folder that holds Python or data files of the package."""
    found = set()
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*"):
            relative = path.relative_to(folder).parts
            if path.is_file() and "__pycache__" not in relative and path.suffix != ".pyc":
                found.add(".".join((package, *relative[:-1])))
    return found
