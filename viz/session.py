"""A session: a model, the tokens that ran, and what is switched off; makes what the viewer shows. No OpenGL, no Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from refgguf.taps import Hook, Tap
from refgguf.viz.facts import shown_of_model
from refgguf.viz.state import Shown

if TYPE_CHECKING:
    from refgguf.model import Model

Progress = Callable[[int, int], None]


class CancelledError(Exception):
    """The user stopped a run; never leaves the viewer."""


@dataclass(frozen=True)
class Ablation:
    """Something that is switched off: its values are replaced by zeros.

    Attributes:
        tap: name of the tap.
        head: number of the head; the whole tensor if None.
    """

    tap: str
    head: int | None = None


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
    """

    model: Model
    ids: list[int]
    prompt: str = ""
    ablations: frozenset[Ablation] = frozenset()
    temperature: float = 0.0
    seed: int = 0
    options: dict = field(default_factory=dict)

    def run(self, progress: Progress | None = None, cancelled: threading.Event | None = None) -> Shown:
        """Run the tokens and return what to show of them.

        Args:
            progress: called with the layers done and their number.
            cancelled: when set, the run ends at the next layer.

        Raises:
            CancelledError: it was cancelled.
        """
        ends = [name for name in self.model.taps if name.endswith(".resid_post")]
        hooks: dict[str, Hook] = {}
        for number, name in enumerate(ends):
            hooks[name] = self._watch(number + 1, len(ends), progress, cancelled)
        with self.model.hooks(hooks), self.model.hooks(self._ablating()):
            trace = self.model.trace(self.ids, taps="all")
        return shown_of_model(self.model, trace, self.prompt, **self.options)

    def _watch(
        self, done: int, total: int, progress: Progress | None, cancelled: threading.Event | None
    ) -> Hook:
        def watch(values: np.ndarray, tap: Tap) -> None:
            if cancelled is not None and cancelled.is_set():
                raise CancelledError
            if progress is not None:
                progress(done, total)

        return watch

    def _ablating(self) -> dict[str, Hook]:
        """Return hooks that put zeros where something is switched off."""
        heads: dict[str, list[int | None]] = {}
        for ablation in self.ablations:
            heads.setdefault(ablation.tap, []).append(ablation.head)
        return {tap: self._zeroing(numbers) for tap, numbers in heads.items()}

    def _zeroing(self, heads: Sequence[int | None]) -> Hook:
        def zero(values: np.ndarray, tap: Tap) -> np.ndarray:
            if None in heads:
                return np.zeros_like(values)
            axis = next(i for i, word in enumerate(tap.axes) if word in ("head", "kv_head"))
            changed = values.copy()
            changed[(slice(None),) * axis + (list(heads),)] = 0
            return changed

        return zero

    def toggled(self, ablation: Ablation) -> Session:
        """Return a session in which something is switched off, or on again if it was off."""
        return replace(self, ablations=self.ablations ^ {ablation})

    def with_text(self, text: str) -> Session:
        """Return a session that runs another text."""
        return replace(self, ids=self.model.tokenize(text), prompt=text)

    def next_token(self, logits: np.ndarray) -> int:
        """Draw the next token from the last token's scores, at the session's temperature."""
        scores = np.asarray(logits, np.float64)
        if self.temperature <= 0:
            return int(np.argmax(scores))
        weights = np.exp((scores - scores.max()) / self.temperature)
        random = np.random.default_rng((self.seed, len(self.ids)))
        return int(random.choice(len(weights), p=weights / weights.sum()))

    def extended(self, token: int) -> Session:
        """Return a session with one more token."""
        ids = [*self.ids, token]
        return replace(
            self, ids=ids, prompt=self.prompt + self.model.token_text(token) if self.prompt else ""
        )
