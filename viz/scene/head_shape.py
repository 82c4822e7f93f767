"""The sizes of heads and of the groups that they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refgguf.viz.scene.anatomy import Heads
from refgguf.viz.scene.units import Units


@dataclass(frozen=True)
class HeadShape:
    """Numbers of heads and sizes of their boxes, in world units.

    Attributes:
        n_heads: query heads.
        n_groups: key/value heads.
        q: width of Q.
        pattern: width and height of a pattern.
        k: width and height of transposed K.
        v: width and height of V.
        z: width of Z.
        blocks: width and height of a pattern over blocks.
        block_k: width and height of the transposed keys of blocks.
    """

    n_heads: int
    n_groups: int
    q: float
    pattern: tuple[float, float]
    k: tuple[float, float]
    v: tuple[float, float]
    z: float
    blocks: tuple[float, float] = (0.0, 0.0)
    block_k: tuple[float, float] = (0.0, 0.0)

    @property
    def per_group(self) -> int:
        """Query heads that share a key/value head."""
        return self.n_heads // self.n_groups

    @property
    def head_row(self) -> float:
        """Height of the row of keys and values above the patterns."""
        return max(self.k[1], self.v[1], self.block_k[1])

    def group(self, units: Units) -> tuple[float, float]:
        """Return the width and height of one group."""
        gaps = units.gap * ((self.q > 0) + (self.z > 0) + (self.blocks[0] > 0))
        width = self.q + self.pattern[0] + self.blocks[0] + max(self.z, self.v[0]) + gaps
        head_row = self.head_row
        height = (
            (head_row + units.gap if head_row else 0)
            + self.per_group * (self.pattern[1] + units.gap)
            - units.gap
        )
        return width, height

    def zone(self, units: Units, columns: int) -> tuple[float, float]:
        """Return the width and height of all groups in so many columns, with the tubes beside them."""
        width, height = self.group(units)
        rows = -(-self.n_groups // columns)
        return columns * (units.bus_left + width + units.bus_right), rows * (
            height + units.group_gap
        ) - units.group_gap


def head_shape(heads: Heads, values: Mapping[str, np.ndarray], units: Units) -> HeadShape:
    """Measure the heads of an attention."""
    n_heads, n_queries, n_keys = values[heads.pattern].shape

    def width(name: str | None) -> float:
        return values[name].shape[-1] * units.head_channel if name else 0.0

    def rows(name: str | None) -> float:
        return len(values[name]) * units.cell if name else 0.0

    counts = {head_count(values[n]) for n in (heads.k, heads.v) if n}
    n_groups = max(counts, default=n_heads)
    if n_heads % n_groups:
        n_groups = n_heads
    return HeadShape(
        n_heads,
        n_groups,
        q=width(heads.q),
        pattern=(n_keys * units.cell, n_queries * units.cell),
        k=(rows(heads.k), width(heads.k)),
        v=(width(heads.v), rows(heads.v)),
        z=width(heads.z),
        blocks=(values[heads.blocks].shape[2] * units.cell if heads.blocks else 0.0, n_queries * units.cell),
        block_k=(rows(heads.block_k), width(heads.block_k)),
    )


def head_count(values: np.ndarray) -> int:
    """Return how many heads keys or values have; those without an axis of heads are shared by all."""
    return values.shape[1] if values.ndim > 2 else 1


def mask_of(mask: np.ndarray | None, head: int, n_heads: int) -> np.ndarray | None:
    """Return which keys were chosen for one of so many heads, (query, key); `mask` may be one for all or for groups."""
    return mask if mask is None or mask.ndim == 2 else mask[head * len(mask) // n_heads]
