"""Which weights work on what other weights have made: read off the taps, nothing is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from refgguf.taps import Tap

STREAM = ("resid_pre", "resid_mid", "resid_post")


def weight_sources(taps: Mapping[str, Tap], tensors: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return for each tensor those whose results it is applied to.

    The residual stream is the sum of everything written to it. Only the last writer before a reader counts as its
    source here, or every layer would be joined to all those before it.

    Args:
        taps: every tap of the model; empty if it cannot be run.
        tensors: names of the file's tensors.
    """
    found: dict[str, dict[str, None]] = {}
    for tap in taps.values():
        own = [w for w in tap.weights if w in tensors]
        if own:
            for source in _writers(taps, tap.inputs, tensors):
                for weight in own:
                    if weight != source:
                        found.setdefault(weight, {})[source] = None
    return {name: tuple(sources) for name, sources in found.items()}


def _writers(taps: Mapping[str, Tap], names: Collection[str], tensors: Collection[str]) -> list[str]:
    """Return the weights of the nearest taps before some taps that have any."""
    found: dict[str, None] = {}
    waiting = [
        (name, False) for name in names
    ]  # a tap's name, and whether a sum on the stream has been passed
    seen = set()
    while waiting:
        name, passed = waiting.pop()
        if (name, passed) in seen or name not in taps:
            continue
        seen.add((name, passed))
        tap = taps[name]
        own = [w for w in tap.weights if w in tensors]
        if own:
            found.update(dict.fromkeys(own))
            continue
        on_stream = name.rsplit(".", 1)[-1] in STREAM
        is_sum = on_stream and len(tap.inputs) > 1
        for source in tap.inputs:
            stream_before = source.rsplit(".", 1)[-1] in STREAM or taps.get(source, tap).kind == "embedding"
            if is_sum and stream_before and source.rsplit(".", 1)[-1] in STREAM:
                continue  # what was on the stream before the sum has its own readers
            waiting.append((source, passed or is_sum))
    return list(found)
