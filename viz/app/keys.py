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
    (("o", "r"), "O, R", "overview", lambda w: w.look_from("overview")),
    (("f",), "F", "from the front", lambda w: w.look_from("front")),
    (("t",), "T", "from above", lambda w: w.look_from("top")),
    ((" ",), "Space", "play or pause the forward pass", lambda w: w.timeline.toggle()),
    ((Qt.Key.Key_Right,), "→", "next operation", lambda w: w.timeline.step(1)),
    ((Qt.Key.Key_Left,), "←", "operation before", lambda w: w.timeline.step(-1)),
    (
        (Qt.Key.Key_Home,),
        "Home",
        "no operation: everything as it is",
        lambda w: w.timeline.slider.setValue(-1),
    ),
    (("n",), "N", "next token", lambda w: w.next_token()),
    (("0",), "0", "switch the selected head or network off or on", lambda w: w.toggle_selected()),
    (("/",), "/", "find a tensor", lambda w: w.search.setFocus()),
    (("d",), "D", "light or dark", lambda w: w.other_theme()),
    (("s",), "S", "save a picture", lambda w: w.save()),
    ((Qt.Key.Key_Escape,), "Esc", "stop what runs", lambda w: w.stop()),
    (("?",), "?", "this help", lambda w: w.show_help()),
)
KEYS: dict[object, Action] = {key: action for keys, _, _, action in TABLE for key in keys}
MOUSE = (
    ("drag", "turn"),
    ("right drag, Shift drag", "move"),
    ("wheel", "closer, farther"),
    ("click", "inspect a value; what flows into and out of the box lights up"),
    ("double click", "go there; beside everything: back to the overview"),
)
ROWS = [*MOUSE, *((name, words) for _, name, words, _ in TABLE)]
HELP = (
    "<table>" + "".join(f"<tr><td><b>{a}</b>&nbsp;&nbsp;</td><td>{b}</td></tr>" for a, b in ROWS) + "</table>"
)
