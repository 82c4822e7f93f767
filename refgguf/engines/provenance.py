"""Which of another program's tensors without a name is which tap: the one made of the same tensors and weights.

llama.cpp names most of what it computes, but not all: what leaves a layer of BERT is "node_57" in one graph and
"node_61" in another. Such a tensor is told by what it comes from: the named tensors that it is computed from with
nothing named in between, and the weights that come in on the way. A tap that has no name there has the same origin,
followed through taps without a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from refgguf.taps import Tap

UNNAMED = re.compile(r"node_\d+|norm(_w)?(-\d+)?|.* \((view|reshaped|permuted|cont|transposed|copy)\)")


@dataclass(frozen=True)
class Origin:
    """What a tensor is computed from.

    Attributes:
        named: the nearest tensors that have a name.
        weights: the file's tensors that come in after those.
    """

    named: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()

    def __or__(self, other: Origin) -> Origin:
        return Origin(self.named | other.named, self.weights | other.weights)


def origins_wanted(taps: Mapping[str, Tap]) -> dict[Origin, str]:
    """Return the taps that have no name in llama.cpp, by what they are computed from.

    Args:
        taps: every tap by canonical name, in order of execution. Only sums and norms on the stream are told so: what
            else has no name is a step inside one of llama.cpp's operations, or one of several on the way to streams.
    """
    if any("stream" in tap.axes for tap in taps.values()):
        return {}  # the steps of mixing streams have no name there either, and the same origin
    known: dict[str, Origin] = {}
    first: dict[Origin, Tap] = {}
    for name, tap in taps.items():
        if tap.llama_cpp:
            known[name] = Origin(frozenset((tap.llama_cpp,)))
            continue
        own = Origin(weights=frozenset(tap.weights))
        for source in tap.inputs:
            own |= known.get(source, Origin())
        known[name] = own
        copies = len(tap.inputs) == 1 and not tap.weights
        if own.named and not copies:
            first.setdefault(own, tap)  # a tensor that is computed later cannot be told from this one
    return {own: tap.name for own, tap in first.items() if tap.kind == "residual"}


@dataclass
class Provenance:
    """Follows where tensors come from while they are computed.

    Attributes:
        wanted: names by origin.
        weights: names of the file's tensors.
    """

    wanted: Mapping[Origin, str]
    weights: Collection[str]
    _of: dict[int, Origin] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def name_of(self, key: int, name: str, sources: Sequence[tuple[int, str]]) -> str | None:
        """Note a tensor that is about to be computed; returns the tap that it is, if that has no other name.

        Args:
            key: tells it apart from others of the same graph.
            name: its name in llama.cpp.
            sources: keys and names of what it is computed from, as they are now: a tensor is named after it is made.
        """
        own = Origin()
        for source, called in sources:
            if called in self.weights:
                own |= Origin(weights=frozenset((called,)))
            elif not UNNAMED.fullmatch(called):
                own |= Origin(named=frozenset((called,)))
            else:
                own |= self._of.get(source, Origin())
        self._of[key] = own
        tap = self.wanted.get(own) if UNNAMED.fullmatch(name) else None
        if tap in self._told:
            return None  # a norm of it before its weight, or another view
        if tap is not None:
            self._told.add(tap)
        return tap
