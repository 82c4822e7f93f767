"""Receives what a forward pass computes: keeps tensors, lets hooks replace them, tells which layer runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from refgguf.errors import HookError
from refgguf.taps import Tap

Hook = Callable[..., "np.ndarray | None"]  # of (x, tap), or of (x, tap, positions)
Watcher = Callable[[str], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell somebody how far passes are that begin inside the block, without changing how they are computed.

    Args:
        watcher: called with a layer's prefix, such as "blk.3.", when tokens enter it. A long text that nobody taps
            runs some tokens at a time, and goes through all layers as often.
    """
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


class Recorder:
    """Receives every intermediate tensor as it is computed: keeps it, replaces it, or lets it pass.

    Args:
        taps: every tap of the model by canonical name.
        wanted: canonical names to keep.
        hooks: functions to call, by canonical name, each with the tensor (read-only) and its tap, and, where it has a
            third parameter, the places of the tokens in the sequence; what one returns replaces the tensor, None
            leaves it.

    Attributes:
        idle: whether nothing looks at any tap, so that tensors need not be passed here.
        watcher: who wants to know which layer runs; see `watching`.
    """

    def __init__(
        self,
        taps: Mapping[str, Tap],
        wanted: Iterable[str] = (),
        hooks: Mapping[str, list[Hook]] | None = None,
    ):
        self.taps = taps
        self.wanted = frozenset(wanted)
        self.hooks = hooks or {}
        self.values: dict[str, np.ndarray] = {}
        self.watcher = _watcher.get()
        self.idle = not self.wanted and not self.hooks

    def wants(self, name: str) -> bool:
        """Say whether anything looks at this tap."""
        return name in self.wanted or name in self.hooks

    def __call__(self, name: str, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Pass a tensor through its tap; returns it or its replacement.

        Args:
            name: canonical name of the tap.
            x: the tensor.
            positions: (token,) int64, places of the tokens in the sequence.
        """
        if self.idle:
            return x
        for hook in self.hooks.get(name, ()):
            x = _replaced(x, hook, self.taps[name], positions)
        if name in self.wanted:
            self.values[name] = x
        return x


def _wants_positions(hook: Hook) -> bool:
    """Say whether a hook has a third parameter that must be given."""
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # written in C, which does not tell
        return False
    needed = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(needed) > 2


def _replaced(x: np.ndarray, hook: Hook, tap: Tap, positions: np.ndarray) -> np.ndarray:
    shown = x.view()
    shown.flags.writeable = False
    new = hook(shown, tap, positions) if _wants_positions(hook) else hook(shown, tap)
    if new is None:
        return x
    try:
        new = np.array(new, dtype=x.dtype)  # a copy: the caller may go on changing what the hook returned
    except (TypeError, ValueError) as error:
        raise HookError(
            f"the hook on {tap.name} returned {type(new).__name__}, not an array of numbers"
        ) from error
    if new.shape != x.shape:
        raise HookError(f"the hook on {tap.name} returned shape {new.shape}; the tap has shape {x.shape}")
    return new
