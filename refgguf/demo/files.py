"""Where the embedded model is: `demo` is the shipped file, `demo:q4_k` that file quantized, made on first use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from refgguf.errors import InputError, OutputError

NAME = "demo"
SHIPPED = Path(__file__).with_name("demo.gguf")


def is_demo(path: str | os.PathLike[str]) -> bool:
    """Tell whether this names the embedded model; a file that is really called so goes first."""
    name = os.fspath(path)
    if not isinstance(name, str):
        return False
    return (name == NAME or name.startswith(NAME + ":")) and not os.path.exists(name)


def located(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the file that a model name stands for; paths stay as they are.

    Args:
        path: a path, `demo`, or `demo:` and a tensor type or mix such as `demo:q4_k_m`.

    Raises:
        InputError: this installation has no embedded model, or the type is unknown.
    """
    if not is_demo(path):
        return path
    if not SHIPPED.is_file():
        raise InputError(
            f"this installation of refgguf lacks its embedded model, {SHIPPED}; install it again"
        )
    kind = os.fspath(path).partition(":")[2]
    return quantized(kind) if kind else SHIPPED


def quantized(kind: str) -> Path:
    """Return the embedded model in another tensor type, from the user's cache folder; made there on first use.

    Args:
        kind: a tensor type or mix as `refgguf quantize` takes it, such as `q4_k_m`.

    Raises:
        UnknownQuantError: there is no such mix.
        OutputError: the cache folder cannot be written.
    """
    from refgguf.gguf.reader import open_file
    from refgguf.kernels.jit import user_cache_folder
    from refgguf.weights import plan
    from refgguf.weights.quantize import write_quantized

    mix = plan.mix_of(kind)
    stamp = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()[:12]
    path = user_cache_folder() / "demo" / stamp / f"demo-{mix.name.lower()}.gguf"
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path.parent}: cannot be made, {error.strerror}; set REFGGUF_CACHE"
            ) from error
        with open_file(SHIPPED) as file:
            choices = plan.plan(file.tensors.values(), mix, plan.facts_of(file.metadata, file.architecture))
            write_quantized(file, path, choices, mix)
    return path
