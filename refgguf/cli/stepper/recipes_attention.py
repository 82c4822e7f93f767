"""Worked examples of attention and of neurons: RoPE, scores, softmax, mixing, activation.

The names of attention's taps are the same in every architecture, so recipes may go by their axes.
"""

from __future__ import annotations

import numpy as np

from refgguf.cli.stepper.example import AGREES, Place, close, sum_of
from refgguf.cli.stepper.glyphs import number, quoted
from refgguf.kernels.ops.activation import ACTIVATIONS

PATTERNS = (("head", "key"), ("head", "source"))


def _all_tokens(place: Place, number_of_input: int) -> np.ndarray | None:
    """Return an input for every token that the one looked at may see, (token, head, channel)."""
    name = place.tensor.inputs[number_of_input]
    found = place.walk.tensor(name)
    walk = place.walk
    if found is None or found.axes[:1] != walk.text.axes[:1] or found.values.ndim != 3:
        return None
    causal = walk.model.network.causal and not walk.reads
    return found.values[: walk.token + 1] if causal else found.values


def _token(place: Place, key: int, axis: str = "token") -> str:
    return quoted(place.walk.label(key, axis))


def turn(place: Place) -> list[str] | None:
    """RoPE: a pair of channels turned by an angle that grows with the position."""
    same = place.input_like(place.here.values.shape)
    if len(same) != 1 or len(place.here.axes) != 2 or not place.tensor.name.endswith("_rope"):
        return None
    before, after = same[0][0].astype(np.float64), place.here.values[0].astype(np.float64)
    position = int(place.walk.trace.positions[place.walk.token])
    for partner in (1, before.size // 2):  # neighbouring channels, or halves
        a, b = complex(before[0], before[partner]), complex(after[0], after[partner])
        if abs(a) and close(abs(a), abs(b), abs(a)):
            pair, turned = (f"({number(z.real)}, {number(z.imag)})" for z in (a, b))
            angle = float(np.angle(b / a))
            lines = [
                f"head 0, channels 0 and {partner}: {pair} turned by {np.degrees(angle):+.1f}° = {turned}"
            ]
            if abs(np.exp(1j * angle) - np.exp(1j * position)) < AGREES:
                lines.append(
                    f"position {position}: the first pair turns by one radian, 57.3°, for each position"
                )
            return [*lines, "the length of each pair stays the same; later pairs turn more slowly"]
    return None


def score(place: Place) -> list[str] | None:
    """Attention scores: the dot product of a query and a key."""
    if place.here.axes not in PATTERNS or len(place.tensor.inputs) != 2:
        return None
    q, k = _all_tokens(place, 0), _all_tokens(place, 1)
    if q is None or k is None or not np.isfinite(place.here.values).any():
        return None
    head, key = np.unravel_index(int(np.nanargmax(place.here.values)), place.here.values.shape)
    group = q.shape[1] // k.shape[1]
    query = q[place.walk.token, head].astype(np.float64)
    keys = k[:, head // group].astype(np.float64)
    seen = np.isfinite(place.here.values[head])
    dots = keys @ query
    scale = _common_factor(dots[seen], place.here.values[head][seen].astype(np.float64))
    if scale is None:
        return None
    value = float(place.here.values[head, key])
    pair = f"{_token(place, place.walk.token)} and key {_token(place, int(key))}"
    lines = [f"head {head} of {pair}: q · k = {number(dots[key])}"]
    lines += sum_of(query * keys[key], lambda i: f"q[{i}] {number(query[i])} × k[{i}] {number(keys[key][i])}")
    return [*lines, f"times {scale:.4g} = {number(value)}: the highest score here"]


def _common_factor(dots: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the factor between dot products and scores, or None when there is no single one."""
    if not np.abs(dots).max():
        return None
    scale = float(scores @ dots / (dots @ dots))
    return (
        scale
        if np.allclose(dots * scale, scores, rtol=1e-2, atol=1e-2 * float(np.abs(scores).max()))
        else None
    )


def softmax(place: Place) -> list[str] | None:
    """Attention pattern: scores turned into shares that sum to one."""
    same = place.input_like(place.here.values.shape)
    if place.here.axes not in PATTERNS or len(same) != 1:
        return None
    scores, shares = same[0].astype(np.float64), place.here.values
    # a head that looks at one key alone, or at its own token, teaches less than one that shares
    spread = [float(-(row[row > 0] * np.log(row[row > 0])).sum()) for row in shares.astype(np.float64)]
    head = int(np.argmax(spread))
    row = scores[head]
    weights = np.exp(row - row.max())
    key = int(weights.argmax())
    if not close(weights[key] / weights.sum(), float(shares[head, key]), 1.0):
        return None  # sinks and the like add something to the sum
    order, axis = np.argsort(-weights, kind="stable")[:4], place.here.axes[1]
    terms = ", ".join(
        f"{_token(place, int(i), axis)} e^{number(row[i] - row.max())} = {weights[i]:.3g}" for i in order
    )
    more = " …" if len(row) > len(order) else ""
    return [
        f"head {head}, relative to its highest score {number(row.max())}: {terms}{more}",
        f"sum {weights.sum():.4g}, so {_token(place, key, axis)} gets {weights[key]:.3g} / {weights.sum():.4g}"
        f" = {weights[key] / weights.sum():.1%}",
    ]


def mix(place: Place) -> list[str] | None:
    """Values mixed by the pattern: a sum over the tokens that a head looks at."""
    if len(place.here.axes) != 2 or place.here.axes[0] != "head" or len(place.tensor.inputs) != 2:
        return None
    pattern = place.inputs.get(place.tensor.inputs[0])
    values = _all_tokens(place, 1)
    if pattern is None or values is None or pattern.axes not in PATTERNS:
        return None
    head, channel = np.unravel_index(place.largest, place.here.values.shape)
    group = len(pattern.values) // values.shape[1]
    shares = pattern.values[head].astype(np.float64)
    mixed = values[:, head // group, channel].astype(np.float64)
    products = shares * mixed
    value = float(place.here.values[head, channel])
    if not close(products.sum(), value, float(np.abs(products).sum())):
        return None
    lines = [f"head {head}, channel {channel} = Σ share · value = {number(value)}"]
    return lines + sum_of(products, lambda i: f"{_token(place, i)} {shares[i]:.1%} × v {number(mixed[i])}")


def neuron(place: Place) -> list[str] | None:
    """Activation: what passes a neuron's gate."""
    if place.tensor.kind != "ffn" or place.weights or not place.inputs:
        return None
    parts = [part.values for part in place.inputs.values()]
    if any(part.shape != place.here.values.shape for part in parts) or len(parts) > 2:
        return None
    name = place.tensor.formula.split("(")[0].strip()
    if name not in ACTIVATIONS:
        return None
    at = place.largest
    value, gate = float(place.here.values.reshape(-1)[at]), float(parts[0].reshape(-1)[at])
    try:
        passed = float(ACTIVATIONS[name](np.array([gate], np.float32))[0])
    except TypeError:  # one with learned constants, which only its block knows
        return None
    up = float(parts[1].reshape(-1)[at]) if len(parts) == 2 else 1.0
    if not close(passed * up, value, abs(value)):
        return None
    quiet = float((np.abs(place.here.values) < 0.1 * abs(value)).mean())
    times = f" = {number(passed)}, times up {number(up)}" if len(parts) == 2 else ""
    return [
        f"{place.here.place(at)}: {name}({number(gate)}){times} = {number(value)}",
        f"{quiet:.0%} of the neurons stay below a tenth of the strongest",
    ]
