"""The command line's frame: help, errors in one line, exit codes, pipes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from refgguf import cli
from refgguf.cli import commands, console
from refgguf.errors import GGUFError, InputError
from tests.support.interruptible import interruptible


def refgguf(*args: str, **options) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    options = {"capture_output": True, "timeout": 240, **options}
    return subprocess.run([sys.executable, "-m", "refgguf", *args], **options)


def call_raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Run a command that raises this error, and return the exit code."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(commands, "summaries", lambda: {"broken": "Raises"})
    monkeypatch.setattr(commands.LazyGroup, "get_command", lambda self, ctx, name: command)
    return cli.call(["broken"])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (GGUFError("this is wrong", path="x.gguf", offset=8), "refgguf: x.gguf, byte 8: this is wrong"),
        (InputError("two\nlines"), "refgguf: two lines"),
        (FileNotFoundError(2, "No such file or directory", "x"), "refgguf: x: no such file or directory"),
        (PermissionError(13, "Permission denied", "x"), "refgguf: x: permission denied"),
        (IsADirectoryError(21, "Is a directory", "x"), "refgguf: x: is a directory"),
        (OSError(28, "No space left on device"), "refgguf: no space left on device"),
        (click.ClickException("odd"), "refgguf: odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_do_wrong_is_one_line_and_exit_2(monkeypatch, capsys, error, sentence):
    """Errors made on purpose, errors of the system and click's own all end in one line and code 2."""
    assert call_raising(monkeypatch, error) == 2
    assert capsys.readouterr().err == sentence + "\n"


def test_ctrl_c_is_one_line_and_exit_130(monkeypatch, capsys):
    """Ctrl-C is no error of the program: one line, and the shell's code for it."""
    assert call_raising(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == "refgguf: interrupted"


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Any other exception goes through: hiding it would hide where it came from."""
    with pytest.raises(ZeroDivisionError):
        call_raising(monkeypatch, ZeroDivisionError("a bug"))


def test_a_message_that_the_terminal_cannot_show_is_still_one_line():
    """An undecodable file name in an ASCII locale gives the message, not a crash while printing it."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = refgguf("frobnicate", "ü", env=environment)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_with_its_summary(args):
    """Help needs no argument and shows the first docstring line of each command."""
    done = refgguf(*args)
    shown = done.stdout.decode()
    assert done.returncode == 0
    assert commands.summaries()
    for name, summary in commands.summaries().items():
        assert summary, f"the module of `{name}` has no docstring"
        assert name in shown
        assert " ".join(summary.split())[:40] in " ".join(shown.split())


def test_every_command_has_its_place_in_the_help():
    """The groups of --help name every command once, and nothing else."""
    named = [name for names in commands.GROUPS.values() for name in names]
    assert sorted(named) == sorted(commands.summaries())


def test_help_imports_no_command():
    """`refgguf --help` reads the commands' sources and imports neither them nor anything heavy."""
    script = (
        "import sys\nfrom refgguf.cli import call\ncall(['--help'])\n"
        "print(sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True
    )
    loaded = done.stderr
    for heavy in ("'numba'", "'vispy'", "'rich'", "'numpy'", "'PySide6'", "'gguf'"):
        assert heavy not in loaded
    for name in commands.summaries():
        assert f"'refgguf.cli.{name.replace('-', '_')}'" not in loaded


@pytest.mark.parametrize("name", sorted(commands.summaries()))
def test_every_command_has_help_with_an_example(name, capsys):
    """Each command's help says what it does and shows a command line to copy."""
    assert cli.call([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"refgguf {name} " in shown.split("Examples:")[1]
    assert shown.startswith(f"Usage: refgguf {name}")


@pytest.mark.parametrize("name", sorted(commands.summaries()))
def test_every_command_refuses_a_missing_file_in_one_line(name, capsys, tmp_path):
    """A model file that is not there is named, in one line, with exit code 2."""
    missing = tmp_path / "missing.gguf"
    needs_prompt = name in {"run", "trace", "step", "view"}
    words = [name, str(missing), *(["-p", "x"] if needs_prompt else [])]
    words += ["-o", str(tmp_path / "out.npz")] if name == "trace" else []
    assert cli.call(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("refgguf: ")
    assert not (tmp_path / "out.npz").exists()


def test_version():
    """--version prints the program and its version."""
    import refgguf as package

    assert refgguf("--version").stdout.decode() == f"refgguf {package.__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys):
    """A misspelled command is answered with the one that was meant."""
    nearest = next(iter(commands.summaries()))
    assert cli.call([nearest + "x"]) == 2
    assert f"did you mean '{nearest}'?" in capsys.readouterr().err


def test_an_unknown_option_says_where_to_look(capsys):
    """Click's own errors come in our form: one line, with the help to read."""
    assert cli.call(["--frobnicate"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--frobnicate" in error
    assert "refgguf --help" in error


@pytest.mark.skipif(os.name == "nt", reason="pipes of a Unix shell")
def test_a_closed_pipe_is_quiet():
    """`refgguf … | head` prints no error when head has seen enough."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "refgguf", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=240,
        check=False,
    )
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to play a full disk")
def test_a_full_disk_is_one_line():
    """Output that does not fit on the disk is said in one line."""
    with open("/dev/full", "wb") as full:
        done = refgguf("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"refgguf: no space left on device\n"


@pytest.mark.parametrize("words", [["support"], ["block", "output.weight"], ["info"], ["compare"]])
def test_no_color_is_respected(words, speaking_model, capsys, monkeypatch):
    """With NO_COLOR nothing on a terminal has a colour, and what colours say is said otherwise."""
    monkeypatch.setattr(console, "is_terminal", lambda stream: stream is sys.stdout)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    path = str(speaking_model)
    words = {"support": words, "compare": ["compare", path, path, "--ids", "1,2"]}.get(
        words[0], [words[0], path, *words[1:]]
    )
    assert cli.call(words) == 0
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.call(words) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-9]m", shown)
    assert words[0] != "block" or "[in brackets]" in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_unicode_sees_what_it_can(speaking_model, encoding):
    """Where no UTF-8 is set, pages come out with "?" for what cannot be shown, and JSON loses nothing."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for words in (["info"], ["step", "-p", "Once", "--token", "0", "--at", "embed"], ["tensors", "--stats"]):
        done = refgguf(words[0], str(speaking_model), *words[1:], env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout.splitlines()) > 10
    done = refgguf("support", "tokenizers", "--json", env=environment)
    assert done.stdout.isascii() or encoding == "ascii"  # which means UTF-8: nobody has set anything
    assert "▁" in str(json.loads(done.stdout))


@pytest.mark.skipif(os.name == "nt", reason="closes file handles as POSIX does")
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_is_an_empty_one(closed):
    """Started without input, output or error stream, a command neither crashes nor writes elsewhere."""
    code = (
        f"import os, sys; os.close({closed}); "
        "os.execv(sys.executable, [sys.executable, '-m', 'refgguf', 'support', 'tokenizers'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=240)
    assert done.returncode == 0
    assert done.stderr == b""
    assert (b"SentencePiece" in done.stdout) == (closed != 1)


@pytest.mark.skipif(os.name == "nt", reason="closes file handles as POSIX does")
def test_a_prompt_from_a_closed_input_is_an_empty_one(speaking_model):
    """`-f -` without a standard input reads an empty prompt, as from /dev/null."""
    code = (
        "import os, sys; os.close(0); "
        "os.execv(sys.executable, [sys.executable, '-m', 'refgguf', 'tokenize', sys.argv[1], '-f', '-', '--ids'])"
    )
    closed = subprocess.run([sys.executable, "-c", code, speaking_model], capture_output=True, timeout=240)
    empty = refgguf("tokenize", str(speaking_model), "-f", "-", "--ids", stdin=subprocess.DEVNULL)
    assert closed.stdout == empty.stdout
    assert closed.returncode == empty.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_sigint_ends_a_waiting_program_with_130(tmp_path):
    """Ctrl-C while the program waits for its prompt on standard input: one line, 130."""
    (tmp_path / "any.gguf").write_bytes(b"GGUF")
    words = ["trace", str(tmp_path / "any.gguf"), "-f", "-", "-o", str(tmp_path / "x.npz")]
    process = interruptible(
        [sys.executable, "-c", PRINTS_WHEN_READ + "main(sys.argv[1:])", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"waits\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 130
    assert error.strip() == b"refgguf: interrupted"
    assert os.listdir(tmp_path) == ["any.gguf"]


PRINTS_WHEN_READ = """
import sys
from refgguf.cli import main

class Input:
    def __init__(self, stream):
        self.buffer, self.stream = self, stream

    def read(self):
        print("waits", flush=True)
        return self.stream.buffer.read()

    def __getattr__(self, name):
        return getattr(self.stream, name)

sys.stdin = Input(sys.stdin)
"""


@pytest.mark.parametrize("end, code", [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_end_while_modules_are_loaded_is_an_end(monkeypatch, capsys, end, code):
    """What Python 3.11 wraps, because it came while a class was being made, still ends the program in order."""

    def loading(*args, **kwargs):
        raise RuntimeError("Error calling __set_name__") from end

    monkeypatch.setattr(cli.group, "main", loading)
    assert cli.call([]) == code
    assert "Traceback" not in capsys.readouterr().err
