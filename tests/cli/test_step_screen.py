"""The stepper on a terminal: frames of every size, keys, and a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import sys
import time
from pathlib import Path

import pytest

import refgguf
from refgguf.cli.stepper.guesses import Guesses
from refgguf.cli.stepper.screen import HINT, KEYS, SMALLEST, Screen
from refgguf.cli.stepper.walk import Walk
from tests.support.interruptible import interruptible
from tests.support.models import CONTEXT
from tests.support.speaking_model import speaking_llama

PATIENCE = 240  # seconds; compiling kernels on a busy machine takes its time


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A tiny model that speaks."""
    return speaking_llama().write(tmp_path / "model.gguf")


@pytest.fixture
def screen(model_file: Path) -> Screen:
    """A screen on a tiny model, never shown."""
    model = refgguf.load(model_file)
    walk = Walk(model, model.tokenize("Once upon a"), lambda ids: model.trace(list(ids)))
    return Screen(walk, Guesses(model))


def text(screen: Screen, columns: int = 100, lines: int = 40) -> str:
    """Return a frame as plain text."""
    return "\n".join(line.plain for line in screen.frame(columns, lines))


@pytest.mark.parametrize("columns", [SMALLEST[0], 80, 100, 200])
@pytest.mark.parametrize("lines", [SMALLEST[1], 24, 50])
def test_every_frame_fits_its_window(screen: Screen, columns: int, lines: int):
    """Every operation's page has at most the window's lines, and its heading and guesses fit its width."""
    screen.walk.token = 2
    for number in range(screen.walk.n_operations):
        screen.walk.operation = number
        frame = screen.frame(columns, lines)
        assert len(frame) <= lines
        assert all(line.cell_len <= columns for line in frame[:5])
        assert frame[-1].plain == HINT[:columns] or frame[-1].plain == HINT


def test_a_window_too_small_says_so(screen: Screen):
    """Below the smallest size there is one line that asks for more room."""
    assert "larger" in text(screen, SMALLEST[0] - 1, 40)


def test_a_frame_says_where_and_what(screen: Screen):
    """The page names token, layer, operation, formula, source, shape, numbers and the best guess."""
    screen.walk.go(2, "blk.1.attn_q")
    shown = text(screen)
    for part in (
        "token 3/",
        "blk.1.attn_q",
        "queries",
        "Wq",
        "blk.1.attn_norm",
        "blk.1.attn_q.weight",
        "head 4 × d_head 12",
    ):
        assert part in shown
    assert "best guesses for the next token, read off blk.1.resid_pre" in shown
    assert "48 values" in shown


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        (["right", "right", "left"], (0, "blk.0.resid_pre")),
        (["space", "enter", "l"], (0, "blk.0.attn_q")),
        (["down", "down"], (0, "blk.1.resid_pre")),
        (["down", "down", "up"], (0, "blk.0.resid_pre")),
        (["tab", "t", "backtab"], (1, "embed")),
        (["end"], (0, "logits")),
        (["end", "home"], (0, "embed")),
        (["end", "right"], (1, "embed")),
        (["/", *"attn_probs", "enter"], (0, "blk.0.attn_probs")),
        (["/", *"attn_probs", "enter", "n", "n"], (0, "blk.2.attn_probs")),
        (["/", *"attn_probs", "enter", "n", "n", "n"], (0, "blk.0.attn_probs")),
        (["/", *"logitsx", "backspace", "enter"], (0, "logits")),
        (["/", *"logits", "escape"], (0, "embed")),
        (["?", "right"], (0, "embed")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_keys_move(screen: Screen, keys: list[str], where: tuple[int, str]):
    """Each key goes where the help says."""
    for key in keys:
        assert screen.press(key)
    assert (screen.walk.token, screen.walk.current.name) == where


def test_tab_past_the_last_token_lets_the_model_go_on(screen: Screen):
    """At the last token, tab appends the model's best guess; at the context's end it says that it is full."""
    n = screen.walk.n_tokens
    screen.walk.token = n - 1
    screen.press("tab")
    assert screen.walk.n_tokens == n + 1
    screen.walk._run([1] * CONTEXT)
    screen.walk.token = CONTEXT - 1
    screen.press("tab")
    assert screen.walk.n_tokens == CONTEXT
    assert str(CONTEXT) in screen.message


def test_q_and_escape_quit(screen: Screen):
    """Both end the walk."""
    assert not screen.press("q")
    assert not screen.press("escape")


def test_help_lists_every_key(screen: Screen):
    """The help page shows all keys, and any key leaves it."""
    screen.press("?")
    shown = text(screen)
    assert all(meaning in shown for _, meaning in KEYS)
    screen.press("x")
    assert not screen.help


def test_a_search_shows_what_it_would_find(screen: Screen):
    """While typing, the matches are listed."""
    for key in ["/", *"ffn_act"]:
        screen.press(key)
    assert "blk.0.ffn_act  blk.1.ffn_act" in text(screen, 100)
    screen.press("z")
    assert "nothing" in text(screen).splitlines()[-1]


def test_a_long_page_scrolls(screen: Screen):
    """When the page is longer than the window, page down shows the rest and page up goes back."""
    screen.walk.go(2, "blk.0.attn_q")
    first = text(screen, 80, 16)
    assert "page down" in first
    screen.press("pagedown")
    assert text(screen, 80, 16) != first
    screen.press("pageup")
    assert text(screen, 80, 16) == first


class Terminal:
    """A program on a pseudo-terminal, and what it has drawn."""

    def __init__(self, words: list[str], columns: int = 100, lines: int = 40):
        import fcntl
        import pty
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = interruptible(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)
        self.drawn = b""

    @property
    def raw(self) -> str:
        """Everything that has been drawn, with the terminal's own sequences."""
        return self.drawn.decode("utf-8", "replace")

    def frame(self) -> str:
        """Return the latest complete frame as plain text."""
        latest = self.raw.rpartition("\x1b[H")[2]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", latest)

    def wait_for(self, wanted: str) -> str:
        """Read until the latest frame contains this text."""
        end = time.monotonic() + PATIENCE
        while wanted not in self.frame():
            assert time.monotonic() < end, f"{wanted!r} did not appear; last frame:\n{self.frame()}"
            self.read(0.2)
        return self.frame()

    def read(self, seconds: float) -> bool:
        """Read what the program has drawn; returns whether there was anything."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            new = os.read(self.master, 65536)
        except OSError:  # Linux's way to say that the program has closed the terminal
            time.sleep(0.05)
            return False
        self.drawn += new
        return bool(new)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Wait for the program's end and return its exit code."""
        limit = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < limit:
            self.read(0.05)
        while self.read(0.05):  # a terminal hands over no more than a few thousand bytes at once
            pass
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()


unix_only = pytest.mark.skipif(os.name == "nt", reason="needs a Unix pseudo-terminal")


@pytest.fixture
def terminal(model_file: Path):
    """`refgguf step` on a pseudo-terminal, its first page drawn."""
    started = Terminal([sys.executable, "-m", "refgguf", "step", str(model_file), "-p", "Once upon a"])
    started.wait_for(HINT)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    os.close(started.master)


@unix_only
def test_a_walk_on_a_real_terminal(terminal: Terminal):
    """Arrow keys, a search, tokens past the prompt and quitting work through a terminal's own byte sequences."""
    assert "token embedding" in terminal.frame()
    terminal.type("\x1b[C")
    terminal.wait_for("blk.0.resid_pre  residual stream")
    terminal.type("\x1b[B")
    terminal.wait_for("blk.1.resid_pre  residual stream")
    terminal.type("/pattern")
    terminal.wait_for("/pattern")
    terminal.type("\r")
    terminal.wait_for("blk.1.attn_probs  attention pattern")
    terminal.wait_for("head 3")  # the frame comes in pieces
    terminal.type("\t")
    terminal.wait_for("token 2/")
    terminal.type("q")
    assert terminal.end() == 0
    # the screen and the cursor are given back
    assert terminal.raw.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in terminal.raw
    assert "Traceback" not in terminal.raw


@unix_only
def test_ctrl_c_gives_the_terminal_back(terminal: Terminal):
    """Ctrl-C leaves the full screen and ends with 130."""
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "\x1b[?1049l" in terminal.raw
    assert "Traceback" not in terminal.raw


@unix_only
def test_a_resized_window_is_drawn_anew(terminal: Terminal):
    """When the window changes, the page follows without a key."""
    import fcntl
    import termios

    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 30, 0, 0))
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.wait_for("please make the window larger")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    terminal.wait_for(HINT)
