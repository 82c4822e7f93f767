"""Which keys a query may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOWS = ("sliding", "chunk", "symmetric")


@dataclass(frozen=True)
class Mask:
    """A range of keys for each query.

    Attributes:
        causal: a token sees none after it.
        window: how many tokens a window holds, the token itself included; 0 for no window.
        kind: what the window is: "sliding" (the last ones), "chunk" (those of the token's own chunk of that many) or
            "symmetric" (half of it to each side).
    """

    causal: bool = True
    window: int = 0
    kind: str = "sliding"

    @property
    def noted(self) -> tuple[str, int] | tuple[()]:
        """The window as a pattern's tap notes it: kind and size."""
        return (self.kind, self.window) if self.window else ()

    @property
    def formula(self) -> str:
        """What a token sees."""
        if not self.window:
            return "all tokens up to its own" if self.causal else "all tokens"
        windows = {
            "sliding": f"the last {self.window} tokens",
            "chunk": f"the tokens of its own chunk of {self.window}",
            "symmetric": f"the {self.window // 2} tokens to each side",
        }
        return windows[self.kind] + (" up to its own" if self.causal and self.kind != "sliding" else "")

    def limits(self, positions: np.ndarray, n_keys: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last key that each query sees.

        Args:
            positions: (query,) integers.
            n_keys: how many keys there are.
        """
        first = np.zeros_like(positions)
        last = positions if self.causal else np.full_like(positions, n_keys - 1)
        if not self.window:
            return first, last
        if self.kind == "chunk":
            return positions // self.window * self.window, last
        if self.kind == "symmetric":
            half = self.window // 2
            return np.maximum(first, positions - half), np.minimum(last, positions + half)
        return np.maximum(first, positions - self.window + 1), last
