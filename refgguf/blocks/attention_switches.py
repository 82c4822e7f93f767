"""What some attentions have besides: queries that grow with their position, a gate of the mixed values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Temperature:
    """Queries grow with their position: q · (1 + scale · log(⌊(position + offset) / step⌋ + 1))."""

    scale: float
    step: int
    offset: float = 0.0

    def factors(self, positions: np.ndarray) -> np.ndarray:
        """Return (token,) float32 that multiply the queries."""
        steps = np.floor((positions.astype(np.float32) + np.float32(self.offset)) / np.float32(self.step))
        return (np.log(steps.astype(np.float64) + 1.0) * self.scale + 1.0).astype(np.float32)


@dataclass(frozen=True)
class Gate:
    """Mixed values are multiplied by act(x · Wgateᵀ).

    Attributes:
        act: name of the activation function.
        per_head: one number a head; otherwise one a channel.
        joint: the matrix of the queries gives it too, after each head's query.
    """

    act: str = "sigmoid"
    per_head: bool = False
    joint: bool = False
