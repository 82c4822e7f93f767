"""Rules that keep the code easy to change: size of modules, and no dispatch by name outside its home."""

from __future__ import annotations

import ast

import pytest

from tests.support.source_tree import ROOT, Source, sources

MOST_LINES = 400
every_module = pytest.mark.parametrize("source", sources(), ids=lambda source: source.label)


@every_module
def test_modules_are_short(source: Source):
    """No module has more than 400 lines: past that it is two modules."""
    assert len(source.path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@every_module
def test_modules_say_what_they_are_for(source: Source):
    """Every module begins with a docstring."""
    assert ast.get_docstring(source.tree), f"{source.label} has no docstring"


def test_there_is_no_drawer_for_everything():
    """No module is called utils, helpers, common or misc."""
    assert not [s.label for s in sources() if s.path.stem in {"utils", "util", "helpers", "common", "misc"}]


@every_module
def test_no_decision_by_architecture_outside_arch(source: Source):
    """Nothing outside refgguf/arch compares an architecture's name with a constant."""
    if source.name.startswith("refgguf.arch"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Compare) and _is_called(node.left, {"architecture", "arch"}):
            assert not _has_string(node.comparators), f"{source.label}:{node.lineno} decides by architecture"


@every_module
def test_no_decision_by_tensor_type_outside_kernels(source: Source):
    """Nothing outside kernels/ compares a tensor's type with the name of a quantized format."""
    if source.name.startswith("refgguf.kernels"):
        return
    from refgguf.kernels.quants import formats

    quantized = {name for name, format in formats().items() if format.block_size > 1}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Compare):
            constants = {
                item.value
                for part in [node.left, *node.comparators]
                for item in ast.walk(part)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            }
            assert not constants & quantized, f"{source.label}:{node.lineno} decides by tensor type"


@every_module
def test_nothing_that_is_drawn_is_random(source: Source):
    """The viewer names no source of random numbers, but for the next token that is drawn at a temperature."""
    if not source.name.startswith("refgguf.viz") or source.name == "refgguf.viz.session":
        return
    sources_of_chance = {"random", "default_rng", "RandomState", "urandom", "uuid4", "secrets", "shuffle"}
    for node in ast.walk(source.tree):
        named = {
            *([node.id] if isinstance(node, ast.Name) else []),
            *([node.attr] if isinstance(node, ast.Attribute) else []),
            *([a.name.split(".")[0] for a in node.names] if isinstance(node, ast.Import) else []),
            *([str(node.module)] if isinstance(node, ast.ImportFrom) else []),
        }
        assert not named & sources_of_chance, f"{source.label}:{node.lineno} names a source of chance"


def test_no_place_of_a_developers_machine_is_named():
    """Sources and documents name no absolute folder of the machine they were written on."""
    for path in [*ROOT.glob("*.md"), *(source.path for source in sources())]:
        text = path.read_text(encoding="utf-8")
        assert "/wo" + "rk/" not in text, f"{path.relative_to(ROOT)} names a folder of one machine"


def _is_called(node: ast.expr, names: set[str]) -> bool:
    return (isinstance(node, ast.Name) and node.id in names) or (
        isinstance(node, ast.Attribute) and node.attr in names
    )


def _has_string(nodes: list[ast.expr]) -> bool:
    return any(
        isinstance(item, ast.Constant) and isinstance(item.value, str)
        for node in nodes
        for item in ast.walk(node)
    )


def test_generated_examples_are_the_same_everywhere():
    """Tests with generated examples draw the same ones in every run, and none fails because the machine is slow."""
    from hypothesis import settings

    chosen = settings.get_profile("repeatable")
    assert (chosen.derandomize, chosen.database, chosen.deadline) == (True, None, None)
    assert settings.get_current_profile_name() in ("repeatable", "default")


def test_a_shells_width_does_not_decide():
    """What a developer's shell says of width and colours is taken away before any test."""
    import os

    assert not {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"} & set(os.environ)
