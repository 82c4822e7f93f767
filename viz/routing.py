"""How a token was sent to its experts, in its own numbers: the choice, and the weight that a chosen expert has.

Scores become shares; the largest are chosen, by the shares themselves, by shares plus a bias, or within the best
groups of experts; the chosen shares are weights, over their sum or not, times a scale. As everywhere, what is told
ends at what the trace holds: at the experts that were chosen, and at the weights that they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.trace import Trace, TracedTensor
from refgguf.viz.arithmetic import Index, agrees, plus
from refgguf.viz.scene.overlay import number

LEAST_SUM = 2.0**-14  # a sum of weights counts as no less
MOST_NAMED = 4  # terms that a line spells out
BEST_OF_GROUP = 2  # experts that speak for their group
WEIGHTS = re.compile(
    r"(?P<share>softmax\(logits\[topk\]\)|probs\[topk'?\])(?P<normed> / Σ (?P=share))?( · (?P<scale>[\d.e+-]+))?"
)
GROUPS = re.compile(r"the (?P<used>\d+) of (?P<all>\d+) groups with the best two experts together")


@dataclass(frozen=True)
class Routing:
    """The tensors of a router.

    Attributes:
        weights: (token, slot) weights of the chosen experts.
        shares: (token, expert) what the weights are made of.
        topk: (token, slot) the chosen experts, the best first.
        choice: (token, expert) what they were chosen by; None where a table says which.
        groups: (token, slot) the groups of experts that were chosen from; None for all.
    """

    weights: TracedTensor
    shares: TracedTensor
    topk: TracedTensor
    choice: TracedTensor | None
    groups: TracedTensor | None


def routing_of(trace: Trace, name: str) -> Routing | None:
    """Return the router that chose experts by a tensor, or weighted them by it; None where none did."""
    own = [t for n, t in trace.taps.items() if t.layer == trace.tensor(name).layer]
    for tap in own:
        if not WEIGHTS.fullmatch(tap.formula) or not {*tap.inputs} <= {*trace.names}:
            continue
        shares, topk = (trace.tensor(i) for i in tap.inputs)
        if not {*topk.inputs} <= {*trace.names}:
            continue
        choice, groups = ([*(trace.tensor(i) for i in topk.inputs), None, None])[:2]
        if name in (shares.name, choice.name if choice else None):
            return Routing(trace.tensor(tap.name), shares, topk, choice, groups)
    return None


def routed(trace: Trace, name: str, index: Index, weights: Mapping | None = None) -> list[str]:
    """Tell what became of an expert's share at a token: whether it was chosen, and what its weight is.

    Args:
        trace: the trace.
        name: name of a tensor (token, expert).
        index: token and expert.
        weights: the file's tensors by name, for the bias of the choice.

    Returns:
        Lines of arithmetic; none where no expert is chosen by the tensor, or they do not end at the traced choice.
    """
    routing = routing_of(trace, name) if trace.tensor(name).axes == ("token", "expert") else None
    if routing is None:
        return []
    token, expert = index
    chosen = routing.topk.values[token]
    slot = next(iter(np.flatnonzero(chosen == expert)), None)
    told = _chosen(routing, token, expert) if routing.choice else [_looked_up(chosen, slot)]
    if not told:
        return []
    if routing.choice and routing.choice.name != name:
        told = [*_choice(trace, routing, index, weights or {}), *told]
    if slot is None:
        return told
    with np.errstate(all="ignore"):  # what is not finite agrees with nothing
        lines = weight(routing.weights, (routing.shares, routing.topk), (token, int(slot)), ())
    return [*told, *(f"weight {line}" if i == len(lines) - 1 else line for i, line in enumerate(lines))]


def _looked_up(chosen: np.ndarray, slot: int | None) -> str:
    names = ", ".join(str(int(e)) for e in chosen)
    return f"{'not chosen' if slot is None else 'chosen'}: the token's row of the table says {names}"


def _choice(trace: Trace, routing: Routing, index: Index, weights: Mapping) -> list[str]:
    """Say what a share is chosen by, where that is not the share."""
    choice = routing.choice
    biases = [weights[w] for w in choice.weights if w in weights]
    value = float(choice.values[index])
    if choice.inputs == (routing.shares.name,) and len(biases) == 1:
        x, b = float(routing.shares.values[index]), float(biases[0].dequantize().reshape(-1)[index[1]])
        if agrees(x + b, choice, index, abs(b)):
            return [f"for the choice alone {number(x)} {plus(b)} = {number(value)}"]
    what = "its score" if choice.name in routing.shares.inputs else choice.formula
    return [f"for the choice alone {what} = {number(value)}"]


def _chosen(routing: Routing, token: int, expert: int) -> list[str]:
    """Say which place an expert has among those that could be chosen; nothing where the trace chose otherwise."""
    by, chosen = routing.choice.values[token].astype(np.float64), routing.topk.values[token]
    told: list[str] = []
    if routing.groups is not None:
        told, by = _in_groups(routing.groups, by, token, expert)
        if not told:
            return []
    order = np.argsort(-by, kind="stable")
    if not np.array_equal(order[: len(chosen)], chosen):
        return []
    if np.isneginf(by[expert]):
        return [*told, f"not chosen: only the {int(np.isfinite(by).sum())} experts of those groups take part"]
    place = int(np.flatnonzero(order == expert)[0]) + 1
    last = f"the last of the {len(chosen)} chosen has {number(by[chosen[-1]])}"
    if place > len(chosen):
        return [*told, f"not chosen: place {place} of {len(by)} with {number(by[expert])}, {last}"]
    return [
        *told,
        f"chosen: place {place} of the {len(chosen)} largest of {len(by)}, with {number(by[expert])}",
    ]


def _in_groups(groups: TracedTensor, by: np.ndarray, token: int, expert: int) -> tuple[list[str], np.ndarray]:
    """Say how the group of an expert fares; returns what experts are chosen by, with other groups ruled out."""
    match = GROUPS.fullmatch(groups.formula)
    if match is None:
        return [], by
    each = by.reshape(int(match["all"]), -1)
    best = -np.sort(-each, axis=1)[:, :BEST_OF_GROUP]
    sums, open_ = best.sum(axis=1), groups.values[token]
    order = np.argsort(-sums.astype(np.float32), kind="stable")[: len(open_)]
    if not np.array_equal(order, open_):
        return [], by
    group = expert // each.shape[1]
    terms = f"{number(best[group][0])}" + "".join(f" {plus(b)}" for b in best[group][1:])
    among = "among" if group in open_ else "not among"
    told = (
        f"its group {group} has {terms} = {number(sums[group])}: {among} the {len(open_)} best of {len(each)}"
    )
    allowed = np.isin(np.arange(len(each)), open_)
    return [told], np.where(allowed[:, None], each, -np.inf).reshape(-1)


def weight(tensor: TracedTensor, inputs: Sequence[TracedTensor], index: Index, weights) -> list[str]:
    """Work out the weight of a chosen expert; nothing where the arithmetic does not end at it."""
    match = WEIGHTS.fullmatch(tensor.formula)
    if match is None or len(inputs) != 2 or inputs[1].values.shape != tensor.values.shape:
        return []
    token, slot = index
    mine = inputs[0].values[token][inputs[1].values[token]].astype(np.float64)
    lines: list[str] = []
    if match["share"].startswith("softmax"):
        lines, mine = _late(mine, slot)
    got = float(mine[slot])
    if match["normed"]:
        total = max(float(mine.sum()), LEAST_SUM)
        lines.append(f"{number(got)} / {_spelled(mine, total)} = {number(got / total)}")
        got /= total
    if match["scale"]:
        scale = float(match["scale"])
        lines.append(f"{number(got)} × {match['scale']} = {number(got * scale)}")
        got *= scale
    if not agrees(got, tensor, index):
        return []
    return lines or [f"the share of expert {int(inputs[1].values[index])}, as it is: {number(got)}"]


def _late(scores: np.ndarray, slot: int) -> tuple[list[str], np.ndarray]:
    """Say what softmax makes of the chosen experts' scores; returns the shares too."""
    powers = np.exp(scores - scores.max())
    total, own = float(powers.sum()), float(powers[slot])
    return [
        f"e^(score − highest) = e^({number(scores[slot])} {plus(-scores.max())}) = {number(own)}",
        f"{number(own)} / {_spelled(powers, total)} = {number(own / total)}",
    ], powers / total


def _spelled(terms: np.ndarray, total: float) -> str:
    """Write a sum of a few terms, or of many what it comes to."""
    if len(terms) > MOST_NAMED:
        return f"{number(total)}, the sum of the {len(terms)} chosen,"
    return f"({' + '.join(number(t) for t in terms)})"
