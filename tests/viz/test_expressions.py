"""Expressions of formulas are read as they stand and brought to their value in steps."""

from __future__ import annotations

import pytest

from refgguf.errors import TraceError
from refgguf.viz.expressions import expression, steps

BY_HAND = {
    "A · softplus(f + b)": ["−2 × softplus(1 − 1)", "−2 × softplus(0)", "−2 × 0.693", "−1.39"],
    "x + (y − x) · s": ["4 + (−3 − 4) × 0.5", "4 − 7 × 0.5", "4 − 3.5", "0.5"],
    "min(x, 2.5) · (cut(y, 2) + 1)": ["min(4, 2.5) × (cut(−3, 2) + 1)", "2.5 × (−2 + 1)", "2.5 × −1", "−2.5"],
    "relu(x)² / s": ["relu(4)² / 0.5", "4² / 0.5", "16 / 0.5", "32"],
    "-5 · σ(−A · f)": ["−5 × σ(−(−2 × 1))", "−5 × σ(−(−2))", "−5 × σ(2)", "−5 × 0.881", "−4.4"],
    "exp(−exp(f + b))": ["exp(−exp(1 − 1))", "exp(−exp(0))", "exp(−1)", "0.368"],
    "x − y − s": ["4 + 3 − 0.5", "6.5"],
    "x / s / s": ["4 / 0.5 / 0.5", "16"],
}
NUMBERS = {"A": -2.0, "f": 1.0, "b": -1.0, "x": 4.0, "y": -3.0, "s": 0.5}


@pytest.mark.parametrize("text", BY_HAND)
def test_steps_by_hand(text):
    """Numbers stand where names stood; then what is innermost gives way to its value, until one number is left."""
    found = [node.text for node in steps(expression(text, NUMBERS))]
    assert list(dict.fromkeys(found)) == BY_HAND[text]


@pytest.mark.parametrize("text", ["", "x +", "(x", "x y", "x; y", "min(x, y", "unknown · x", "· x"])
def test_what_is_no_expression_is_refused(text):
    """A formula in words, or one that names what nobody knows, is not read as something else."""
    with pytest.raises(TraceError, match=r"expression|operand|bracket|number"):
        expression(text, NUMBERS)
