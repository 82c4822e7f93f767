"""A session: a model, the tokens that ran, and what is switched off; makes what the viewer shows. No OpenGL, no Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from refgguf.recorder import Hook
from refgguf.sampling import Sampling
from refgguf.taps import Tap
from refgguf.viz.ablation import Ablation, Zeroes
from refgguf.viz.facts import shown_of_model
from refgguf.viz.state import Shown

if TYPE_CHECKING:
    from refgguf.model import Model

Progress = Callable[[int, int], None]


class CancelledError(Exception):
    """The user stopped a run; never leaves the viewer."""


@dataclass
class Session:
    """What the user works on.

    Attributes:
        model: the model.
        ids: tokens to run.
        prompt: their text, as it was typed.
        ablations: what is switched off.
        temperature: of the next token that is drawn.
        seed: of the random numbers that it is drawn with.
        options: layers, token, marked, theme of `Shown`.
        target: what a decoder has written of the text that `ids` is, without its start token; None where there is one
            text.
    """

    model: Model
    ids: list[int]
    prompt: str = ""
    ablations: frozenset[Ablation] = frozenset()
    temperature: float = 0.0
    seed: int = 0
    options: dict = field(default_factory=dict)
    target: list[int] | None = None

    def run(self, progress: Progress | None = None, cancelled: threading.Event | None = None) -> Shown:
        """Run the tokens and return what to show of them.

        Args:
            progress: called with the layers done and their number.
            cancelled: when set, the run ends at the next layer.

        Raises:
            CancelledError: it was cancelled.
        """
        with self._watched(progress, cancelled), self.model.hooks(Zeroes(self.model, self.ablations).hooks()):
            trace = self.model.trace(self.ids, taps="all", target=self.target)
        return shown_of_model(self.model, trace, self.prompt, **self.options)

    def whole_logits(
        self, progress: Progress | None = None, cancelled: threading.Event | None = None
    ) -> np.ndarray:
        """Return the scores (token, vocab) that the model gives with nothing switched off; as `run` otherwise."""
        with self._watched(progress, cancelled):
            return self.model.logits(self.ids, target=self.target)

    def _watched(self, progress: Progress | None, cancelled: threading.Event | None):
        ends = [name for name in self.model.taps if name.endswith(".resid_post")]
        hooks: dict[str, Hook] = {}
        for number, name in enumerate(ends):
            hooks[name] = _watch(number + 1, len(ends), progress, cancelled)
        return self.model.hooks(hooks)

    def toggled(self, ablation: Ablation) -> Session:
        """Return a session in which something is switched off, or on again if it was off."""
        return replace(self, ablations=self.ablations ^ {ablation})

    def with_text(self, text: str) -> Session:
        """Return a session that runs another text."""
        target = None if self.target is None else []
        return replace(self, ids=self.model.tokenize(text), prompt=text, target=target)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities (vocab,) that the next token is drawn from, at the session's temperature.

        Raises:
            ModelError: the scores are NaN.
        """
        return Sampling(temperature=self.temperature).probabilities(np.asarray(logits))

    def next_token(self, logits: np.ndarray) -> int:
        """Draw the next token from the last token's scores, at the session's temperature."""
        weights = self.probabilities(logits)
        random = np.random.default_rng((self.seed, len(self.ids) + len(self.target or ())))
        return int(random.choice(len(weights), p=weights))

    def extended(self, token: int) -> Session:
        """Return a session with one more token."""
        if self.target is not None:
            options = {**self.options, "token": -1, "marked": False}
            return replace(self, target=[*self.target, token], options=options)
        return self.with_ids([*self.ids, token])

    def with_ids(self, ids: Sequence[int]) -> Session:
        """Return a session that runs other tokens; its text is what they read as."""
        ids = list(ids)
        same = ids[: len(self.ids)] == self.ids
        if same and self.prompt:
            prompt = self.prompt + "".join(self.model.token_text(token) for token in ids[len(self.ids) :])
        else:
            prompt = ""
        options = {**self.options, "token": -1, "marked": False}
        return replace(self, ids=ids, prompt=prompt, options=options)


def _watch(done: int, total: int, progress: Progress | None, cancelled: threading.Event | None) -> Hook:
    def watch(values: np.ndarray, tap: Tap) -> None:
        if cancelled is not None and cancelled.is_set():
            raise CancelledError
        if progress is not None:
            progress(done, total)

    return watch
