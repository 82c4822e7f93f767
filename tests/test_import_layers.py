"""Who may import whom: layers of the project, and where each third-party package is allowed."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from tests.support.source_tree import ROOT, Source, sources

# From left to right; a module imports from its own layer and from those to its left.
LAYERS = (
    ("errors", "output"),
    ("kernels",),
    ("gguf", "tensor", "tokenizer", "chat", "weights"),
    ("taps", "trace", "recorder"),
    ("blocks",),
    ("arch",),
    ("forward", "sampling", "embedding", "token_ids", "demo"),
    ("model",),
    ("compare", "engines", "probe"),
    ("report",),
    ("viz",),
    ("cli", "__main__"),
)
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}

# Where a third-party package may be imported: prefixes of module names. Everything else is refused.
ALLOWED = {
    "numpy": ("refgguf",),
    "numba": ("refgguf.kernels",),
    "llvmlite": ("refgguf.kernels",),
    "vispy": ("refgguf.viz.render", "refgguf.viz.app"),
    "OpenGL": ("refgguf.viz.render",),
    "PySide6": ("refgguf.viz.app",),
    "jupyter_rfb": ("refgguf.viz.app",),
    "ipywidgets": ("refgguf.viz.notebook", "refgguf.viz.app"),
    "imageio_ffmpeg": ("refgguf.viz.render.animation",),
    "PIL": ("refgguf.viz", "refgguf.report"),
    "click": ("refgguf.cli",),
    "rich": ("refgguf.cli",),
    "gguf": ("refgguf.gguf.writer", "refgguf.weights.references", "refgguf.demo.training"),
    "torch": ("refgguf.demo.training",),
    "tokenizers": ("refgguf.demo.training",),
    "safetensors": ("refgguf.trace",),
    "llama_cpp": ("refgguf.engines.llama_cpp",),
    "jinja2": ("refgguf.chat",),
}
DISTRIBUTION = {
    "PIL": "pillow",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "llama_cpp": "llama-cpp-python",
    "PySide6": "pyside6-essentials",
}


def layer(module: str) -> int | None:
    """Return the number of a module's layer; None for the package's own __init__."""
    if module == "refgguf":
        return None
    part = module.split(".")[1]
    assert part in LAYER_OF, f"{module} has no layer: add '{part}' to LAYERS in {__file__}"
    return LAYER_OF[part]


def by_name(source: Source) -> str:
    """Name a parametrized case after its file."""
    return source.label


every_module = pytest.mark.parametrize("source", sources(), ids=by_name)


@every_module
def test_a_module_imports_only_from_its_own_layer_or_to_its_left(source: Source):
    """No import of the project points to the right in the order of layers, at any depth of the code."""
    own = layer(source.name)
    for imported, line in source.imports():
        if own is None or imported.split(".")[0] != "refgguf":
            continue
        other = layer(imported)
        # the package itself reaches up to Model; its version number is the exception that anyone may ask for
        other = LAYER_OF["model"] if other is None and not _only_version(source, line) else (other or 0)
        assert other <= own, (
            f"{source.label}:{line} imports {imported}: layer {LAYERS[own]} may not import {LAYERS[other]}"
        )


def _only_version(source: Source, line: int) -> bool:
    text = source.path.read_text(encoding="utf-8").splitlines()[line - 1].strip()
    return text in ("from refgguf import __version__", "from refgguf import errors")


@every_module
def test_third_party_packages_stay_where_they_belong(source: Source):
    """Each third-party package is imported only where it belongs, and no other package anywhere."""
    for imported, line in source.imports():
        top = imported.split(".")[0]
        if top == "refgguf" or top in sys.stdlib_module_names:
            continue
        where = ALLOWED.get(top, ())
        assert any(f"{source.name}.".startswith(f"{prefix}.") for prefix in where), (
            f"{source.label}:{line} imports {top}; allowed in: {', '.join(where) or 'no module'}"
        )


def test_what_is_imported_and_what_is_declared_agree():
    """Every third-party package that is imported is a dependency in pyproject.toml, and the reverse."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {requirement_name(text) for text in project["dependencies"]}
    extras = [
        texts for name, texts in project["optional-dependencies"].items() if not name.startswith("test")
    ]
    optional = {requirement_name(text) for texts in extras for text in texts}
    tops = {name.split(".")[0] for source in sources() for name, _ in source.imports()}
    third_party = tops - set(sys.stdlib_module_names) - {"refgguf"}
    imported = {DISTRIBUTION.get(top, top).lower() for top in third_party}
    # llvmlite is numba's own other half, and numba pins the version that fits
    assert imported - required - optional == set() | (imported & {"llvmlite"})
    assert required - imported == set()


def requirement_name(requirement: str) -> str:
    """Return the normalized distribution name of a requirement such as 'numpy>=2.0'."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match[0].lower()
