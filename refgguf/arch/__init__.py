"""Architectures: which blocks a model is made of, and which switches they have.

One module a family. Each declares its architectures by the name that files give in `general.architecture`:

    @architecture("qwen3", blocks="GQA with q/k-norm · RoPE · SwiGLU")
    def qwen3(hp: HyperParameters) -> Network: ...

and is found by itself. No arithmetic here, and no architecture's name anywhere else.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from refgguf.arch.catalogue import Entry, entries, missing
from refgguf.arch.causality import as_the_file_says
from refgguf.arch.hyper import HyperParameters
from refgguf.arch.pooling import pooling
from refgguf.arch.registry import REGISTRY, Architecture
from refgguf.blocks.network import Network
from refgguf.errors import MissingTensorError, ShapeMismatchError, UnknownArchitectureError
from refgguf.tensor import Tensor

__all__ = ["architectures", "build", "catalogue_entries", "check_tensors", "find_architecture"]


@cache
def architectures() -> Mapping[str, Architecture]:
    """Return every architecture that can be run, by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(REGISTRY.items()))


def catalogue_entries() -> list[Entry]:
    """Return every architecture that llama.cpp names, whether it runs or not, by name."""
    return entries(dict(architectures()))


def find_architecture(name: str | None) -> Architecture:
    """Return the architecture of this name.

    Raises:
        UnknownArchitectureError: there is none, or the file names none.
    """
    if name is None:
        raise UnknownArchitectureError(
            "the file does not say which architecture it has (no general.architecture)"
        )
    if name not in architectures():
        near = difflib.get_close_matches(name, architectures(), n=3, cutoff=0.5)
        hint = (
            f": {why}"
            if (why := missing(name))
            else f"; similar ones that can: {', '.join(near)}"
            if near
            else ""
        )
        raise UnknownArchitectureError(
            f"architecture {name!r} cannot be run yet{hint}; its tensors can be listed and decoded all the same"
        )
    return architectures()[name]


def build(hp: HyperParameters) -> Network:
    """Build the network that the metadata describes, and check that the file holds its tensors.

    Raises:
        UnknownArchitectureError: the architecture cannot be run.
        HyperParameterError: the metadata contradicts itself.
        MissingTensorError: a tensor is absent.
        ShapeMismatchError: a tensor has another shape than the metadata says.
    """
    network = as_the_file_says(hp, find_architecture(hp.architecture).build(hp))
    if network.pooling is None:
        network = replace(network, pooling=pooling(hp, causal=network.causal))
    check_tensors(network, hp.tensors)
    return network


def check_tensors(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Check name and shape of every tensor before any arithmetic."""
    for need in network.needs():
        tensor = tensors.get(need.name)
        if tensor is None:
            if need.optional:
                continue
            alone = re.sub(r"_exps\.weight$", ".0.weight", need.name)
            hint = (
                f": the file has a tensor for each expert ({alone} …), as in early 2024, which llama.cpp no"
                " longer reads either; convert the model anew"
                if alone != need.name and alone in tensors
                else f"; the metadata asks for one of shape {need.shape}"
            )
            raise MissingTensorError(f"tensor {need.name} is missing{hint}")
        if need.shape is not None and _bare(tensor.shape) != _bare(need.shape):
            raise ShapeMismatchError(
                f"tensor {need.name} has shape {tensor.shape}; by the metadata it should be {need.shape}"
            )


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of length 1 in front, of which converters write more or fewer."""
    first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return shape[first:]
