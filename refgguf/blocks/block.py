"""What every block has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.taps import Tap


class Block:
    """A piece of a layer: a token mixer (attention, a recurrent unit) or a feed-forward network.

    Subclasses are frozen dataclasses of switches. Each has a field `out`, the local name of its result's tap, which a
    layer renames where a norm or a scale follows.
    """

    out: str

    def needs(self) -> list[Need]:
        """Return the tensors that it works with; a leading / makes a name count from the file's top."""
        raise NotImplementedError

    def taps(self, layer: int, source: str) -> Iterator[Tap]:
        """Declare its taps, in order of execution.

        Args:
            layer: number of the layer.
            source: local name of the tap that it reads.
        """
        raise NotImplementedError

    def new_state(self) -> Any:
        """Return what it keeps between calls (`Scope.state`), empty; None if nothing."""
        return None

    def __call__(self, x: np.ndarray, s: Scope) -> np.ndarray:
        """Run it: (token, d_model) → (token, d_model) float32."""
        raise NotImplementedError
