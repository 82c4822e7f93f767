"""Comparing two models on the same tokens, in lock-step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refgguf.compare.traces import THRESHOLD, Comparison, compare_traces
from refgguf.errors import CompareError
from refgguf.model import Model

TOKENIZER_KEYS = (
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.merges",
)


def compare_models(
    a: Model,
    b: Model,
    ids: Iterable[int],
    *,
    target: Iterable[int] | None = None,
    taps: str | Iterable[str] = "all",
    threshold: float = THRESHOLD,
    numerics: Sequence[str | None] = (None, None),
) -> Comparison:
    """Run the same tokens through two models and compare everything on the way.

    Args:
        a: the reference.
        b: what is held against it, such as a quantization of it.
        ids: token ids.
        target: what a decoder has written so far, where an encoder reads `ids`; as in `Model.trace`.
        taps: which taps, as in `Model.trace`.
        threshold: relative L2 above which a tap counts as different.
        numerics: of the first and of the second model; their defaults if None.

    Raises:
        CompareError: the models have different tokenizers or shapes; the message says how they differ.
    """
    check_comparable(a, b)
    ids, target = list(ids), None if target is None else list(target)
    first, second = (
        model.trace(ids, taps, target=target, numerics=how)
        for model, how in zip((a, b), numerics, strict=True)
    )
    return compare_traces(first, second, threshold=threshold)


def check_comparable(a: Model, b: Model) -> None:
    """Raise CompareError unless two models have the same architecture, vocabulary and shapes."""
    names = f"{a.path.name} and {b.path.name} cannot be compared"
    if a.file.architecture != b.file.architecture:
        raise CompareError(
            f"{names}: their architectures are {a.file.architecture} and {b.file.architecture}"
        )
    for key in TOKENIZER_KEYS:
        left, right = a.file.metadata.get(key), b.file.metadata.get(key)
        if isinstance(left, str) or isinstance(right, str) or left is None or right is None:
            if left != right:
                raise CompareError(f"{names}: {key} is {left!r} in the first, {right!r} in the second")
        elif len(left) != len(right):
            raise CompareError(
                f"{names}: {key} has {len(left)} entries in the first, {len(right)} in the second"
            )
        else:
            for index, (x, y) in enumerate(zip(left, right, strict=True)):
                if x != y:
                    raise CompareError(f"{names}: {key}[{index}] is {x!r} in the first, {y!r} in the second")
    _check_shapes(a, b, names)


def _check_shapes(a: Model, b: Model, names: str) -> None:
    needed = {need.name for model in (a, b) for need in model.network.needs()}
    for name in sorted(needed):
        left, right = a.file.tensors.get(name), b.file.tensors.get(name)
        if left is None and right is None:
            continue
        if left is None or right is None:
            raise CompareError(f"{names}: only the {'second' if left is None else 'first'} has {name}")
        if left.shape != right.shape:
            raise CompareError(
                f"{names}: {name} has shape {left.shape} in the first, {right.shape} in the second"
            )
