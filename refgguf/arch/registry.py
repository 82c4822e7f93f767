"""How architectures are declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from refgguf.arch.hyper import HyperParameters
from refgguf.blocks.network import Network


@dataclass(frozen=True)
class Architecture:
    """An architecture that can be run.

    Attributes:
        name: as in `general.architecture`.
        blocks: what it is made of, for people.
        build: hyper-parameters → network.
    """

    name: str
    blocks: str
    build: Callable[[HyperParameters], Network]


REGISTRY: dict[str, Architecture] = {}


def architecture(*names: str, blocks: str) -> Callable:
    """Declare a function that builds the network of architectures of these names.

    Args:
        names: as files give them in `general.architecture`.
        blocks: what the network is made of, in the words of the tables that users see.
    """

    def declare(build: Callable[[HyperParameters], Network]) -> Callable[[HyperParameters], Network]:
        for name in names:
            if name in REGISTRY:
                raise RuntimeError(f"architecture {name!r} is declared twice")
            REGISTRY[name] = Architecture(name, blocks, build)
        return build

    return declare
