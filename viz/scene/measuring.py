"""Measure a model before it is laid out: how large its smallest things are, and in how many columns heads stand."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import numpy as np

from refgguf.viz.scene.anatomy import Anatomy
from refgguf.viz.scene.head_shape import head_shape
from refgguf.viz.scene.units import Units, units_for

# width of the whole model over its height that the number of columns of heads aims at
ASPECT = 3.6


def units_of(anatomy: Anatomy, values: Mapping[str, np.ndarray]) -> Units:
    """Choose how large a token, a channel and a neuron are."""
    shapes = {name: values[name].shape for name in anatomy.drawn()}
    stacks = [anatomy, *([anatomy.encoder] if anatomy.encoder else [])]
    layers = [layer for stack in stacks for layer in stack.layers]
    heads = [h for layer in layers for h in layer.heads]
    stream = [*anatomy.embeddings, *(n for layer in anatomy.layers for n in layer.spine)]
    widths = [shapes[n][-1] for h in heads for n in (h.q, h.k, h.v, h.z) if n]
    return units_for(
        n_tokens=max(shapes[stack.embeddings[0] if stack.embeddings else stream[0]][0] for stack in stacks),
        d_model=shapes[stream[0]][-1],
        d_ff=max((shapes[n][-1] for layer in layers for n in layer.neurons), default=1),
        d_head=max(widths, default=1),
        n_heads=max((shapes[h.pattern][0] for h in heads), default=1),
        n_layers=len(layers),
        n_keys=max((shapes[h.pattern][2] for h in heads), default=None),
        n_lanes=n_lanes(anatomy, values),
    )


def n_lanes(anatomy: Anatomy, values: Mapping[str, np.ndarray]) -> int:
    """Return how many residual streams stand side by side."""
    spine = [values[n] for layer in anatomy.layers for n in layer.spine]
    return max((x.shape[1] for x in spine if x.ndim == 3), default=1)


def columns_of(
    anatomy: Anatomy, values: Mapping[str, np.ndarray], units: Units, height: float
) -> tuple[int, float]:
    """Choose how many columns of heads bring the whole model closest to the wanted shape; also returns their height."""
    heads = [h for layer in anatomy.layers for h in layer.heads]
    if not heads:
        return 1, 0.0
    shapes = [head_shape(h, values, units) for h in heads]
    largest = max(shapes, key=lambda s: s.n_heads)
    d_model = values[(anatomy.embeddings + anatomy.layers[0].spine)[0]].shape[-1]
    several = n_lanes(anatomy, values) > 1
    rest = (2 + 2 * several) * d_model * units.channel + 45.0 + 40.0 * several
    height = height * (n_lanes(anatomy, values) + several)

    def misfit(columns: int) -> float:
        width, tall = largest.zone(units, columns)
        return abs(log((len(anatomy.layers) * (width + rest) + 60.0) / (tall + 3 * height + 30.0) / ASPECT))

    best = min(range(1, min(largest.n_groups, 8) + 1), key=misfit)
    return best, largest.zone(units, best)[1]
