"""How the tables time things: each in turn, the shortest time of several rounds."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_seconds(
    runs: dict[str, Callable[[], object]], rounds: int, budget: float = float("inf")
) -> dict[str, float]:
    """Return the shortest time of each, taken in turn after one round to warm up.

    Args:
        runs: what to time, by name.
        rounds: how often each is timed.
        budget: seconds after which no further round begins.
    """
    best, begun = dict.fromkeys(runs, float("inf")), time.perf_counter()
    for turn in range(rounds + 1):
        for kind, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                best[kind] = min(best[kind], time.perf_counter() - start)
        if turn and time.perf_counter() - begun > budget:
            break
    return best
