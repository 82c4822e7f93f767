"""refgguf, the microscope for local models.

    f = refgguf.open("model.gguf")     # a GGUFFile: metadata and tensors; reads no weights
    m = refgguf.load("model.gguf")     # a Model: tokenize, logits, trace, generate, hooks

Importing this package loads neither numba nor vispy nor click; each comes when it is first needed.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from refgguf import errors
from refgguf.errors import RefggufError

if TYPE_CHECKING:
    from refgguf.gguf.reader import GGUFFile
    from refgguf.model import Model
    from refgguf.trace import Trace

__version__ = "0.1.0"
__all__ = [
    "GGUFFile",
    "Model",
    "RefggufError",
    "Trace",
    "__version__",
    "errors",
    "load",
    "load_trace",
    "open",
]

# classes that need numba or much else, imported when they are asked for
_HOMES = {"GGUFFile": "refgguf.gguf.reader", "Model": "refgguf.model", "Trace": "refgguf.trace"}

# In a checkout, kernels/ and viz/ stand beside this folder; installed, they lie inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "kernels" / "jit.py").is_file() and (_checkout / "viz").is_dir():
    __path__.append(str(_checkout))


def open(path: str | os.PathLike[str]) -> GGUFFile:
    """Open a GGUF file, or all parts of a split one, without reading any weights.

    Args:
        path: the file; for a split file, any of its parts; "demo" is the embedded model, "demo:q4_k_m" that
            model quantized.

    Returns:
        A GGUFFile with `.metadata`, `.tensors` and `file["tensor.name"]`.

    Raises:
        GGUFError: the file is not a sound GGUF file; the subclass and message say why and where.
        FileNotFoundError: there is no such file.
    """
    from refgguf.demo.files import located
    from refgguf.gguf.reader import open_file

    return open_file(located(path))


def load(
    path: str | os.PathLike[str], *, numerics: str = "exact", context_length: int | None = None
) -> Model:
    """Open a GGUF file as a model that can be run.

    Args:
        path: the file; for a split file, any of its parts; "demo" is the embedded model, "demo:q4_k_m" that
            model quantized.
        numerics: `"exact"` (float32 arithmetic on decoded weights) or `"llama.cpp"` (what its CPU backend
            computes); the default of every later call on this model.
        context_length: most tokens that a text may have; what the model was made for if None. Files with
            position factors for short and for long contexts are run with the short ones, up to the context
            before its extension, unless more is asked for here.

    Returns:
        A Model. No weights are read until they are needed.

    Raises:
        GGUFError: the file is not a sound GGUF file.
        ModelError: the file is sound but cannot be run; the subclass and message say why.
    """
    from refgguf.demo.files import located
    from refgguf.model import load_model

    return load_model(located(path), numerics=numerics, context_length=context_length)


def load_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a trace saved by `Trace.save` (.safetensors or .npz).

    Raises:
        TraceError: the file is not a trace.
    """
    from refgguf.trace import Trace

    return Trace.load(path)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'refgguf' has no attribute {name!r}")
