"""Checking a model operation by operation against another engine's run, so that errors do not add up.

Every tap that the other run holds is replaced by its tensor as soon as ours has been computed: each operation then
starts from the other engine's own inputs, and its difference is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from refgguf.compare.measures import differing_bits, largest_difference, relative_l2
from refgguf.compare.traces import texts_of
from refgguf.errors import CompareError
from refgguf.model import Model
from refgguf.taps import Tap
from refgguf.trace import Trace

# relative L2 error of one operation that two honest engines may show (measured in the tests of this module)
ROUNDING = 5e-6  # float32 sums in another order; exp and tanh that differ in the last bits
HALF_TABLE = 1e-3  # GELU looked up in a table of half-precision numbers
EIGHT_BIT_ACTIVATIONS = 3e-2  # activations rounded to 8 bits before they meet quantized weights
HALF_ACTIVATIONS = 6e-3  # activations rounded to float16 or bfloat16 before they meet weights of that type
HALF_TYPES = ("F16", "BF16")
# what we compute ourselves on the way to a look-up may fall to the table's neighbouring entry, 2^-11 of that number
# away; the largest of a few thousand numbers, four times as large as most, falls so: 4 · 2^-11 / √3000
NEIGHBOUR = 1e-4
# and to the next of 8-bit activations, 1/127 of the block's largest away: likewise 4 / 127 / √250
EIGHT_BIT_NEIGHBOUR = 2e-3


@dataclass(frozen=True)
class OperationComparison:
    """How far one operation's result lies from the other engine's, given the same inputs.

    Attributes:
        name: canonical name of the tap.
        relative_l2: ‖ours − theirs‖ / ‖theirs‖.
        largest_difference: max |ours − theirs|.
        equal_bits: whether they are the same in every bit.
        n_values: how many values there are.
        n_different: how many of them differ in any bit.
        largest_step: by how many float32 numbers at most; 1 for neighbours.
        tolerance: relative L2 that rounding explains here.
        end_to_end: relative L2 when nothing is replaced and errors add up.
        end_to_end_different: how many values differ then in any bit.
    """

    name: str
    relative_l2: float
    largest_difference: float
    equal_bits: bool
    n_values: int
    n_different: int
    largest_step: int
    tolerance: float
    end_to_end: float
    end_to_end_different: int

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.relative_l2 <= self.tolerance


def compare_operations(
    model: Model, other: Trace, *, numerics: str | None = None
) -> list[OperationComparison]:
    """Compare every operation with another engine's run of the same tokens.

    Args:
        model: the model.
        other: the other run, from position 0 on; taps that it lacks are computed from those that it has.
        numerics: "exact" or "llama.cpp"; the model's default if None.

    Returns:
        An entry for each tap of `other`, in order of execution.

    Raises:
        CompareError: a tensor has another shape than the model's.
    """
    ids, target = texts_of(other)
    ours = model.trace(ids, other.names, target=target, numerics=numerics)
    for name in other:
        if ours[name].shape != other[name].shape:
            raise CompareError(
                f"{name} has shape {other[name].shape} in the other run; the model makes {ours[name].shape} of it"
            )
    apart = forced(model, other, numerics=numerics)
    types = {name: tensor.type for name, tensor in model.file.tensors.items()}
    numerics = numerics or model.numerics
    return [
        OperationComparison(
            name,
            relative_l2(other[name], x),
            largest_difference(other[name], x),
            not differing_bits(other[name], x)[0],
            x.size,
            *differing_bits(other[name], x),
            tolerance(_steps(model.taps[name], model.taps, other), types, numerics),
            relative_l2(other[name], ours[name]),
            differing_bits(other[name], ours[name])[0],
        )
        for name, x in apart.items()
    ]


def forced(model: Model, other: Trace, *, numerics: str | None = None) -> dict[str, np.ndarray]:
    """Run the model on another engine's tensors.

    Args:
        model: the model.
        other: the other engine's run; tensors that it lacks are computed from those that it has.
        numerics: "exact" or "llama.cpp"; the model's default if None.

    Returns:
        What each operation made of the other engine's tensors, by tap, for the taps of `other`.
    """
    found: dict[str, np.ndarray] = {}

    def replace(x: np.ndarray, tap: Tap) -> np.ndarray:
        found[tap.name] = x.copy()
        return other[tap.name]

    with model.hooks(dict.fromkeys(other.names, replace)):
        ids, target = texts_of(other)
        model.trace(ids, (), target=target, numerics=numerics)
    return found


def _steps(tap: Tap, taps: Mapping[str, Tap], other: Trace) -> list[Tap]:
    """Return the taps computed since the other engine's tensors last came in: this one and those it does not show."""
    found, waiting = {}, [tap]
    while waiting:  # each once, however many ways lead to it
        step = waiting.pop()
        found[step.name] = step
        hidden = (name for name in step.inputs if name not in other.taps and name not in found)
        waiting.extend(taps[name] for name in hidden)
    return list(found.values())


def tolerance(steps: Iterable[Tap], types: Mapping[str, str], numerics: str) -> float:
    """Return the relative L2 error that rounding alone explains.

    Args:
        steps: the operations that the error comes from.
        types: type of every tensor by name.
        numerics: which arithmetic ours was.
    """
    steps, allowed = list(steps), ROUNDING
    ours = {step.name for step in steps}  # numbers that we computed, not the other engine
    for tap in steps:
        matrices = {types[name] for name in tap.weights if name.endswith(".weight")} - {"F32"}
        read_ours, half = bool(ours & set(tap.inputs)), matrices <= set(HALF_TYPES)
        if numerics == "llama.cpp":
            if matrices and read_ours and tap.kind != "embedding":
                allowed = max(allowed, NEIGHBOUR if half else EIGHT_BIT_NEIGHBOUR)
            if "gelu(" in tap.formula and (read_ours or tap.weights):
                allowed = max(allowed, NEIGHBOUR)
        elif matrices and tap.kind != "embedding":
            allowed = max(allowed, HALF_ACTIVATIONS if half else EIGHT_BIT_ACTIVATIONS)
        elif "gelu" in tap.formula:
            allowed = max(allowed, HALF_TABLE)
    return allowed
