"""How much memory a run's tensors would take, found out before it begins. No OpenGL, no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refgguf.errors import InputError

if TYPE_CHECKING:
    from refgguf.model import Model

SHORT = 64  # tokens that always fit
MOST_BYTES = 6e9  # of traced tensors
PER_TOKEN = ("token", "query", "key", "source")  # dimensions as long as the text


def check_memory(model: Model, names: Sequence[str], ids: Sequence[int], advice: str = "") -> None:
    """Refuse a prompt whose tensors would not fit into memory, before it is run.

    Args:
        model: the model.
        names: taps that are kept.
        ids: the prompt's tokens.
        advice: what helps beside a shorter prompt, such as " or fewer layers".

    Raises:
        InputError: they would take more than MOST_BYTES.
    """
    if len(ids) <= SHORT:
        return
    n_bytes = 0
    for tensor in model.trace(ids[:1], taps=names).tensors:  # one token tells the shapes
        n_bytes += tensor.values.nbytes * len(ids) ** sum(axis in PER_TOKEN for axis in tensor.axes)
    if n_bytes > MOST_BYTES:
        raise InputError(
            f"the tensors of {len(ids):,} tokens would take {n_bytes / 1e9:,.1f} GB; give a shorter prompt{advice}"
        )
