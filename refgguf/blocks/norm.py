"""The norm of a layer: RMSNorm or LayerNorm, with or without weight and bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.norm import layer_norm, rms_norm

FORMULAS = {
    "rms": "x / √(mean(x²) + ε) · w",
    "layer": "(x − mean(x)) / √(var(x) + ε) · w + b",
}


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis.

    Attributes:
        kind: "rms" or "layer".
        eps: added under the root.
        weight: the file has a weight for it.
        bias: how the file treats its bias: "required", "optional" or "none".
    """

    kind: str
    eps: float
    weight: bool = True
    bias: str = "none"

    @property
    def formula(self) -> str:
        """What it computes."""
        return FORMULAS[self.kind]

    def needs(self, name: str, d: int) -> list[Need]:
        """Return the tensors that a norm of this name needs, over d channels."""
        needs = [Need(f"{name}.weight", (d,))] if self.weight else []
        if self.bias != "none":
            needs.append(Need(f"{name}.bias", (d,), optional=self.bias == "optional"))
        return needs

    def weights(self, name: str) -> tuple[str, ...]:
        """Return the names of its tensors, for the declaration of a tap."""
        return (f"{name}.weight", f"{name}.bias") if self.weight else ()

    def __call__(self, x: np.ndarray, s: Scope, name: str) -> np.ndarray:
        """Norm x, (…, d) float32, with the weights of this name."""
        weight = s.vector(f"{name}.weight") if self.weight else None
        if self.kind == "rms":
            return rms_norm(x, weight, self.eps)
        return layer_norm(x, weight, s.optional(f"{name}.bias"), self.eps)
