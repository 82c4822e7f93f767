"""The page on a terminal: draws it, reads a key, moves, and draws again."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.style import Style
from rich.text import Text

from refgguf.cli.stepper import page
from refgguf.cli.stepper.keys import read_key, single_keys
from refgguf.errors import ContextOverflowError, InputError

if TYPE_CHECKING:
    from refgguf.cli.stepper.guesses import Guesses
    from refgguf.cli.stepper.walk import Walk

DIM = Style(dim=True)
SMALLEST = (60, 16)
MOST_WIDTH = 140
KEYS = (
    ("→ space", "next operation"),
    ("←", "back"),
    ("↓ ↑", "next, previous layer"),
    ("tab", "next token; past the last, the model's own"),
    ("shift-tab", "previous token"),
    ("home end", "first, last operation of this token"),
    ("/", "jump to a tap: any part of any of its names; then n for the next match"),
    ("page keys", "scroll, when the page is longer than the window"),
    ("?", "this help"),
    ("q", "quit"),
)
HINT = "→ next  ← back  ↓ layer  tab token  / jump  ? help  q quit"


class Screen:
    """A walk on a terminal.

    Args:
        walk: where we are.
        guesses: reads the next token off the residual stream.
    """

    def __init__(self, walk: Walk, guesses: Guesses):
        self.walk = walk
        self.guesses = guesses
        self.console = Console(markup=False, highlight=False, emoji=False)
        self.scroll = 0
        self.message = ""
        self.help = False
        self.search: str | None = None
        self.found = ""

    def run(self) -> None:
        """Show pages until the user quits."""
        with self.console.screen(hide_cursor=True), single_keys():
            size = None
            while True:
                now = shutil.get_terminal_size()
                key = None if now != size else read_key()
                if now == size and key is None:
                    continue
                if key is not None and not self.press(key):
                    return
                size = now
                self.draw(now.columns, now.lines)

    def press(self, key: str) -> bool:
        """Do what a key says; returns False when it says quit."""
        self.message = ""
        if self.search is not None:
            self._typed(key)
            return True
        if self.help:
            self.help = False
            return key != "q"
        if key in ("q", "escape"):
            return False
        if key in ("pagedown", "pageup"):
            self.scroll = max(0, self.scroll + (8 if key == "pagedown" else -8))
            return True
        self._act(key)
        return True

    def _act(self, key: str) -> None:
        walk = self.walk
        moves = {
            "right": walk.next, "space": walk.next, "enter": walk.next, "l": walk.next,
            "left": walk.back, "backspace": walk.back, "h": walk.back, "b": walk.back,
            "down": walk.next_layer, "j": walk.next_layer,
            "up": walk.previous_layer, "k": walk.previous_layer,
            "backtab": walk.previous_token, "T": walk.previous_token,
            "home": walk.first, "g": walk.first, "end": walk.last, "G": walk.last,
        }  # fmt: skip
        if key in moves:
            if moves[key]():
                self.scroll = 0
            else:
                self.message = "there is nothing further in this direction"
                if key in ("right", "space", "enter", "l"):
                    self.message = "this is the last operation; tab lets the model go on with its best guess"
        elif key in ("tab", "t"):
            self._next_token()
        elif key == "/":
            self.search = ""
        elif key == "n" and self.found:
            self._jump(self.found, past=True)
        elif key == "?":
            self.help = True
        else:
            self.message = "? shows the keys"

    def _next_token(self) -> None:
        if self.walk.next_token():
            return
        try:
            self.walk.extend()
        except (ContextOverflowError, InputError) as error:
            self.message = str(error)

    def _typed(self, key: str) -> None:
        """Edit the text of a search."""
        if key == "escape":
            self.search = None
        elif key == "enter":
            self.found, self.search = self.search, None
            self._jump(self.found)
        elif key == "backspace":
            self.search = self.search[:-1]
        elif key == "space":
            self.search += " "
        elif len(key) == 1 and key.isprintable():
            self.search += key

    def _jump(self, text: str, *, past: bool = False) -> None:
        walk = self.walk
        matches = walk.matches(text)
        if not matches:
            self.message = f"nothing is called {text!r}"
            return
        start = walk.operation + (1 if past else 0)
        walk.operation = next((number for number in matches if number >= start), matches[0])
        self.scroll = 0
        self.message = f"{matches.index(walk.operation) + 1} of {len(matches)} matches"
        self.message += "; n goes to the next" if len(matches) > 1 else ""

    def draw(self, columns: int, lines: int) -> None:
        """Draw the page into a window of this size."""
        frame = self.frame(columns, lines)
        # written at once and in place: the picture never flickers
        with self.console.capture() as capture:
            for line in frame:
                self.console.print(
                    line, width=columns, overflow="crop", no_wrap=True, end="\x1b[K\n", crop=True
                )
        sys.stdout.write("\x1b[H" + capture.get().rstrip("\n") + "\x1b[J")
        sys.stdout.flush()

    def frame(self, columns: int, lines: int) -> list[Text]:
        """Return exactly the lines that fill a window of this size."""
        if columns < SMALLEST[0] or lines < SMALLEST[1]:
            return [Text(f"please make the window larger than {SMALLEST[0]} × {SMALLEST[1]}")]
        width = min(columns, MOST_WIDTH)
        top = page.heading(self.walk, width)
        guessed = page.guess_lines(self.walk, self.guesses, width)
        bottom = [page.rule(width), *guessed, self._status(width)]
        room = max(3, lines - len(top) - len(bottom))
        middle = _help() if self.help else self._body(width, room)
        self.scroll = min(self.scroll, max(0, len(middle) - room))
        shown = middle[self.scroll : self.scroll + room]
        if len(middle) > self.scroll + room:
            shown[-1] = Text("        … page down shows the rest", style=DIM)
        shown += [Text()] * (room - len(shown))
        return [*top, *shown, *bottom][:lines]

    def _body(self, width: int, room: int) -> list[Text]:
        """Return the page with its bars as tall as the window allows."""
        for height in (4, 3, 2):
            lines = page.body(self.walk, width, height)
            if len(lines) <= room:
                return lines
        return page.body(self.walk, width)

    def _status(self, width: int) -> Text:
        if self.search is not None:
            matches = self.walk.matches(self.search)
            names = "  ".join(self.walk.tensors[number].name for number in matches[:6])
            line = Text.assemble(("/", Style(bold=True)), self.search, ("▏", Style(blink=True)), "   ")
            return line.append(names if matches or not self.search else "nothing", DIM)
        if self.message:
            return Text(self.message, style=Style(bold=True))
        return Text(HINT, style=DIM)


def _help() -> list[Text]:
    lines = [Text("Keys", style=Style(bold=True)), Text()]
    return lines + [
        Text.assemble((f"  {keys.ljust(12)}", Style(bold=True)), meaning) for keys, meaning in KEYS
    ]
