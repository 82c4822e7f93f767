"""Two runs side by side: where they part, by how much, and whether it matters.

compare_traces(a, b) → Comparison      two traces of the same tokens
compare_models(a, b, ids) → Comparison two models, run here
"""

from __future__ import annotations

from refgguf.compare.models import check_comparable, compare_models
from refgguf.compare.traces import (
    Comparison,
    HeadComparison,
    LogitComparison,
    TapComparison,
    compare_traces,
    texts_of,
)

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
