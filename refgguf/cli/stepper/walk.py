"""Where we are in a forward pass, and how to get elsewhere. Knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refgguf.cli.stepper.slices import Slice, slice_of
from refgguf.errors import InputError
from refgguf.taps import unknown_tap

if TYPE_CHECKING:
    from refgguf.model import Model
    from refgguf.trace import Trace, TracedTensor

Tracer = Callable[..., "Trace"]


@dataclass(frozen=True)
class Text:
    """A text that goes through some of the operations: the model's, or the one that its encoder reads.

    Attributes:
        ids: its tokens.
        labels: their texts.
        operations: numbers of the operations that it goes through.
        axes: what the axis of its tokens may be called.
    """

    ids: Sequence[int]
    labels: Sequence[str]
    operations: range
    axes: tuple[str, ...] = ("token", "query")


class Walk:
    """A place in the forward pass of some tokens: a token and an operation.

    Args:
        model: the model.
        ids: token ids of the prompt; what an encoder reads, where a decoder follows.
        tracer: runs token ids, and where there is one the target, and returns their full trace.
        target: what such a decoder has written so far.

    Attributes:
        trace: everything that was computed.
        tensors: the operations' results in order of execution.
        texts: what goes through them, in that order.
        operation: number of the operation looked at.
        n_prompt: how many tokens the model was given; those from there on are its own.
    """

    def __init__(self, model: Model, ids: Sequence[int], tracer: Tracer, target: Sequence[int] | None = None):
        self.model = model
        self._tracer = tracer
        self.operation = 0
        self._tokens = [0, 0]  # where we are in each text
        self._run(ids, target)
        self.n_prompt = len(self.trace.tokens)

    def _run(self, ids: Sequence[int], target: Sequence[int] | None = None) -> None:
        self._ids = ids
        self.trace = self._tracer(ids) if target is None else self._tracer(ids, target)
        self.tensors: tuple[TracedTensor, ...] = self.trace.tensors
        self.index = {tensor.name: number for number, tensor in enumerate(self.tensors)}
        self.texts = tuple(text for text in self._texts() if text.operations)

    def _texts(self) -> Iterator[Text]:
        encoder, start = self.model.network.encoder, 0
        if encoder is not None:
            read = {tap.name for tap in encoder.taps()}
            start = sum(tensor.name in read for tensor in self.tensors)  # they come first
            labels = [self.model.token_text(token) for token in self._ids]
            yield Text(self._ids, labels, range(start), ("source",))
        yield Text(self.trace.tokens.tolist(), self.trace.token_texts, range(start, len(self.tensors)))

    def text_of(self, operation: int) -> Text:
        """Return the text that goes through an operation."""
        return next(text for text in self.texts if operation in text.operations)

    @property
    def text(self) -> Text:
        """The text that goes through the operation looked at."""
        return self.text_of(self.operation)

    @property
    def reads(self) -> bool:
        """Whether we are in an encoder, whose text the model does not continue."""
        return self.text.axes == ("source",)

    @property
    def token(self) -> int:
        """Number of the token looked at, in its text."""
        return self._tokens[self.reads]

    @token.setter
    def token(self, number: int) -> None:
        self._tokens[self.reads] = number

    @property
    def n_tokens(self) -> int:
        """How many tokens the text has."""
        return len(self.text.ids)

    @property
    def n_operations(self) -> int:
        """How many operations there are."""
        return len(self.tensors)

    @property
    def current(self) -> TracedTensor:
        """The result of the operation looked at, for all tokens."""
        return self.tensors[self.operation]

    def label(self, token: int | None = None, axis: str = "token") -> str:
        """Return the text of a token, the one looked at if None; of what the encoder reads for the axis "source"."""
        labels = self.texts[0].labels if axis == "source" else self.text.labels
        return labels[self.token if token is None else token]

    def slice(self, tensor: TracedTensor) -> Slice:
        """Return the part of a tensor that belongs to the token looked at; all of one of another text."""
        text = self.text_of(self.index[tensor.name])
        if text is not self.text:
            return Slice(tensor.values, tensor.axes)
        return slice_of(tensor, self.token, text.axes, causal=self.model.network.causal)

    def tensor(self, name: str) -> TracedTensor | None:
        """Return another operation's result, or None when there is none of this name."""
        return self.tensors[self.index[name]] if name in self.index else None

    def next(self) -> bool:
        """Go to the next operation, past the last to the next token, past that to the next text; False at the end."""
        operations = self.text.operations
        if self.operation + 1 in operations:
            self.operation += 1
        elif self.token + 1 < self.n_tokens:
            self.token += 1
            self.operation = operations[0]
        elif self.operation + 1 < self.n_operations:
            self.operation += 1
            self.token = 0
        else:
            return False
        return True

    def back(self) -> bool:
        """Go where `next` came from; False at the very start."""
        operations = self.text.operations
        if self.operation - 1 in operations:
            self.operation -= 1
        elif self.token > 0:
            self.token -= 1
            self.operation = operations[-1]
        elif self.operation > 0:
            self.operation -= 1
            self.token = self.n_tokens - 1
        else:
            return False
        return True

    def next_layer(self) -> bool:
        """Go to the first operation of the next layer (or of the model's end); False in the last one."""
        here = self.current.layer
        for number in range(self.operation + 1, self.n_operations):
            if self.tensors[number].layer != here:
                self.operation = number
                return True
        return False

    def previous_layer(self) -> bool:
        """Go to the start of this layer, from there to that of the layer before; False at the very start."""
        if self.operation == 0:
            return False
        here = self.tensors[self.operation - 1].layer
        number = self.operation - 1
        while number > 0 and self.tensors[number - 1].layer == here:
            number -= 1
        self.operation = number
        return True

    def next_token(self) -> bool:
        """Look at the same operation of the next token; False at the last one."""
        if self.token + 1 >= self.n_tokens:
            return False
        self.token += 1
        return True

    def previous_token(self) -> bool:
        """Look at the same operation of the token before; False at the first one."""
        if self.token == 0:
            return False
        self.token -= 1
        return True

    def first(self) -> bool:
        """Go to the first operation of this token."""
        start = self.text.operations[0]
        moved, self.operation = self.operation > start, start
        return moved

    def last(self) -> bool:
        """Go to the last operation of this token."""
        end = self.text.operations[-1]
        moved, self.operation = self.operation < end, end
        return moved

    def extend(self) -> None:
        """Let the model add its best guess to the text, run it, and look at it.

        Raises:
            ContextOverflowError: the model was made for no more tokens.
            InputError: the model is an encoder, which adds none.
        """
        if "logits" not in self.trace:
            raise InputError("the model turns texts into vectors; it does not add to them")
        text = [*self.trace.tokens.tolist(), int(self.trace["logits"][-1].argmax())]
        if self.model.network.encoder is None:
            self._run(text)
        else:
            self._run(self._ids, text[1:])  # the first is its start token
        self.operation = self.texts[-1].operations[0]
        self.token = self.n_tokens - 1

    def matches(self, text: str) -> list[int]:
        """Return the operations that a name, a pattern or part of a name stands for, in order."""
        text = text.strip()
        if not text:
            return []
        found = self.trace.find(text)
        if not found:
            words = text.lower().split()
            found = [t.name for t in self.tensors if all(word in _searched(t) for word in words)]
        return sorted(self.index[name] for name in found)

    def nearest_match(self, text: str) -> int | None:
        """Return the first match from this operation on, or else from the start; None without any."""
        matches = self.matches(text)
        return next(
            (number for number in matches if number >= self.operation), matches[0] if matches else None
        )

    def go(self, token: int | None = None, tap: str | None = None) -> None:
        """Go to an operation, a token of the text that goes through it, or both.

        Raises:
            InputError: there is no such token, or nothing of this name.
        """
        if tap is not None:
            number = self.nearest_match(tap)
            if number is None:
                raise InputError(unknown_tap(self.trace.taps, tap))
            self.operation = number
        if token is not None:
            if not -self.n_tokens <= token < self.n_tokens:
                raise InputError(f"there is no token {token}; the prompt's are 0 … {self.n_tokens - 1}")
            self.token = token % self.n_tokens


def _searched(tensor: TracedTensor) -> str:
    """Return the text that a search looks at: all three names."""
    return " ".join(name for name in (tensor.name, tensor.llama_cpp, tensor.transformer_lens) if name).lower()
