"""How large things are: world units per token, channel and neuron, chosen once per model.

Boxes are to scale within the residual stream and the feed-forward network (one unit per channel for both) and within
attention (one unit per channel of a head, one per token), so that shapes can be compared across layers and heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from refgguf.viz.scene.parts import DEPTH

# so many heads in all still have tubes and names of their own
MOST_FINE = 160


@dataclass(frozen=True)
class Units:
    """World units.

    Attributes:
        token: height of a token's row on the spine.
        channel: width of a channel of the residual stream, and of a neuron.
        cell: width and height of a token in a pattern.
        head_channel: width of a channel of a head.
        gap: between the boxes of one head.
        bus_left: room for the tubes at the left of a column of heads.
        bus_right: room for the tubes at its right.
        group_gap: between groups of heads.
        letter: size of ordinary letters.
        depth: thickness of boxes.
        fine: whether each head has its own edges and labels; else there are too many for that.
    """

    token: float
    channel: float
    cell: float
    head_channel: float
    gap: float
    bus_left: float
    bus_right: float
    group_gap: float
    letter: float = 2.0
    depth: float = DEPTH
    fine: bool = True


def units_for(
    n_tokens: int,
    d_model: int,
    d_ff: int,
    d_head: int,
    n_heads: int,
    n_layers: int,
    n_keys: int | None = None,
    n_lanes: int = 1,
) -> Units:
    """Choose the units of a model.

    Args:
        n_tokens: rows of the residual stream.
        d_model: channels of the residual stream.
        d_ff: neurons of the widest feed-forward network.
        d_head: channels of the widest head.
        n_heads: heads of the layer that has most.
        n_layers: layers that are shown.
        n_keys: columns of a pattern; n_tokens if None.
        n_lanes: residual streams side by side, each of which is lower the more there are.
    """
    fine = n_heads * n_layers <= MOST_FINE
    spine = _within(0.22 * d_model, 8.0, 16.0 if fine else 12.0)
    channel = min(spine / d_model, max((72.0 if fine else 34.0) / max(d_ff, 1), 6.0 / d_model))
    longest = max(n_tokens, n_keys or 0)
    return Units(
        token=(_within(2.3 * n_tokens, 3.0, 28.0) if fine else _within(3.0 * n_tokens, 8.0, 36.0))
        / (n_tokens * (1 + 0.25 * (n_lanes - 1))),
        channel=channel,
        cell=_within(longest, 3.0, 11.5) / longest,
        head_channel=_within(d_head, 3.0, 10.8) / max(d_head, 1),
        gap=2.1 if fine else 1.1,
        bus_left=5.4 if fine else 4.2,
        bus_right=2.8,
        group_gap=3.8 if fine else 2.6,
        fine=fine,
    )


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
