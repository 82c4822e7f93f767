"""Comparing two traces of the same tokens, tap by tap, head by head, prediction by prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from refgguf.compare.measures import (
    cosine,
    jensen_shannon_distance,
    kl_divergence,
    largest_difference,
    mean_and_error,
    relative_l2,
    signal_to_noise,
    top_agreement,
)
from refgguf.errors import CompareError
from refgguf.trace import Trace

THRESHOLD = 0.1


@dataclass(frozen=True)
class TapComparison:
    """How far one tap's tensors lie apart.

    Attributes:
        name: canonical name.
        kind: its kind, as in `Tap`.
        layer: its layer, or None.
        relative_l2: ‖b − a‖ / ‖a‖. For whole numbers (chosen experts): the share that differs.
        cosine: of the angle between both.
        signal_to_noise: in decibels.
        largest_difference: max |b − a|.
    """

    name: str
    kind: str
    layer: int | None
    relative_l2: float
    cosine: float
    signal_to_noise: float
    largest_difference: float


@dataclass(frozen=True)
class HeadComparison:
    """How far one head's attention patterns lie apart.

    Attributes:
        name: of the tap of its attention's patterns.
        layer: its layer.
        head: its number.
        distance: Jensen–Shannon distance (0 … 1), mean over query tokens.
        worst_distance: the largest over query tokens.
        worst_query: the token where it is.
        same_best_key: share of query tokens that look most at the same token.
    """

    name: str
    layer: int
    head: int
    distance: float
    worst_distance: float
    worst_query: int
    same_best_key: float


@dataclass(frozen=True)
class LogitComparison:
    """How far the predictions lie apart, over all tokens.

    Attributes:
        n_tokens: how many predictions.
        kl_mean: mean Kullback–Leibler divergence from the reference, in nats.
        kl_error: standard error of that mean.
        kl_median: its median over tokens.
        kl_worst: the largest.
        worst_token: where it is.
        top1: share of tokens with the same best prediction.
        top5: mean share of the five best that both have.
        kl: (token) each token's divergence.
        same_best: (token) whether both predict the same.
    """

    n_tokens: int
    kl_mean: float
    kl_error: float
    kl_median: float
    kl_worst: float
    worst_token: int
    top1: float
    top5: float
    kl: tuple[float, ...]
    same_best: tuple[bool, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs over the same tokens.

    Attributes:
        a: what the reference is called.
        b: what is held against it.
        threshold: relative L2 above which a tap counts as different.
        taps: one entry a tap, in order of execution.
        heads: one entry an attention head.
        logits: the predictions, or None if the traces do not hold them.
        first: name of the first tap above the threshold, or None.
    """

    a: str
    b: str
    threshold: float
    taps: tuple[TapComparison, ...]
    heads: tuple[HeadComparison, ...]
    logits: LogitComparison | None
    first: str | None

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain lists, dictionaries and numbers."""
        return asdict(self)


def compare_traces(a: Trace, b: Trace, *, threshold: float = THRESHOLD) -> Comparison:
    """Compare two traces of the same tokens.

    Args:
        a: the reference.
        b: what is held against it.
        threshold: relative L2 above which a tap counts as different.

    Raises:
        CompareError: they are of different tokens, hold different taps, or tensors of different shapes.
    """
    check_traces(a, b)
    taps = tuple(_compare_tap(a, b, name) for name in a)
    return Comparison(
        a=_title(a),
        b=_title(b),
        threshold=threshold,
        taps=taps,
        heads=tuple(_compare_heads(a, b)),
        logits=_compare_logits(a["logits"], b["logits"]) if "logits" in a else None,
        first=next((tap.name for tap in taps if not tap.relative_l2 <= threshold), None),
    )


def texts_of(trace: Trace) -> tuple[list[int], list[int] | None]:
    """Return what to run to get such a trace: the tokens, and None; or what an encoder read, and the target."""
    tokens = trace.tokens.tolist()
    if "source" not in trace.model:
        return tokens, None
    return [int(token) for token in trace.model["source"]], tokens[1:]  # the first is the start token


def check_traces(a: Trace, b: Trace) -> None:
    """Raise CompareError unless both traces are of the same tokens and hold the same tensors."""
    read, own = ([list(x.model.get("source", ())) for x in (a, b)], [x.tokens.tolist() for x in (a, b)])
    for (x, y), whose in ((read, " that the encoder reads"), (own, "")):
        if x != y:
            raise CompareError(
                f"the traces are of different tokens{whose}: {len(x)} and {len(y)} of them, "
                f"different from token {_first_difference(x, y)} on; trace the same prompt with both"
            )
    only_a, only_b = [n for n in a if n not in b.taps], [n for n in b if n not in a.taps]
    if only_a or only_b:
        raise CompareError(
            f"the traces hold different taps: {_listed('the first', only_a)}{_listed('the second', only_b)}"
        )
    for name in a:
        if a[name].shape != b[name].shape:
            raise CompareError(
                f"{name} has shape {a[name].shape} in the first trace, {b[name].shape} in the second"
            )


def _listed(which: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"only {which} has {', '.join(names[:3])}{more}; "


def _first_difference(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _title(trace: Trace) -> str:
    name = str(trace.model.get("file") or trace.model.get("name") or "trace")
    return name if trace.numerics == "exact" else f"{name} ({trace.numerics} numerics)"


def _compare_tap(a: Trace, b: Trace, name: str) -> TapComparison:
    tap, x, y = a.taps[name], a[name], b[name]
    if x.dtype.kind in "iu":
        share = float((x != y).mean())
        return TapComparison(
            name, tap.kind, tap.layer, share, 1 - share, signal_to_noise(x, y), largest_difference(x, y)
        )
    return TapComparison(
        name,
        tap.kind,
        tap.layer,
        relative_l2(x, y),
        cosine(x, y),
        signal_to_noise(x, y),
        largest_difference(x, y),
    )


def _compare_heads(a: Trace, b: Trace) -> list[HeadComparison]:
    heads = []
    for name, tap in a.taps.items():
        if tap.axes[0] != "head" or len(tap.axes) != 3 or not name.endswith("attn_probs"):
            continue
        distances = jensen_shannon_distance(a[name], b[name])  # (head, query)
        same = a[name].argmax(axis=-1) == b[name].argmax(axis=-1)
        for head, row in enumerate(distances):
            worst = int(row.argmax())
            heads.append(
                HeadComparison(
                    name,
                    tap.layer,
                    head,
                    float(row.mean()),
                    float(row[worst]),
                    worst,
                    float(same[head].mean()),
                )
            )
    return heads


def _compare_logits(a: np.ndarray, b: np.ndarray) -> LogitComparison:
    kl = kl_divergence(a, b)
    mean, error = mean_and_error(kl)
    top1 = top_agreement(a, b, 1)
    worst = int(np.argmax(kl))
    return LogitComparison(
        n_tokens=len(kl),
        kl_mean=mean,
        kl_error=error,
        kl_median=float(np.median(kl)),
        kl_worst=float(kl[worst]),
        worst_token=worst,
        top1=float(top1.mean()),
        top5=float(top_agreement(a, b, 5).mean()),
        kl=tuple(map(float, kl)),
        same_best=tuple(bool(x == 1) for x in top1),
    )
