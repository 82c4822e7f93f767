"""llama.cpp's tensors from a process of its own, which it ends where a file asks for what it cannot do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refgguf.engines import llama_cpp
from refgguf.errors import EngineError, RefggufError, shown
from refgguf.model import Model, load_model
from refgguf.trace import Trace

START = "import json, sys; order = json.load(sys.stdin); sys.path[:] = order['sys_path']\n"
START += "from refgguf.engines import apart; apart.serve(order)"
REFUSED = 3  # exit code of a process that printed one sentence


def capture(model: Model, ids: Sequence[int], target: Sequence[int] | None = None) -> Trace:
    """Run tokens through llama.cpp, in a process of its own, and keep every tensor that has a tap.

    Args:
        model: the model, for its file and its taps.
        ids: token ids.
        target: what a decoder has written so far, where an encoder reads `ids`; as in `Model.trace`.

    Returns:
        A Trace, as from `llama_cpp.capture`.

    Raises:
        EngineError: llama-cpp-python is not installed, or cannot load or run the file, or ended its process.
    """
    texts = llama_cpp.texts_of(model, ids, target)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "values.npz"
        order = {"sys_path": sys.path, "texts": texts, "to": os.fspath(found)}
        order |= {"file": os.fspath(model.path), "context_length": model.config.context_length}
        done = subprocess.run(
            [sys.executable, "-c", START],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **llama_cpp.PLAIN_KERNELS, "GGML_NO_BACKTRACE": "1"},
            check=False,
        )
        if done.returncode == REFUSED:
            raise EngineError(done.stdout.strip())
        if done.returncode:
            raise EngineError(f"{model.path}: llama.cpp ended its process: {_last_words(done.stderr)}")
        with np.load(found) as values:
            return llama_cpp.as_trace(model, texts, dict(values))


def _last_words(printed: str) -> str:
    """Return what a dying process said first, without the folders of the machine that it was built on."""
    first = next((line for line in printed.splitlines() if line.strip()), "it said nothing")
    return shown(re.sub(r"\S*/", "", first).strip(), 200)


def serve(order: dict) -> None:
    """Do what the other process asks for; `order` as `capture` writes it."""
    try:
        model = load_model(order["file"], context_length=order["context_length"])
        values = llama_cpp.values_of(model, order["texts"])
    except RefggufError as error:
        print(error)
        sys.exit(REFUSED)
    np.savez(order["to"], **values)
