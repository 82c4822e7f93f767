"""Hebrew and Arabic among other writing: read from right to left where they stand, and nothing else is moved."""

from __future__ import annotations

import pytest

from refgguf.viz.render.letters import Letters, set_line
from refgguf.viz.scene.writing import cropped, in_visual_order, isolated

SHALOM, OLAM = "\u05e9\u05dc\u05d5\u05dd", "\u05e2\u05d5\u05dc\u05dd"


@pytest.mark.parametrize("text", ["", "abc", "x = 1, y = 2", "héllo", "你好", "<s> a"])
def test_what_runs_from_left_to_right_stays_as_it_is(text):
    """Texts without such letters are not touched."""
    assert in_visual_order(text) == isolated(text) == text


def test_letters_stand_from_right_to_left():
    """Words of one stretch change places with the blanks between them; punctuation and numbers around it stay."""
    assert in_visual_order(f"a {SHALOM} {OLAM}! 3") == f"a {(SHALOM + ' ' + OLAM)[::-1]}! 3"
    assert in_visual_order(f"{SHALOM} b {OLAM}") == f"{SHALOM[::-1]} b {OLAM[::-1]}"


def test_neighbours_keep_their_place():
    """A stretch is isolated, so that the number behind it is not drawn before it."""
    assert isolated(f"key 1 '{SHALOM}': 0.5") == f"key 1 '\u2068{SHALOM}\u2069': 0.5"


def test_the_scene_writes_it_so():
    """The first letter of the word is the last from the left, in the same font as without other words around."""
    letters, _ = set_line(f"a {SHALOM}", False)
    drawn = [letter for (_, letter), _ in letters if letter != "a"]
    if SHALOM[0] in drawn:  # a font has it
        assert drawn == list(reversed(SHALOM))
    assert Letters([(f"a {SHALOM}", False)]).length((f"a {SHALOM}", False)) > 0


def test_what_is_too_long_loses_its_middle():
    """A text that fits stays; one that does not is as wide as allowed at most, and Chinese letters count twice."""
    assert cropped("a  b\nc", 5) == "a b c"
    assert cropped("0123456789" * 3, 12) == "01234 … 6789"
    short = cropped("你" * 20, 12)
    assert short.startswith("你")
    assert short.endswith("你")
    assert 2 * short.count("你") + len(short.replace("你", "")) <= 12
