"""Checks every value of a file: our decoding against every other decoder at hand, bit by bit.

Two values are the same when their bits are, or when both are NaN (which NaN it is may depend on the compiler; such
are counted apart). The plain twins are slow and see some blocks of each tensor, evenly spread, unless all are asked
for; the other decoders see every value. Memory stays small: a piece of a tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from refgguf.errors import GGUFError, QuantError
from refgguf.kernels.quants import QuantFormat
from refgguf.tensor import Tensor
from refgguf.weights.blocks import blocks_of, decoded, format_of_tensor, little_endian, pieces
from refgguf.weights.references import Reference

SAMPLE = 16  # blocks of each tensor that the plain twins decode


@dataclass(frozen=True)
class Worst:
    """Where two decoders differ most.

    Attributes:
        row: counted over all axes but the last.
        col: within the row.
        ours: our value.
        theirs: the other decoder's.
    """

    row: int
    col: int
    ours: np.float32
    theirs: np.float32


@dataclass(frozen=True)
class Check:
    """What one decoder said of one tensor.

    Attributes:
        reference: the decoder's name.
        n_compared: values compared; 0 where it does not know the type.
        n_different: values that differ.
        n_nan: values that are NaN in both and differ in their bits; not among the different.
        worst: where the difference is largest, or None.
    """

    reference: str
    n_compared: int
    n_different: int
    n_nan: int
    worst: Worst | None


@dataclass(frozen=True)
class Verdict:
    """What all decoders said of one tensor.

    Attributes:
        tensor: the tensor's name.
        type: its type.
        n_values: all its values.
        checks: one for each decoder; empty where the tensor cannot be decoded.
        problem: why it cannot be decoded, or None.
    """

    tensor: str
    type: str
    n_values: int
    checks: tuple[Check, ...]
    problem: str | None = None

    @property
    def n_different(self) -> int:
        """Values in which any decoder differs, the largest number of them."""
        return max((check.n_different for check in self.checks), default=0)


def verify(
    tensors: Iterable[Tensor],
    references: tuple[Reference, ...],
    *,
    sample: int | None = SAMPLE,
    progress: Callable[[int, str], None] | None = None,
) -> Iterator[Verdict]:
    """Check tensors one after the other.

    Args:
        tensors: of an open file.
        references: the decoders to compare with.
        sample: how many blocks of a tensor the slow ones see; None for all.
        progress: called with the number of values done so far and the name of the tensor.

    Yields:
        A verdict for each tensor; a tensor that cannot be decoded gets one that says why.
    """
    done = 0
    for tensor in tensors:

        def step(n: int, before: int = done, name: str = tensor.name) -> None:
            if progress is not None:
                progress(before + n, name)

        step(0)
        try:
            checks = verify_tensor(tensor, references, sample=sample, progress=step)
            yield Verdict(tensor.name, tensor.type, tensor.n_values, checks)
        except (QuantError, GGUFError) as error:
            yield Verdict(tensor.name, tensor.type, tensor.n_values, (), str(error))
        done += tensor.n_values


def verify_tensor(
    tensor: Tensor,
    references: tuple[Reference, ...],
    *,
    sample: int | None = SAMPLE,
    progress: Callable[[int], None] | None = None,
) -> tuple[Check, ...]:
    """Check one tensor.

    Args:
        tensor: of an open file.
        references: the decoders to compare with.
        sample: how many blocks the slow ones see; None for all.
        progress: called with the number of values done so far.

    Raises:
        UnknownQuantError: the type cannot be decoded.
        TruncatedFileError: the file does not hold the tensor's bytes.
    """
    quant = format_of_tensor(tensor)
    tallies = [_Tally(reference, tensor.d_in) for reference in references]
    spared = [tally for tally in tallies if tally.reference.is_slow and sample is not None]
    for first, blocks in pieces(tensor):
        ours = decoded(quant, blocks)
        for tally in tallies:
            if tally not in spared:
                tally.add(quant, blocks, ours, first + np.arange(len(blocks)))
        if progress is not None:
            progress((first + len(blocks)) * quant.block_size)
    blocks = blocks_of(tensor)
    if spared and len(blocks):
        chosen = np.unique(
            np.linspace(0, len(blocks) - 1, num=min(sample or 1, len(blocks))).astype(np.int64)
        )
        some = little_endian(tensor, blocks[chosen])
        for tally in spared:
            tally.add(quant, some, decoded(quant, some), chosen)
    return tuple(tally.check() for tally in tallies)


class _Tally:
    """Counts the differences from one decoder over the pieces of a tensor."""

    def __init__(self, reference: Reference, d_in: int):
        self.reference, self.d_in = reference, d_in
        self.n_compared = self.n_different = self.n_nan = 0
        self.worst: Worst | None = None
        self.largest = -1.0

    def add(self, quant: QuantFormat, blocks: np.ndarray, ours: np.ndarray, numbers: np.ndarray) -> None:
        """Compare blocks, which have these numbers within the tensor."""
        theirs = self.reference.decode(quant, blocks)
        if theirs is None:
            return
        self.n_compared += ours.size
        differing = ours.view(np.uint32) != theirs.view(np.uint32)
        if not differing.any():
            return
        nan = differing & np.isnan(ours) & np.isnan(theirs)
        differing &= ~nan
        self.n_nan += int(nan.sum())
        self.n_different += int(differing.sum())
        rows, columns = np.nonzero(differing)
        if not len(rows):
            return
        a, b = ours[rows, columns], theirs[rows, columns]
        with np.errstate(all="ignore"):
            distance = np.abs(a.astype(np.float64) - b)
        distance[np.isnan(distance)] = np.inf  # a number beside a NaN is as far off as can be
        at = int(np.argmax(distance))
        if distance[at] > self.largest:
            self.largest = float(distance[at])
            value = int(numbers[rows[at]]) * quant.block_size + int(columns[at])
            self.worst = Worst(value // self.d_in, value % self.d_in, a[at], b[at])

    def check(self) -> Check:
        """Return what was counted."""
        return Check(self.reference.name, self.n_compared, self.n_different, self.n_nan, self.worst)
