"""Norms of a layer: RMSNorm or LayerNorm, with or without weight and bias, over channels or over heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.norm import layer_norm, rms_norm

FORMULAS = {"rms": "x / √(mean(x²) + ε)", "layer": "(x − mean(x)) / √(var(x) + ε)"}


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis.

    Attributes:
        kind: "rms" or "layer".
        eps: added under the root.
        weight: the file has a weight for it.
        bias: how the file treats its bias: "required", "optional" or "none".
        suffix: what follows the norm's name in the weight's name.
    """

    kind: str
    eps: float
    weight: bool = True
    bias: str = "none"
    suffix: str = ".weight"

    @property
    def formula(self) -> str:
        """What it computes."""
        formula = FORMULAS[self.kind] + (" · w" if self.weight else "")
        return formula + (" + b" if self.bias != "none" else "")

    def needs(self, name: str, *shape: int) -> list[Need]:
        """Return the tensors that a norm of this name needs, with weights of this shape."""
        needs = [Need(f"{name}{self.suffix}", shape)] if self.weight else []
        if self.bias != "none":
            needs.append(Need(f"{name}.bias", shape, optional=self.bias == "optional"))
        return needs

    def weights(self, name: str) -> tuple[str, ...]:
        """Return the names of its tensors, for the declaration of a tap."""
        return tuple(need.name for need in self.needs(name))

    def __call__(self, x: np.ndarray, s: Scope, name: str) -> np.ndarray:
        """Norm x, (…, d) float32, with the weights of this name."""
        weight = s.vector(f"{name}{self.suffix}") if self.weight else None
        bias = s.optional(f"{name}.bias") if self.bias != "none" else None
        if weight is not None and weight.ndim > 1:  # a weight for each head
            y = self._plain(x, None, None, s.numerics) * weight
            return y if bias is None else y + bias
        return self._plain(x, weight, bias, s.numerics)

    def _plain(
        self, x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, numerics: str
    ) -> np.ndarray:
        if self.kind == "layer":
            return layer_norm(x, weight, bias, self.eps, numerics)
        y = rms_norm(x, weight, self.eps)
        return y if bias is None else y + bias


@dataclass(frozen=True)
class HeadNorm:
    """A norm of queries or keys.

    Attributes:
        norm: what it computes.
        over: "head": each head alone, one weight for all; "heads": each head alone, with a weight of its own;
            "gain": each head alone, then one number a head; "all": all heads of a token together.
    """

    norm: Norm
    over: str = "head"

    @property
    def formula(self) -> str:
        """What it computes."""
        over = "all heads together" if self.over == "all" else "each head"
        return f"{over}: {self.norm.formula}"

    def needs(self, name: str, n_heads: int, d_head: int) -> list[Need]:
        """Return the tensors that a norm of this name needs."""
        shapes = {
            "head": (d_head,),
            "heads": (n_heads, d_head),
            "gain": (n_heads, 1),
            "all": (n_heads * d_head,),
        }
        return self.norm.needs(name, *shapes[self.over])

    def weights(self, name: str) -> tuple[str, ...]:
        """Return the names of its tensors, for the declaration of a tap."""
        return self.norm.weights(name)

    def __call__(self, x: np.ndarray, s: Scope, name: str) -> np.ndarray:
        """Norm x, (token, head, d_head) float32, with the weights of this name."""
        if self.over == "all":
            return self.norm(x.reshape(len(x), -1), s, name).reshape(x.shape)
        return self.norm(x, s, name)
