"""Single keys from a terminal, on Unix and on Windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 0.2  # seconds between looks at the window's size
ESCAPE_WAIT = 0.05  # an arrow key's bytes follow its ESC at once; a person's next key does not

# the sequences that terminals send; xterm, its application mode, the Linux console
SEQUENCES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\x1b[H": "home", "\x1b[F": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end",
    "\x1b[5~": "pageup", "\x1b[6~": "pagedown", "\x1b[Z": "backtab", "\x1b[3~": "backspace",
    "\x1b": "escape", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace",
    " ": "space",
}  # fmt: skip
WINDOWS = {
    "H": "up",
    "P": "down",
    "M": "right",
    "K": "left",
    "G": "home",
    "O": "end",
    "I": "pageup",
    "Q": "pagedown",
}


@contextmanager
def single_keys() -> Iterator[None]:
    """Let keys arrive one by one and unseen while the block runs; Ctrl-C goes on working."""
    if os.name == "nt":
        yield
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def read_key() -> str | None:
    """Return the next key: a name such as "right", or the character itself; None when none came for a moment.

    Raises:
        EOFError: the terminal is gone.
    """
    return _read_windows() if os.name == "nt" else _read_unix()


def _read_unix() -> str | None:
    import select

    terminal = sys.stdin.fileno()
    if not select.select([terminal], [], [], TICK)[0]:
        return None
    raw = os.read(terminal, 1)
    if not raw:
        raise EOFError
    if raw == b"\x1b":
        while select.select([terminal], [], [], ESCAPE_WAIT)[0] and len(raw) < 8:
            raw += os.read(terminal, 1)
            if len(raw) > 2 and (raw[-1:].isalpha() or raw[-1:] == b"~"):
                break
    else:
        raw += _rest_of_character(terminal, raw[0])
    text = raw.decode("utf-8", "replace")
    return SEQUENCES.get(text, text if len(text) == 1 else None)


def _rest_of_character(terminal: int, first: int) -> bytes:
    """Read the other bytes of a UTF-8 character."""
    more = 3 if first >= 0xF0 else 2 if first >= 0xE0 else 1 if first >= 0xC0 else 0
    return b"".join(os.read(terminal, 1) for _ in range(more))


def _read_windows() -> str | None:
    import msvcrt
    import time

    end = time.monotonic() + TICK
    while not msvcrt.kbhit():
        if time.monotonic() > end:
            return None
        time.sleep(0.01)
    key = msvcrt.getwch()
    if key in ("\x00", "\xe0"):
        return WINDOWS.get(msvcrt.getwch())
    if key == "\x03":
        raise KeyboardInterrupt
    return SEQUENCES.get(key, key)
