"""Which drawn tensor flows into which: the taps' inputs, followed through the taps that are not drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache

from refgguf.taps import Tap


def drawn_sources(taps: Mapping[str, Tap], drawn: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return for each drawn tap the drawn taps that it is computed from.

    An undrawn tap on the way is replaced by its own inputs; inputs that the mapping lacks are left out.

    Args:
        taps: every known tap by canonical name, with its inputs.
        drawn: names of the taps that are drawn.

    Returns:
        Names by name, in the order of `drawn`; sources in the order in which they were computed.
    """
    drawn = dict.fromkeys(drawn)  # ordered, with quick look-up
    order = {name: i for i, name in enumerate(taps)}

    @cache
    def nearest(name: str) -> frozenset[str]:
        if name in drawn:
            return frozenset((name,))
        return inputs_of(name)

    def inputs_of(name: str) -> frozenset[str]:
        tap = taps.get(name)
        return frozenset().union(*(nearest(i) for i in tap.inputs)) if tap else frozenset()

    for name in taps:  # in order of execution, so that the recursion stays shallow
        nearest(name)
    return {name: tuple(sorted(inputs_of(name), key=lambda n: order.get(n, -1))) for name in drawn}


def nearest_of(taps: Mapping[str, Tap], name: str, wanted: Collection[str]) -> tuple[str, ...]:
    """Return the taps of `wanted` that `name` is computed from with none of them in between, in order of execution."""
    found: dict[str, None] = {}
    seen = set()
    waiting = list(taps[name].inputs) if name in taps else []
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if at in wanted:
            found[at] = None
        elif at in taps:
            waiting.extend(taps[at].inputs)
    return tuple(n for n in taps if n in found)
