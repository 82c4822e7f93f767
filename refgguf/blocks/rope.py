"""Rotary position embedding as a switch of attention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refgguf.blocks.scope import Need, Scope
from refgguf.kernels.ops.rope import RopeScaling, rope_angles, rotate


@dataclass(frozen=True)
class Rope:
    """How queries and keys are turned by their position.

    Attributes:
        style: "interleaved" (pairs of neighbouring channels; llama.cpp: norm) or "split" (halves; neox).
        n_rot: how many channels of a head turn.
        base: frequency base.
        scaling: context extension.
        factors: name of the tensor that divides the angles (llama 3, longrope), or None.
        tail: the last channels of a head turn, not the first.
        still: numbers of pairs that do not turn: those that multi-axis RoPE keeps for an axis that text has not.
    """

    style: str
    n_rot: int
    base: float
    scaling: RopeScaling = field(default_factory=RopeScaling)
    factors: str | None = None
    still: tuple[int, ...] = ()
    tail: bool = False

    @property
    def formula(self) -> str:
        """What it computes."""
        angle = f"position · {self.base:g}^(−2i/{self.n_rot})" + (" / factor" if self.factors else "")
        if self.scaling.scale != 1:
            angle += f" · {self.scaling.scale:.4g}" + (" (YaRN)" if self.scaling.yarn else "")
        which = f"each pair (a, b) of the last {self.n_rot} channels" if self.tail else "each pair (a, b)"
        return f"turn {which} by θ = {angle}: (a·cos θ − b·sin θ, a·sin θ + b·cos θ)"

    def needs(self) -> list[Need]:
        """Return the tensors that it needs; their names count from the file's top."""
        return [Need(f"/{self.factors}", (self.n_rot // 2,))] if self.factors else []

    def weights(self) -> tuple[str, ...]:
        """Return the names of its tensors, for the declaration of a tap."""
        return (f"/{self.factors}",) if self.factors else ()

    def angles(self, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine for the current tokens, (token, n_rot / 2) float32 each.

        Layers that turn alike share them.
        """
        if self not in s.common:
            s.common[self] = self.angles_at(s.positions, s)
        return s.common[self]

    def angles_at(self, positions: np.ndarray, s: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine for places in the text, (place, n_rot / 2) float32 each."""
        factors = s.weights.vector(self.factors) if self.factors else None
        if self.still:
            factors = np.ones(self.n_rot // 2, np.float32) if factors is None else factors.copy()
            factors[list(self.still)] = np.inf  # an angle divided by it is 0
        return rope_angles(positions, self.n_rot, self.base, factors, self.scaling, s.numerics)

    def __call__(self, x: np.ndarray, angles: tuple[np.ndarray, np.ndarray], s: Scope) -> np.ndarray:
        """Turn x, (token, head, d_head) float32."""
        if not self.tail or x.shape[-1] == self.n_rot:
            return rotate(x, *angles, self.style, s.numerics)
        turned = rotate(x[..., -self.n_rot :], *angles, self.style, s.numerics)
        return np.concatenate([x[..., : -self.n_rot], turned], axis=-1)
