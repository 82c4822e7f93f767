"""What is done once, before the first layer or after the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap


class Step:
    """A step outside the layers.

    Attributes:
        out: name of the tap of what it makes of the stream; "" if it leaves the stream as it is.
    """

    out: str = ""

    def needs(self) -> list[Need]:
        """Return the tensors that it works with."""
        raise NotImplementedError

    def taps(self, sources: list[str]) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            sources: names of the taps whose sum it reads.
        """
        raise NotImplementedError

    def leaving(self, sources: list[str]) -> list[str]:
        """Return the names of the taps whose sum the stream is after it."""
        return [self.out] if self.out else sources

    def new_state(self) -> Any:
        """Return what it keeps between calls (`Scope.state`), empty; None if nothing."""
        return None

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it on the stream, (token, …) float32; returns the stream."""
        raise NotImplementedError
