"""Two runs side by side: where they part, by how much, and whether it matters.

compare_traces(a, b) → Comparison      two traces of the same tokens
compare_models(a, b, ids) → Comparison two models, run here

Importing this package does not load numba; what runs models is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from refgguf.compare.traces import (
    Comparison,
    HeadComparison,
    LogitComparison,
    TapComparison,
    compare_traces,
    texts_of,
)

if TYPE_CHECKING:
    from refgguf.compare.models import check_comparable, compare_models

__all__ = [
    "Comparison",
    "HeadComparison",
    "LogitComparison",
    "TapComparison",
    "check_comparable",
    "compare_models",
    "compare_traces",
    "texts_of",
]


def __getattr__(name: str) -> object:
    if name in ("check_comparable", "compare_models"):
        return getattr(importlib.import_module("refgguf.compare.models"), name)
    raise AttributeError(f"module 'refgguf.compare' has no attribute {name!r}")
