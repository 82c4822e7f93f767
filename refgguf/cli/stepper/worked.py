"""One value of an operation, computed step by step from the real numbers.

Each recipe recomputes a value that the trace holds from what the tap says it came from, and is shown only
when the result agrees; an operation that no recipe fits gets none. So nothing here can tell a pupil something
untrue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from refgguf.cli.stepper import recipes, recipes_attention, recipes_experts
from refgguf.cli.stepper.example import Place, place_of

if TYPE_CHECKING:
    from refgguf.cli.stepper.walk import Walk

RECIPES: tuple[Callable[[Place], list[str] | None], ...] = (
    recipes.table_row,
    recipes.unchanged,
    recipes.addition,
    recipes.norm,
    recipes.matrix,
    recipes_attention.turn,
    recipes_attention.score,
    recipes_attention.softmax,
    recipes_attention.mix,
    recipes_attention.neuron,
    recipes_experts.shares,
    recipes_experts.choice,
    recipes_experts.weight,
    recipes_experts.matrix,
    recipes_experts.weighted,
    recipes_experts.total,
    recipes.scaled,
    recipes.part,
)


def worked(walk: Walk) -> list[str]:
    """Return the example for the operation looked at, line by line; nothing when no recipe fits."""
    place = place_of(walk)
    values = place.here.values
    if values.size == 0 or not np.isfinite(values).any():
        return []
    return next((lines for recipe in RECIPES if (lines := recipe(place))), [])
