"""The next token: the best candidates with their probabilities, as bars beside the logits."""

from __future__ import annotations

import numpy as np

from refgguf.viz.scene.overlay import LETTER
from refgguf.viz.scene.parts import Bar
from refgguf.viz.scene.stage import Stage
from refgguf.viz.state import Shown, ShownFile

N_SHOWN = 5
IN_FRONT = 0.2  # from a bar to the figure before it
# in letters of ordinary size
LETTERS = 2.6
ROW = 4.2
RAISED = 1.0  # how many rows higher than beside the stream: off the floor behind them, seen from above
WORDS, BARS = 15.0, 13.0  # width of the column of words, and of a bar for certainty
# they are turned a little to the left, from where the overview looks: far behind they would be narrow
TURN = np.radians(20.0)
ALONG = (float(np.cos(TURN)), 0.0, float(np.sin(TURN)))


def best_tokens(logits: np.ndarray, n: int) -> list[tuple[int, float]]:
    """Return the n most likely tokens with their probabilities, the best first.

    Args:
        logits: (vocab,) scores.
        n: how many.

    Returns:
        (token id, probability) pairs; none when the scores hold no finite number.
    """
    scores = np.asarray(logits, np.float64)
    if not np.isfinite(scores).any() or np.isnan(scores).any() or np.isposinf(scores).any():
        return []
    weights = np.exp(scores - scores.max())
    best = np.argsort(-scores, kind="stable")[:n]
    return [(int(i), float(weights[i] / weights.sum())) for i in best]


def place_predictions(stage: Stage, shown: Shown, logits: np.ndarray, x: float) -> float:
    """Put the candidates for the token after the chosen one beside the logits.

    Args:
        stage: where to put them.
        shown: what is shown.
        logits: (token, vocab) scores.
        x: left side.

    Returns:
        Their right side.
    """
    candidates = best_tokens(logits[shown.token_index], N_SHOWN)
    unit = stage.units.letter
    letters, row, bars = LETTERS * unit, ROW * unit, BARS * unit
    top = (len(candidates) / 2 + RAISED) * row
    after = quoted(shown.trace.token_texts[shown.token_index])

    def place(along: float, forward: float = 0.0) -> tuple[float, float]:
        """Return x and z of a place so far along the turned rows, and so far before them."""
        return x + along * ALONG[0] - forward * ALONG[2], stage.units.depth + along * ALONG[
            2
        ] + forward * ALONG[0]

    def text(words: str, along: float, y: float, height: float, forward: float = 0.0, **style) -> None:
        at, z = place(along, forward)
        stage.text(words, at, y, height, z=z, u=ALONG, **style)

    text(f"next token after {after}", 0.0, top + row * 0.35, letters, tone="ink", bold=True, align="left")
    if not candidates:
        text("the logits are not finite", 0.0, top - row, letters, align="left")
    begin = WORDS * unit
    bar_x, bar_z = place(begin)
    for number, (token, share) in enumerate(candidates):
        y = top - (number + 1) * row
        word = quoted(shown.text_of(token)) if shown.text_of else f"#{token}"
        text(word, begin - 0.5 * letters, y, letters, tone="ink", bold=number == 0, align="right")
        bar = Bar((bar_x, y - letters * 0.2, bar_z), (bars, letters), share, "logits", ALONG)
        stage.pieces.bars.append(bar)
        at, height = bars * share + letters * 0.4, letters * 0.85
        hidden = at + LETTER * height * len(percent(share)) < bars
        for side in (IN_FRONT, -IN_FRONT) if hidden else (IN_FRONT,):  # the bar hides one of two
            text(percent(share), begin + at, y, height, side, align="left")
    return place(begin + bars + letters * 2)[0]


def scores_of(shown: Shown | ShownFile) -> np.ndarray | None:
    """Return the scores (token, vocab) of the next token, or None where there are none."""
    if not isinstance(shown, Shown):
        return None
    found = [t for t in shown.trace.tensors if t.kind == "logits" and t.layer is None]
    return found[-1].values if found else None


def outcome_of(shown: Shown) -> str:
    """Return the most likely token after the chosen one, with its probability; "" if there are no logits."""
    scores = scores_of(shown)
    best = [] if scores is None else best_tokens(scores[shown.token_index], 1)
    if not best:
        return ""
    token, share = best[0]
    text = quoted(shown.text_of(token)) if shown.text_of else f"#{token}"
    last = shown.token_index == len(shown.trace.tokens) - 1
    after = "" if last else f" after {quoted(shown.trace.token_texts[shown.token_index])}"
    return f"{text} {percent(share)}{after}"


def percent(share: float) -> str:
    """Write a probability with the digits that matter."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def quoted(text: str) -> str:
    """Return a token's text in quotation marks, so that its spaces are seen."""
    text = text.replace("\n", "\\n").replace("\t", "\\t").replace("▁", " ")
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    text = text if text.strip() else "␣" * len(text)
    return f"“{text[:15] + '…' if len(text) > 16 else text}”"
