"""What `import refgguf` offers, what it costs, and what it must not drag in."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import refgguf
from tests.support.source_tree import sources
from tests.support.sparse_file import llama_7b

PUBLIC = ["GGUFFile", "Model", "RefggufError", "Trace", "__version__", "errors", "load", "load_trace", "open"]
HEAVY = (
    "numba",
    "llvmlite",
    "vispy",
    "click",
    "rich",
    "PySide6",
    "OpenGL",
    "PIL",
    "gguf",
    "safetensors",
    "numpy",
)

MEASURE = """
import sys, time
start = time.process_time()
import refgguf
took = time.process_time() - start
import json
print(json.dumps({"seconds": took, "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def fresh_import() -> dict:
    """Import refgguf in a fresh interpreter and report how long it took and what is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=240
    )
    return json.loads(done.stdout)


def test_the_public_names_are_these():
    """`__all__` is the contract with other people's scripts: it changes only on purpose."""
    assert sorted(refgguf.__all__) == PUBLIC


def test_every_public_name_can_be_had():
    """Each name of `__all__` resolves, also those that are imported lazily."""
    for name in refgguf.__all__:
        assert getattr(refgguf, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    """The lazy lookup does not swallow misspelled names."""
    assert not hasattr(refgguf, "lod")


def test_importing_is_light():
    """`import refgguf` loads none of the heavy packages."""
    loaded = set(fresh_import()["modules"])
    assert loaded.isdisjoint(HEAVY), f"import refgguf loads {sorted(loaded & set(HEAVY))}"


def test_the_structure_of_a_file_is_shown_without_numba(tmp_path):
    """Where nothing is run or decoded, nobody waits for numba: neither the layout nor the inspector's words load it."""
    path = llama_7b(tmp_path / "7b.gguf", n_layers=2)
    show = f"""
import sys
import refgguf.viz.pages, refgguf.viz.work, refgguf.viz.app.view, refgguf.cli.view
from refgguf.viz.scene.build import build_scene
from refgguf.viz.facts import shown_of_file
scene = build_scene(shown_of_file(refgguf.open({str(path)!r}), colour="bits"))
assert scene.pieces.boxes
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=240)
    assert done.stdout == "False\n", done.stderr


def test_importing_is_quick():
    """`import refgguf` takes less than 0.2 s of a processor: the best of several, as a busy machine adds to it."""
    best = 1e9
    for _ in range(10):
        best = min(best, fresh_import()["seconds"])
        if best < 0.2:
            break
    assert best < 0.2


def test_version_and_pyproject_agree():
    """The version is written in two places; they are the same."""
    import tomllib

    from tests.support.source_tree import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert refgguf.__version__ == project["version"]


def test_every_error_is_in_the_tree_of_the_docstring():
    """The tree at the top of errors.py shows every error class, below its real base."""
    drawn = refgguf.errors.__doc__
    classes = [value for value in vars(refgguf.errors).values() if isinstance(value, type)]
    assert len(classes) > 20
    for error in classes:
        assert issubclass(error, refgguf.RefggufError)
        assert error.__name__ in drawn, f"{error.__name__} is missing from the tree in errors.py"


def test_errors_raised_on_purpose_are_our_own():
    """No module raises a bare builtin error for bad input: users catch RefggufError and get everything.

    Allowed are those with a meaning of their own to Python: AttributeError in `__getattr__`, IndexError and
    KeyError in sequences and mappings, TypeError for a wrong call, StopIteration, NotImplementedError in an
    abstract method; and RuntimeError for a mistake in refgguf's own source, such as a type defined twice.
    """
    builtin = {"ValueError", "Exception", "AssertionError", "OSError", "IOError", "SystemError"}
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Raise) and node.exc is not None:
                call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                name = call.id if isinstance(call, ast.Name) else ""
                assert name not in builtin, f"{source.label}:{node.lineno} raises {name}; use refgguf.errors"
