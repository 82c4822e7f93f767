"""What the keys do, in the window and in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Action = Callable[[Any], object]  # of the window or the widget, which both have these methods
# keys, by their names in browsers → what the help says, what it does
Row = tuple[tuple[str, ...], str, str, Action]

STEPPING: tuple[Row, ...] = (
    ((" ",), "Space", "play or pause the forward pass", lambda w: w.play()),
    (("y",), "Y", "go along with what plays where it is too small, or stay", lambda w: w.toggle_following()),
    (("ArrowRight",), "→", "next operation", lambda w: w.step(1)),
    (("ArrowLeft",), "←", "operation before", lambda w: w.step(-1)),
    (("Home",), "Home", "no operation: everything as it is", lambda w: w.step_to(-1)),
    (("]",), "]", "next token of the prompt", lambda w: w.step_token(1)),
    (("[",), "[", "token before", lambda w: w.step_token(-1)),
)
RUNNING: tuple[Row, ...] = (
    (("n",), "N", "draw the next token and run on with it", lambda w: w.next_token()),
    (("g",), "G", "generate on and on, or stop", lambda w: w.toggle_generation()),
    (("z",), "Z", "switch the selected head, neurons or expert off or on", lambda w: w.toggle_selected()),
    (("x",), "X", "switch everything on again", lambda w: w.restore()),
    (("i",), "I", "type a prompt", lambda w: w.type_prompt()),
)
LOOKING: tuple[Row, ...] = (
    (("o", "0"), "O", "overview", lambda w: w.reset()),
    (("f",), "F", "fit what is selected, or everything", lambda w: w.fit()),
    (("v",), "V", "from the front", lambda w: w.look_from("front")),
    (("b",), "B", "from above", lambda w: w.look_from("top")),
    (("t",), "T", "turntable: turn by itself, or stop", lambda w: w.toggle_turntable()),
    (("Backspace",), "Backspace", "one level back, to the overview", lambda w: w.go_out()),
)
SHOWING: tuple[Row, ...] = (
    (("c",), "C", "attention as arcs: of what is selected, or of all", lambda w: w.toggle_arcs()),
    (("m",), "M", "every head of every layer in one grid, or the pass", lambda w: w.toggle_grid()),
    (("k",), "K", "colour weights by value, bits, type, number", lambda w: w.other_colour()),
    (("/",), "/", "find a tensor", lambda w: w.begin_search()),
    (("l",), "L", "light or dark", lambda w: w.other_theme()),
    (("p",), "P", "save a picture", lambda w: w.save()),
    (("Escape",), "Esc", "stop what runs; from a text, back to the picture", lambda w: w.cancel()),
    (("?", "h"), "?", "this page", lambda w: w.show_help()),
)
TABLE = (*STEPPING, *RUNNING, *LOOKING, *SHOWING)
KEYS: dict[str, Action] = {key: action for keys, _, _, action in TABLE for key in keys}
MOUSE = (
    ("drag", "turn"),
    ("right drag, Shift drag", "move"),
    ("Ctrl drag", "look around from where you stand"),
    ("wheel", "closer, farther"),
    ("click", "inspect a value; what flows into and out of its box lights up"),
    ("double click", "deeper: layer, head, box, cell; beside everything: overview"),
    ("Ctrl click", "switch the head, neurons or expert off or on"),
    ("right click", "everything that can be done there"),
)
FLY = (
    ("W A S D", "fly forward, left, back, right; with Shift faster"),
    ("Q E", "fly down, up"),
)
VIEWS = (
    ("Ctrl 1 … 9", "keep this view, for this model, also for the next time"),
    ("1 … 9", "go to a kept view"),
)


def _words(rows: tuple[Row, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, words) for _, name, words, _ in rows)


WELCOME = "drag to turn, wheel to come closer, double click to go there, ? for keys"

_RIGHT = (("Stepping", _words(STEPPING)), ("Running", _words(RUNNING)), ("Showing", _words(SHOWING)))
COLUMNS = ((("Mouse", MOUSE), ("Looking", (*_words(LOOKING), *FLY, *VIEWS))), _RIGHT)
# buttons stand for the menu there, and browsers keep Ctrl with a number for themselves
NOTEBOOK_COLUMNS = ((("Mouse", MOUSE[:-1]), ("Looking", (*_words(LOOKING), *FLY))), _RIGHT)


def help_page(columns_of: tuple = COLUMNS) -> str:
    """Return the keys as a page of two columns, each in groups."""
    columns = ("".join(_group(*group) for group in groups) for groups in columns_of)
    cells = "".join(f"<td style='padding: 0 26px 0 4px'><table>{column}</table></td>" for column in columns)
    return f"<table><tr>{cells}</tr></table>"


def _group(title: str, rows: tuple[tuple[str, str], ...]) -> str:
    head = f"<tr><td colspan='2' style='padding-top: 8px'><b>{title}</b></td></tr>"
    return head + "".join(
        f"<tr><td style='padding-right: 12px; white-space: nowrap'><code>{name}</code></td>"
        f"<td style='white-space: nowrap'>{words}</td></tr>"
        for name, words in rows
    )
