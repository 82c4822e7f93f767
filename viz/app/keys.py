"""What the keys do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

if TYPE_CHECKING:
    from refgguf.viz.app.window import ViewerWindow

Action = Callable[["ViewerWindow"], object]

# keys → what the help says, what it does
TABLE: tuple[tuple[tuple[object, ...], str, str, Action], ...] = (
    ((" ",), "Space", "play or pause the forward pass", lambda w: w.timeline.toggle()),
    ((Qt.Key.Key_Right,), "→", "next operation", lambda w: w.timeline.step(1)),
    ((Qt.Key.Key_Left,), "←", "operation before", lambda w: w.timeline.step(-1)),
    ((Qt.Key.Key_Home,), "Home", "no operation: everything as it is", lambda w: w.timeline.go_to(-1)),
    (("]",), "]", "next token of the prompt", lambda w: w.step_token(1)),
    (("[",), "[", "token before", lambda w: w.step_token(-1)),
    (("n",), "N", "draw the next token and run on with it", lambda w: w.next_token()),
    (("g",), "G", "generate on and on, or stop", lambda w: w.toggle_generation()),
    (("z",), "Z", "switch the selected head, neurons or expert off or on", lambda w: w.toggle_selected()),
    (("x",), "X", "switch everything on again", lambda w: w.restore()),
    (("o", "0"), "O", "overview", lambda w: w.reset()),
    (("f",), "F", "fit what is selected, or everything", lambda w: w.fit()),
    (("v",), "V", "from the front", lambda w: w.look_from("front")),
    (("b",), "B", "from above", lambda w: w.look_from("top")),
    (("t",), "T", "turntable: turn by itself, or stop", lambda w: w.toggle_turntable()),
    (
        (Qt.Key.Key_Backspace,),
        "Backspace",
        "one level back: cell, box, head, layer, overview",
        lambda w: w.go_out(),
    ),
    (
        ("c",),
        "C",
        "attention as arcs between tokens: of what is selected, or of all",
        lambda w: w.toggle_arcs(),
    ),
    (("/",), "/", "find a tensor", lambda w: w.search.setFocus()),
    (("l",), "L", "light or dark", lambda w: w.other_theme()),
    (("p",), "P", "save a picture", lambda w: w.save()),
    ((Qt.Key.Key_Escape,), "Esc", "stop what runs; from a text, back to the picture", lambda w: w.cancel()),
    (("?", "h"), "?", "this help", lambda w: w.show_help()),
)
KEYS: dict[object, Action] = {key: action for keys, _, _, action in TABLE for key in keys}
MOUSE = (
    ("drag", "turn"),
    ("right drag, Shift drag", "move"),
    ("Ctrl drag", "look around from where you stand"),
    ("wheel", "closer, farther"),
    ("click", "inspect a value; what flows into and out of the box lights up"),
    ("Ctrl click", "switch the head, neurons or expert off or on"),
    ("right click", "everything that can be done there"),
    ("double click", "deeper: layer, head, box, cell; beside everything: back to the overview"),
)
FLY = (
    ("W A S D", "fly forward, left, back, right; with Shift faster"),
    ("Q E", "fly down, up"),
    ("Ctrl 1 … 9", "keep this view, for this model, also for the next time"),
    ("1 … 9", "go to a kept view"),
)
ROWS = [*MOUSE, *FLY, *((name, words) for _, name, words, _ in TABLE)]


def help_page() -> str:
    """Return the keys as a page of two columns."""
    half = -(-len(ROWS) // 2)
    columns = (
        "".join(f"<tr><td><b>{a}</b>&nbsp;&nbsp;</td><td>{b}</td></tr>" for a, b in rows)
        for rows in (ROWS[:half], ROWS[half:])
    )
    cells = "".join(f"<td style='padding-right:28px'><table>{column}</table></td>" for column in columns)
    return f"<table><tr>{cells}</tr></table>"
