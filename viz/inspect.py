"""What the inspector says of a tensor, in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refgguf.taps import Tap
from refgguf.trace import TracedTensor
from refgguf.viz.error_figures import block_error, pair_at
from refgguf.viz.scene.anatomy import stack_words
from refgguf.viz.scene.build import Scene
from refgguf.viz.scene.errors import ErrorPlane
from refgguf.viz.scene.parts import Box, pressed_words
from refgguf.viz.scene.picking import Hit
from refgguf.viz.scene.planes import ChosenCut, HiddenCut
from refgguf.viz.state import ShownFile

N_BINS = 48
N_EXTREMES = 3
MANY_TIMES = 1e4  # from where a relative error is written with an exponent


@dataclass(frozen=True)
class Statistics:
    """Figures of a tensor's finite values.

    Attributes:
        minimum: the least.
        maximum: the greatest.
        mean: their mean.
        deviation: their standard deviation.
        zeros: share that is exactly zero.
        n_nan: how many values are NaN.
        n_infinite: how many are infinite.
        lowest: places of the least finite values, the least first.
        highest: places of the greatest finite values, the greatest first.
        counts: (N_BINS,) values in equal steps from minimum to maximum.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    zeros: float
    n_nan: int
    n_infinite: int
    lowest: tuple[tuple[int, ...], ...]
    highest: tuple[tuple[int, ...], ...]
    counts: np.ndarray

    @property
    def heights(self) -> np.ndarray:
        """The counts as heights of bars from 0 to 1, logarithmic: one outlier is seen beside a thousand others."""
        return np.log1p(self.counts) / np.log1p(self.counts.max())


def statistics(values: np.ndarray) -> Statistics | None:
    """Measure a tensor; None if it holds no finite number."""
    numbers = np.asarray(values, np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return None
    flat = numbers[finite]
    low, high = float(flat.min()), float(flat.max())
    around = 0.5 * max(1.0, abs(low))  # where all values are the same
    ends = (low, high) if high > low else (low - around, low + around)
    counts, _ = np.histogram(flat, bins=N_BINS, range=ends)
    return Statistics(
        low,
        high,
        float(flat.mean()),
        float(flat.std()),
        float((flat == 0).mean()),
        int(np.isnan(numbers).sum()),
        int(np.isinf(numbers).sum()),
        _places(np.where(finite, numbers, np.inf)),
        _places(np.where(finite, -numbers, np.inf)),
        counts,
    )


def _places(values: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Return the places of the least values that are not infinite, of which there are some, the least first."""
    flat = values.reshape(-1)
    n = min(N_EXTREMES, int(np.isfinite(flat).sum()))
    least = np.argpartition(flat, n - 1)[:n]
    least = least[np.lexsort((least, flat[least]))]
    return tuple(tuple(int(i) for i in np.unravel_index(at, values.shape)) for at in least)


def names_of(tap: Tap) -> tuple[tuple[str, str], ...]:
    """Return a tap's names with the vocabulary that each is from."""
    names = [("refgguf", tap.name), ("llama.cpp", tap.llama_cpp), ("TransformerLens", tap.transformer_lens)]
    return tuple((vocabulary, name) for vocabulary, name in names if name)


def shape_words(tensor: TracedTensor) -> str:
    """Return a tensor's shape with its dimension words: "12 token × 8 head × 8 d_head"."""
    return " × ".join(f"{n:,} {axis}" for n, axis in zip(tensor.values.shape, tensor.axes, strict=True))


def place_words(
    tensor: TracedTensor, index: tuple[int, ...], token_texts: Sequence[str], source_texts: Sequence[str] = ()
) -> str:
    """Name a place in a tensor by its dimension words, and tokens by their texts too.

    Args:
        tensor: the tensor.
        index: a place in it.
        token_texts: texts of the tokens.
        source_texts: texts of those that an encoder has read; none where there is one text.
    """
    of_axis = {"token": token_texts, "query": token_texts, "key": token_texts, "source": source_texts}
    words = []
    for axis, at in zip(tensor.axes, index, strict=True):
        texts = of_axis.get(axis, ())
        word = f"{axis} {at} {texts[at]!r}" if at < len(texts) else f"{axis} {at}"
        words.append(word + (_covered(tensor.block, at, token_texts) if axis == "block" else ""))
    return ", ".join(words)


def _covered(block: tuple[int, ...], at: int, token_texts: Sequence[str]) -> str:
    """Say which tokens a block is made of, such as " (tokens 4 'a' … 7 'b')"; "" where nobody knows."""
    if not block:
        return ""
    step, length = block
    last = (at + 1) * step - 1
    ends = [f"{i} {token_texts[i]!r}" for i in (max(last - length + 1, 0), last) if i < len(token_texts)]
    return f" (tokens {' … '.join(ends)})"


def hit_words(scene: Scene, hit: Hit) -> str:
    """Say in one line what lies under the cursor: tensor, place, value."""
    box = scene.pieces.boxes[hit.box]
    if isinstance(scene.shown, ShownFile):
        tensor = scene.shown.file[box.plane.tap]
        value = "cannot be decoded" if hit.value is None else f"{hit.value:.6g}"
        if isinstance(box.plane, ErrorPlane):
            value = error_words(box.plane, hit)
        place = ", ".join(str(i) for i in hit.index or ())
        shape = " × ".join(f"{n:,}" for n in tensor.shape)
        return f"{tensor.name}   {shape}   {tensor.type}   [{place}]   =   {value}{_scale_words(box)}"
    tensor = scene.shown.trace.tensor(box.plane.tap)
    if hit.index is None:
        return f"{tensor.name}, {box.title}: not computed, the token went to other experts"
    place = place_words(tensor, hit.index, scene.shown.trace.token_texts, scene.shown.source_texts)
    if scene.shown.grid:
        hidden = isinstance(box.plane, HiddenCut) and box.plane.hidden[hit.row, hit.col]
        unseen = ", a key that the query cannot see" if hidden else ""
        return f"{stack_words(tensor.name)}layer {box.layer}, {place}   =   {hit.value:.6g}{unseen}"
    return f"{tensor.name}   {place}   =   {hit.value:.6g}{_left_out_words(box, hit)}{_scale_words(box)}"


def relative_words(part: float) -> str:
    """Write a relative error in per cent, also one that is as large as float32 goes."""
    return f"{part:.1%}" if part < MANY_TIMES else f"{100 * part:.3g}%"


def _left_out_words(box: Box, hit: Hit) -> str:
    """Say why a key of a pattern is left out; "" where it is not."""
    plane, at = box.plane, (hit.row, hit.col)
    if not isinstance(plane, ChosenCut) or not plane.left_out[at]:
        return ""
    if plane.outside is not None and plane.outside[at]:
        return ", outside the query's window"
    return ", not chosen by the indexer"


def _scale_words(box: Box) -> str:
    words = pressed_words(box.pressed)
    return f"   ({words})" if words else ""


def error_words(plane: ErrorPlane, hit: Hit) -> str:
    """Say in one line what quantization made of a weight: both values, the error, and that of its block."""
    pair, block = pair_at(plane, hit.row, hit.col), block_error(plane, hit.row, hit.col)
    if pair is None or block is None or hit.value is None:
        return "nothing to compare with"
    ours, theirs = pair
    return (
        f"{ours:.6g}   reference {theirs:.6g}   error {ours - theirs:+.3g}"
        f", {relative_words(hit.value)} of the tensor's RMS"
        f"   block {block.rms:.3g} RMS, {relative_words(block.relative)}"
    )
