"""Where we are in a forward pass, and how to get elsewhere. Knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from refgguf.errors import InputError
from refgguf.taps import unknown_tap

if TYPE_CHECKING:
    from refgguf.model import Model
    from refgguf.trace import Trace, TracedTensor

Tracer = Callable[[Sequence[int]], "Trace"]


class Walk:
    """A place in the forward pass of some tokens: a token and an operation.

    Args:
        model: the model.
        ids: token ids of the prompt.
        tracer: runs token ids and returns their full trace.

    Attributes:
        trace: everything that was computed.
        tensors: the operations' results in order of execution.
        token: number of the token looked at.
        operation: number of the operation looked at.
        n_prompt: how many tokens the prompt had; those from there on are the model's own.
    """

    def __init__(self, model: Model, ids: Sequence[int], tracer: Tracer):
        self.model = model
        self._tracer = tracer
        self.n_prompt = len(ids)
        self.token = 0
        self.operation = 0
        self._run(ids)

    def _run(self, ids: Sequence[int]) -> None:
        self.trace = self._tracer(ids)
        self.tensors: tuple[TracedTensor, ...] = self.trace.tensors
        self.index = {tensor.name: number for number, tensor in enumerate(self.tensors)}

    @property
    def n_tokens(self) -> int:
        """How many tokens there are."""
        return len(self.trace.tokens)

    @property
    def n_operations(self) -> int:
        """How many operations each token goes through."""
        return len(self.tensors)

    @property
    def current(self) -> TracedTensor:
        """The result of the operation looked at, for all tokens."""
        return self.tensors[self.operation]

    def label(self, token: int | None = None) -> str:
        """Return the text of a token, the one looked at if None."""
        return self.trace.token_texts[self.token if token is None else token]

    def tensor(self, name: str) -> TracedTensor | None:
        """Return another operation's result, or None when there is none of this name."""
        return self.tensors[self.index[name]] if name in self.index else None

    def next(self) -> bool:
        """Go to the next operation, past the last one to the next token; False at the very end."""
        if self.operation + 1 < self.n_operations:
            self.operation += 1
        elif self.token + 1 < self.n_tokens:
            self.token += 1
            self.operation = 0
        else:
            return False
        return True

    def back(self) -> bool:
        """Go to the operation before, before the first one to the token before; False at the very start."""
        if self.operation > 0:
            self.operation -= 1
        elif self.token > 0:
            self.token -= 1
            self.operation = self.n_operations - 1
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
        moved, self.operation = self.operation > 0, 0
        return moved

    def last(self) -> bool:
        """Go to the last operation of this token."""
        end = self.n_operations - 1
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
        best = int(self.trace["logits"][-1].argmax())
        self._run([*self.trace.tokens.tolist(), best])
        self.token = self.n_tokens - 1
        self.operation = 0

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
        """Go to a token, an operation, or both.

        Raises:
            InputError: there is no such token, or nothing of this name.
        """
        if token is not None:
            if not -self.n_tokens <= token < self.n_tokens:
                raise InputError(f"there is no token {token}; the prompt's are 0 … {self.n_tokens - 1}")
            self.token = token % self.n_tokens
        if tap is not None:
            number = self.nearest_match(tap)
            if number is None:
                raise InputError(unknown_tap(self.trace.taps, tap))
            self.operation = number


def _searched(tensor: TracedTensor) -> str:
    """Return the text that a search looks at: all three names."""
    return " ".join(name for name in (tensor.name, tensor.llama_cpp, tensor.transformer_lens) if name).lower()
