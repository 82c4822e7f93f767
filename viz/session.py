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
from refgguf.viz.memory import check_memory
from refgguf.viz.state import Shown

if TYPE_CHECKING:
    from refgguf.model import Model

Progress = Callable[[int, int], None]
NO_NEXT = "turns a text into vectors and says nothing of what comes next"
MOST_WRITTEN = 12  # tokens that a decoder writes by itself before it is looked at


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
            text, and until a run has let it write.
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
            InputError: there are too many tokens for what is kept of each.
        """
        check_memory(self.model, list(self.model.taps), self.ids)
        with self._watched(progress, cancelled), self.model.hooks(Zeroes(self.model, self.ablations).hooks()):
            if self.target is None:
                self.target = written(self.model, self.ids)
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

    @property
    def scores_vocabulary(self) -> bool:
        """Whether the model says what comes next; an encoder does not."""
        return self.model.network.scores_vocabulary

    @property
    def target_text(self) -> str:
        """What a decoder has written, as text; "" where there is one text."""
        return "".join(self.model.token_text(token) for token in self.target or ()).strip()

    def with_text(self, text: str) -> Session:
        """Return a session that runs another text, shows what follows its end, and lets a decoder write anew."""
        ids = self.model.tokenize(text)
        return replace(self, ids=ids, prompt=text, target=None, options=self._at_the_end)

    def with_target(self, text: str) -> Session:
        """Return a session in which a decoder has written a text so far."""
        target = self.model.tokenize(text, add_special=False) if text else []
        return replace(self, target=target, options=self._at_the_end)

    @property
    def _at_the_end(self) -> dict:
        return {**self.options, "token": -1, "marked": False}

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

    def extended(self, token: int, after: int | None = None) -> Session:
        """Return a session with one more token, of the text that is written where there are two.

        Args:
            token: its id.
            after: position that it follows, what came behind that is dropped; the last if None.
        """
        if self.target is None:
            return self.with_ids([*(self.ids if after is None else self.ids[: after + 1]), token])
        # position 0 is the start token, which is not part of the target
        kept = self.target if after is None else self.target[:after]
        return replace(self, target=[*kept, token], options=self._at_the_end)

    def with_ids(self, ids: Sequence[int]) -> Session:
        """Return a session that runs other tokens; its text is what they read as."""
        ids = list(ids)
        same = ids[: len(self.ids)] == self.ids
        if same and self.prompt:
            prompt = self.prompt + "".join(self.model.token_text(token) for token in ids[len(self.ids) :])
        else:
            prompt = ""
        return replace(self, ids=ids, prompt=prompt, target=None, options=self._at_the_end)


def written(model: Model, ids: Sequence[int]) -> list[int] | None:
    """Return the likeliest tokens that a decoder writes of what an encoder reads; None where there is one text."""
    if model.network.encoder is None:
        return None
    return [step.token for step in model.generate(ids, MOST_WRITTEN, temperature=0)]


def _watch(done: int, total: int, progress: Progress | None, cancelled: threading.Event | None) -> Hook:
    def watch(values: np.ndarray, tap: Tap) -> None:
        if cancelled is not None and cancelled.is_set():
            raise CancelledError
        if progress is not None:
            progress(done, total)

    return watch
