"""The distribution of the next token: the most likely ones, what they were before, and how sure the model is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refgguf.errors import RefggufError
from refgguf.viz.scene.predictions import quoted, scores_of
from refgguf.viz.session import Session
from refgguf.viz.state import Shown

N_BARS = 10  # tokens that are shown
COMPARED = "both at temperature 1: at 0 the best token has everything"


@dataclass(frozen=True)
class Candidate:
    """A token that may come next: its text, its probability, and what that was with nothing switched off."""

    token: int
    text: str
    share: float
    before: float | None = None


@dataclass(frozen=True)
class Distribution:
    """What may come after the chosen token.

    Attributes:
        title: after which token.
        candidates: the most likely tokens, the best first.
        words: how sure the model is, and what the candidates are compared with.
    """

    title: str
    candidates: list[Candidate]
    words: str = ""


def distribution_of(
    shown: Shown, session: Session | None = None, whole: np.ndarray | None = None
) -> Distribution:
    """Return the distribution of the token after the chosen one, at a session's temperature.

    Args:
        shown: a run with scores; what is wrong with those becomes the title.
        session: gives temperature and what is switched off.
        whole: scores (token, vocab) with nothing switched off, where something is. At temperature 0 both are shown as
            they are at 1, since one token would have everything before as after.
    """
    at, scores = shown.token_index, scores_of(shown)
    drawn = session or Session(None, [])
    if whole is not None and not drawn.temperature:  # one token has everything then, before as after
        drawn = replace(drawn, temperature=1.0)
    try:
        shares = drawn.probabilities(scores[at])
        own = Session(None, [], temperature=1.0).probabilities(scores[at])
        before = own if whole is None else drawn.probabilities(whole[at])
    except RefggufError as error:
        return Distribution(str(error), [])

    def text_of(token: int) -> str:
        return quoted(shown.text_of(token)) if shown.text_of else f"#{token}"

    title = f"after {quoted(shown.trace.token_texts[at])}"
    off = ", ".join(sorted(a.words for a in drawn.ablations))
    words = spread_words(shares, before, switched_off=off)
    if session is not None and drawn.temperature != session.temperature:
        words += f"\n{COMPARED}"
    return Distribution(title, candidates_of(shares, before, text_of), words)


def candidates_of(shares: np.ndarray, before: np.ndarray | None, text_of) -> list[Candidate]:
    """Return the most likely tokens now and before, the best now first.

    Args:
        shares: (vocab,) probabilities.
        before: the same with nothing switched off, or None.
        text_of: readable text of a token.
    """
    # at temperature 0 all but one have no share: what they were before puts those in order
    order = np.argsort(-shares, kind="stable") if before is None else np.lexsort((-before, -shares))
    best = [int(i) for i in order[:N_BARS]]
    if before is not None:
        was = int(np.argmax(before))
        best = best if was in best else [*best[:-1], was]
    return [
        Candidate(i, text_of(i), float(shares[i]), None if before is None else float(before[i]))
        for i in best
        if shares[i] > 0 or before is not None
    ]


def spread_words(shares: np.ndarray, before: np.ndarray, switched_off: str = "") -> str:
    """Say how sure the model is, and how far it has moved: entropy in bits, Kullback-Leibler divergence.

    Args:
        shares: (vocab,) probabilities that are drawn from.
        before: what they are compared with: with nothing switched off, or at temperature 1.
        switched_off: what is switched off, in words.
    """
    some = shares[shares > 0]
    entropy = float(-(some * np.log2(some)).sum())
    words = f"entropy {abs(entropy):.2f} bits, perplexity {2**entropy:.3g}"
    if not switched_off:
        return f"{words}\ndotted: the model's own probabilities, at temperature 1"
    both = (before > 0) & (shares > 0)
    lost = bool(((before > 0) & (shares == 0)).any())
    divergence = float((before[both] * np.log2(before[both] / shares[both])).sum())
    moved = "infinite" if lost else f"{divergence:.3g} bits"
    words += (
        f"\ndotted: with nothing switched off; divergence from that {moved}\nswitched off: {switched_off}"
    )
    return words
