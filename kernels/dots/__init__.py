"""Dot products of packed weights with activations, one file per family."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refgguf.kernels.dots.panels import Panel


@dataclass(frozen=True)
class Dot:
    """How rows of one tensor type are multiplied with one token.

    Args:
        name: the tensor type, `Q4_K`.
        exact: kernel `(raw (d_out, row_bytes) uint8, x (n, d_in) float32, out (n, d_out) float32, first, end)`
            in the fixed order of `tiles.py` for rows first … end - 1, or None where decoding first is the way.
        activation: what llama.cpp converts activations to before they meet such rows.
        llama_cpp: kernel `(raw, q, d, sums, out, first, end)` on converted activations, bit-equal to ggml's
            with AVX2 for one token.
        panel: how such rows meet many tokens with the same bits, or None where they meet each token in turn.
        together: kernel `(raw, q, out, first, end)` on converted activations of two tokens and more, bit-equal to
            what ggml does with these, or None where that is what it does with one.
    """

    name: str
    exact: Callable | None = None
    activation: str = ""
    llama_cpp: Callable | None = None
    panel: Panel | None = None
    together: Callable | None = None

    def panel_for(self, d_in: int) -> Panel | None:
        """Return the panel where rows of so many values have one."""
        return self.panel if self.panel is not None and self.panel.fits(d_in) else None


@cache
def dots() -> Mapping[str, Dot]:
    """Return what is known of each tensor type's dot products, by name."""
    found: dict[str, Dot] = {}
    for module in pkgutil.iter_modules(__path__):
        for dot in getattr(import_module(f"{__name__}.{module.name}"), "DOTS", ()):
            if dot.name in found:
                raise RuntimeError(f"two files define dot products of {dot.name}")
            found[dot.name] = dot
    return MappingProxyType(found)
