"""What a recurrent block remembers of the tokens that it has seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Memory:
    """Arrays by name, replaced as tokens pass and never changed in place.

    Args:
        arrays: what it remembers before the first token.
    """

    def __init__(self, **arrays: np.ndarray):
        self.arrays = arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __setitem__(self, name: str, values: np.ndarray) -> None:
        self.arrays = {**self.arrays, name: values}


def memories(states: Any) -> Iterator[Memory]:
    """Iterate over every memory among the states of layers, of their branches and of blocks in blocks."""
    if isinstance(states, Memory):
        yield states
    elif isinstance(states, (list, tuple)):
        for state in states:
            yield from memories(state)
