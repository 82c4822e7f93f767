"""Scales: which value has which place on its kind's colour map.

One scale per kind, the same in all layers, so that layers can be compared. It reaches to the 99.5th percentile of
the magnitudes, since a few outliers would leave everything else pale; what lies beyond is counted, drawn in a colour
of its own and named in the legend. Large tensors are seen pooled, as the value farthest from zero in each group, so
the percentile is taken after such a pooling, always of the same size: a scale depends on the values alone, not on
how they are looked at.

Some models keep a few huge values all the time: the first token's row of the residual stream is often a thousand
times larger than any other, and the stream itself grows from layer to layer. On an even scale everything else would
be as pale as zero. Such a kind gets a bent scale: even near zero, each further step of colour a factor rather than a
sum (the inverse hyperbolic sine). The legend shows the values at equal steps of colour, and says that it is bent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10

import numpy as np

from refgguf.viz.scene.planes import ABSENT

PERCENTILE = 99.5
MOST = 75.0  # percentile of the tensors whose own percentile a scale reaches
# when the largest magnitude is this close to the percentile, the scale simply reaches to it
NEAR = 1.5
# cells that rows and columns of a tensor are pooled to before the percentile is taken
CELLS = 64
# probabilities are read by their size: their scales are always even
EVEN = ("attention", "router")
# a scale is bent where it reaches this many times farther than the large values of a usual tensor; it stays even up
# to about this share of those, so that they stand well apart from zero
UNEVEN, EVEN_SHARE = 9.0, 0.4
LARGE = 90.0  # percentile of the magnitudes of one tensor
USUAL = 10.0  # percentile of that over the tensors: a few tensors may be pale, most must not
# a scale that was in use is kept until this share of the values lies beyond it, so that runs can be compared
OUTGROWN = 0.01
WIDE = 4.0  # and until it is this many times as wide as they need
# beyond this the distance between a scale's ends would no longer be a float32: what is larger lies beyond the scale
MOST_HIGH = 1e38
# a scale that reaches less far is bent at its end, which leaves it nearly even: bending is done in double precision,
# while the shader takes the smallest float32 for zero
LEAST_EVEN = 1e-30
# percentiles come from at most this many cells, evenly spaced, of each tensor
SAMPLE = 200_000


@dataclass(frozen=True)
class Scale:
    """The scale of one kind of tensor.

    Attributes:
        kind: the kind.
        low: value at the lower end of the colours: -high if signed, else 0.
        high: value at their upper end.
        minimum: least finite value anywhere.
        maximum: greatest finite value anywhere.
        n_values: how many values there are.
        n_beyond: how many finite ones lie outside low … high.
        n_nan: how many are NaN.
        n_infinite: how many are infinite.
        knee: where the scale bends: about even up to it, by factors beyond; 0 for an even scale.
    """

    kind: str
    low: float
    high: float
    minimum: float = 0.0
    maximum: float = 0.0
    n_values: int = 0
    n_beyond: int = 0
    n_nan: int = 0
    n_infinite: int = 0
    knee: float = 0.0

    @property
    def signed(self) -> bool:
        """Whether the scale has a negative half."""
        return self.low < 0

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end on the even axis of colours."""
        low, high = self.bend(np.array([self.low, self.high], np.float32))
        return float(low), float(high)

    def bend(self, values: np.ndarray) -> np.ndarray:
        """Return where values stand on the even axis of colours: the values themselves on an even scale.

        Args:
            values: any shape, float32; what was not computed (ABSENT) stays as it is.
        """
        if not self.knee:
            return values
        values = np.asarray(values, np.float32)
        # in double precision: no finite value divided by a small knee may become infinite
        bent = np.arcsinh(values.astype(np.float64) / self.knee).astype(np.float32)
        return np.where(values == ABSENT, ABSENT, bent)

    def unbend(self, places: np.ndarray) -> np.ndarray:
        """Return the values that stand at places of the even axis of colours."""
        return np.sinh(places) * self.knee if self.knee else places


def scale_of(kind: str, arrays: Iterable[np.ndarray]) -> Scale:
    """Make the scale of a kind from all its tensors.

    Args:
        kind: the kind.
        arrays: its tensors, any shapes.
    """
    arrays = [a for a in arrays if a.size]
    finite = [np.isfinite(a) for a in arrays]
    whole = [bool(f.all()) for f in finite]
    numbers = [a.reshape(-1) if ok else a[f] for a, f, ok in zip(arrays, finite, whole, strict=True)]
    numbers = [n for n in numbers if n.size]
    minimum = min((float(n.min()) for n in numbers), default=0.0)
    maximum = max((float(n.max()) for n in numbers), default=0.0)
    largest = max(-minimum, maximum, 0.0)
    cells = [
        pooled_magnitudes(a, None if ok else f).reshape(-1)
        for a, f, ok in zip(arrays, finite, whole, strict=True)
    ]
    sample = [c[:: max(1, c.size // SAMPLE)] for c in cells]
    sample = [s[np.isfinite(s)].astype(np.float64) for s in sample]
    usual = _reach(sample) if numbers else 0.0
    high = largest if largest <= usual * NEAR else usual
    high = min(round_up(high), MOST_HIGH) if high > 0 else 1.0
    low = -high if minimum < 0 else 0.0
    return Scale(
        kind,
        low,
        high,
        minimum,
        maximum,
        n_values=sum(a.size for a in arrays),
        n_beyond=_beyond(numbers, low, high),
        n_nan=sum(int(np.isnan(a).sum()) for a, ok in zip(arrays, whole, strict=True) if not ok),
        n_infinite=sum(int(np.isinf(a).sum()) for a, ok in zip(arrays, whole, strict=True) if not ok),
        knee=_knee(kind, high, typical_of(cells)),
    )


def _knee(kind: str, high: float, typical: float) -> float:
    """Return where a scale bends that reaches so far, 0 if nowhere; `typical` from `typical_of`."""
    if kind not in EVEN and 0 < typical < high / UNEVEN:
        return round_up(EVEN_SHARE * typical)
    return high if high < LEAST_EVEN else 0.0


def kept(scale: Scale, before: Scale | None, arrays: Iterable[np.ndarray]) -> Scale:
    """Return a scale with the ends of the one that was in use before, if the values have not outgrown those.

    Args:
        scale: made from the values alone.
        before: what the same kind was read against, in an earlier run; None if there was none.
        arrays: the values.
    """
    if before is None or (before.kind, before.signed) != (scale.kind, scale.signed):
        return scale
    n_beyond = _beyond([a[np.isfinite(a)] for a in arrays], before.low, before.high)
    outgrown = n_beyond > OUTGROWN * max(scale.n_values, 1) or before.high > WIDE * scale.high
    same = replace(scale, low=before.low, high=before.high, knee=before.knee, n_beyond=n_beyond)
    return scale if outgrown else same


def _beyond(numbers: Iterable[np.ndarray], low: float, high: float) -> int:
    return sum(int(((n < low) | (n > high)).sum()) for n in numbers)


def _reach(sample: Iterable[np.ndarray]) -> float:
    """Return how far a scale reaches: for all values together, and for most tensors by themselves, small ones too."""
    sample = [s for s in sample if s.size]
    each = percentiles(sample, PERCENTILE)
    return max(float(np.percentile(np.concatenate(sample), PERCENTILE)), float(np.percentile(each, MOST)))


def typical_of(cells: Iterable[np.ndarray]) -> float:
    """Return how large the large values of a usual tensor are, from pooled magnitudes; 0 if all are zero."""
    large = []
    for magnitudes in cells:
        sample = magnitudes[:: max(1, magnitudes.size // SAMPLE)]
        sample = sample[np.isfinite(sample) & (sample > 0)]
        if sample.size:
            large.append(sample)
    return float(np.percentile(percentiles(large, LARGE), USUAL)) if large else 0.0


def percentiles(samples: Sequence[np.ndarray], percent: float) -> np.ndarray:
    """Return a percentile of each sample, (sample,) float64; those of one size are taken together, which is faster."""
    sizes, found = np.array([s.size for s in samples]), np.zeros(len(samples))
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        found[alike] = np.percentile(np.stack([samples[i] for i in alike]), percent, axis=1)
    return found


def pooled_magnitudes(values: np.ndarray, finite: np.ndarray | None = None) -> np.ndarray:
    """Return the greatest magnitude in each group along the first and last axis, at most CELLS groups along each.

    Args:
        values: any shape; (head, query, key) tensors are pooled along queries and keys.
        finite: which values are finite, of the same shape: the others are left out, and a group of nothing else is
            NaN. All are if None.
    """
    magnitudes, greatest = np.abs(values), np.maximum
    if finite is not None:
        magnitudes, greatest = np.where(finite, magnitudes, np.float32(np.nan)), np.fmax
    for axis in {max(values.ndim - 2, 0) if values.ndim != 3 else 1, values.ndim - 1}:
        n = values.shape[axis]
        if n > CELLS:
            starts = np.arange(0, n, -(-n // CELLS))
            magnitudes = greatest.reduceat(magnitudes, starts, axis=axis)
    return magnitudes


def round_up(value: float) -> float:
    """Round a positive number up to two digits, so that the legend prints it exactly."""
    step = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{ceil(value / step - 1e-9) * step:.2g}")
