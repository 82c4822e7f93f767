"""Plans a requantization: which type each tensor of a model will get, and why."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refgguf.errors import HyperParameterError, InputError, UnknownQuantError, shown
from refgguf.kernels.quants import format_of, formats
from refgguf.tensor import Tensor
from refgguf.weights import mixes
from refgguf.weights.mixes import Mix, ModelFacts, Place

# architecture -> number of layers of its 70B model; Llama's 65B has as many and does not share keys
SEVENTY_BILLION = {"deci": 80, "jais2": 68, "llama": 80, "olmo": 80, "qwen2": 80}
MAY_BE_65B = ("llama",)


@dataclass(frozen=True)
class Choice:
    """What becomes of a tensor.

    Args:
        tensor: of the file that is read.
        type: what it will have.
        reason: why it is not what the mix says: kept, chosen, or a row that does not fit; else empty.
    """

    tensor: Tensor
    type: str
    reason: str = ""

    @property
    def is_copy(self) -> bool:
        """Whether its bytes are written as they are."""
        return self.type == self.tensor.type

    @property
    def nbytes(self) -> int:
        """Bytes it will take."""
        if self.is_copy:
            return self.tensor.nbytes
        quant = format_of(self.type)
        return self.tensor.n_values // quant.block_size * quant.type_size


@dataclass(frozen=True)
class Wishes:
    """What the user wants otherwise than the mix.

    Args:
        patterns: (regular expression, type); the first that is found in a tensor's name decides.
        output: type of output.weight, or None.
        embedding: type of token_embd.weight, or None.
        keep_output: leave output.weight as it is.
        pure: no mix, every tensor gets its type.
    """

    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()
    output: str | None = None
    embedding: str | None = None
    keep_output: bool = False
    pure: bool = False


def mix_of(name: str) -> Mix:
    """Return the mix of a name, in letters of any size: `q4_k_m`, `Q8_0`.

    Raises:
        UnknownQuantError: there is no such mix; the message lists them.
    """
    upper = name.upper().replace("-", "_")
    found = mixes.MIXES.get(mixes.ALIASES.get(upper, upper))
    if found is not None:
        return found
    known = ", ".join(mixes.MIXES)
    if upper in formats():
        raise UnknownQuantError(
            f"nothing can be quantized to {upper} here: that takes an importance matrix or a search through its grid, "
            f"which is not written; there are {known}",
            type=upper,
        )
    hint = _near(upper, [*mixes.MIXES, *mixes.ALIASES])
    raise UnknownQuantError(f"there is no type or mix {shown(name)}; {hint}there are {known}", type=name)


def _near(name: str, names: Iterable[str]) -> str:
    """Return the part of a message that tells the name that was probably meant."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}? " if near else ""


def type_of(name: str) -> str:
    """Return the name of a type that tensors can be quantized to.

    Raises:
        UnknownQuantError: there is none of this name.
    """
    quant = formats().get(name.upper())
    if quant is None or quant.quantize is None:
        able = ", ".join(sorted(known for known, other in formats().items() if other.quantize is not None))
        raise UnknownQuantError(f"no tensor can be quantized to {shown(name)}; there are {able}", type=name)
    return quant.name


def pattern_of(text: str) -> tuple[re.Pattern[str], str]:
    """Return the expression and type of `PATTERN=TYPE`.

    Raises:
        InputError: it is not of that form.
    """
    pattern, equals, kind = text.rpartition("=")
    if not equals or not pattern:
        raise InputError(f"--tensor-type: {shown(text)!r} is not PATTERN=TYPE, such as attn_v=q6_k")
    try:
        return re.compile(pattern), type_of(kind)
    except re.error as error:
        raise InputError(f"--tensor-type: {shown(pattern)!r} is no regular expression, {error}") from None


def facts_of(metadata: Mapping[str, Any], architecture: str | None) -> ModelFacts:
    """Return what the rules ask about a model.

    Raises:
        HyperParameterError: a number is absurd.
    """
    name = architecture or ""

    def number(key: str, default: int) -> int:
        value = metadata.get(f"{name}.{key}", default)
        if not isinstance(value, int | float | str):
            value = int(np.asarray(value).reshape(-1)[0]) if len(value) else default  # one number a layer
        if not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise HyperParameterError(
                f"{shown(name)}.{key}: expected a number of 0 or more, got {value!r:.40}"
            )
        return value

    n_heads = number("attention.head_count", 0)
    n_kv_heads, n_layers = number("attention.head_count_kv", n_heads), number("block_count", 0)
    return ModelFacts(
        architecture=name,
        n_layers=n_layers,
        n_experts=number("expert_count", 0),
        queries_per_key=n_heads // n_kv_heads if n_kv_heads else 0,
        is_70b=SEVENTY_BILLION.get(name) == n_layers != 0
        and (n_heads != n_kv_heads or name not in MAY_BE_65B),
    )


def plan(tensors: Iterable[Tensor], mix: Mix, facts: ModelFacts, wishes: Wishes = Wishes()) -> list[Choice]:
    """Choose a type for each tensor as llama.cpp does without an importance matrix.

    Args:
        tensors: all of a model.
        mix: what is wanted.
        facts: about the model.
        wishes: what is wanted otherwise.

    Returns:
        A choice for each tensor, in llama.cpp's order: what belongs to no layer first, then layer by layer, by name.
    """
    ordered = sorted(tensors, key=_in_order)
    planner = _Planner(mix, facts, wishes, ordered)
    return [planner.choose(tensor) for tensor in ordered]


def _in_order(tensor: Tensor) -> tuple[int, bytes]:
    match = re.match(r"blk\.(\d+)", tensor.name)
    return int(match[1]) if match else -1, tensor.name.encode()


def _holds_weights(tensor: Tensor) -> bool:
    """Tell whether a tensor can be decoded and is more than a table of whole numbers."""
    quant = formats().get(tensor.type)
    return quant is not None and not (quant.block_size == 1 and quant.fields[0].kind.startswith("i"))


class _Planner:
    """Chooses types one after the other; the rules count the tensors of some categories."""

    def __init__(self, mix: Mix, facts: ModelFacts, wishes: Wishes, tensors: list[Tensor]):
        self.mix, self.facts, self.wishes = mix, facts, wishes
        categories = [mixes.category_of(tensor.name) for tensor in tensors]
        self.is_tied = "output" not in categories
        self.n_attention_values = categories.count("attention value")
        self.seen = dict.fromkeys(mixes.RULES, 0)

    def choose(self, tensor: Tensor) -> Choice:
        """Return the choice for the next tensor."""
        category = mixes.category_of(tensor.name)
        allowed = mixes.may_be_quantized(tensor.name, tensor.shape, self.facts.architecture)
        if not allowed or not _holds_weights(tensor) or (category == "output" and self.wishes.keep_output):
            return Choice(tensor, tensor.type, "kept")
        wished = {"embedding": self.wishes.embedding, "output": self.wishes.output}.get(category)
        if wished is not None and not (tensor.name.startswith("per_layer") and self._override(tensor)):
            return self._fitting(tensor, wished, "chosen")
        if format_of(self.mix.type).block_size == 1:
            return Choice(tensor, self.mix.type)
        if (override := self._override(tensor)) is not None:
            return self._fitting(tensor, override, "chosen")
        return self._fitting(tensor, self.mix.type if self.wishes.pure else self._by_rules(tensor, category))

    def _override(self, tensor: Tensor) -> str | None:
        return next((kind for pattern, kind in self.wishes.patterns if pattern.search(tensor.name)), None)

    def _fitting(self, tensor: Tensor, kind: str, reason: str = "") -> Choice:
        """Return the type, or one whose blocks fit the tensor's rows."""
        if tensor.d_in % format_of(kind).block_size == 0:
            return Choice(tensor, kind, reason)
        fallback = mixes.FALLBACKS.get(kind, kind)
        if tensor.d_in % format_of(fallback).block_size:
            fallback = mixes.LAST_FALLBACK
        return Choice(
            tensor, fallback, f"{tensor.d_in:,} is no multiple of {kind}'s {format_of(kind).block_size}"
        )

    def _by_rules(self, tensor: Tensor, category: str) -> str:
        """Return what the mix says for a tensor."""
        facts, name = self.facts, tensor.name
        if any(part in name for part in mixes.EIGHT_BITS_OF.get(facts.architecture, ())):
            return mixes.EIGHT_BITS
        if category == "output" or (category == "embedding" and self.is_tied):
            return self._output_type(tensor)
        if self.mix.name == mixes.EXPERT_MIX:
            return self._expert_type(tensor, category)
        place = self._place(category, name)
        kind = self._first_fitting(category, place)
        if category == "attention value":
            if facts.is_70b:
                kind = mixes.RAISED_IN_70B.get(kind, kind)
            if facts.n_experts == 8:
                kind = mixes.EIGHT_BITS
        return kind

    def _first_fitting(self, category: str, place: Place) -> str:
        rules: Iterable[Any] = mixes.RULES.get(category, ())
        found = (rule.type for rule in rules if self.mix.name in rule.mixes and rule.when(place))
        return next(found, self.mix.type)

    def _place(self, category: str, name: str) -> Place:
        """Count a tensor of a category."""
        i, n = self.seen.get(category, 0), self.facts.n_layers
        if category in self.seen:
            self.seen[category] += 1
        if category == "attention value":
            n = self.n_attention_values
        elif category == "ffn down" and self.facts.n_experts > 1:
            i = (
                mixes.layer_number(name) if mixes.layer_number(name) is not None else i
            )  # experts come in any order
        return Place(i, n, self.facts)

    def _output_type(self, tensor: Tensor) -> str:
        fits = tensor.d_in % format_of(self.mix.type).block_size == 0
        if self.mix.name == mixes.EXPERT_MIX or not fits or self.facts.architecture in mixes.FALCON:
            return mixes.EIGHT_BITS
        return self.mix.type if self.mix.type == mixes.EIGHT_BITS else mixes.OUTPUT

    def _expert_type(self, tensor: Tensor, category: str) -> str:
        """Return the type in the mix that gives 4-bit floats to experts only."""
        is_stack = len(tensor.shape) > 2 and tensor.shape[-3] > 1
        may_be_other = self.facts.architecture in mixes.STACKS_OF_OTHER and not category.startswith("ffn")
        return self.mix.type if is_stack and not may_be_other else mixes.EIGHT_BITS
