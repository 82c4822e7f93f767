"""The command `refgguf`: one module of this package for each sub-command.

A module is a sub-command when it defines `command`, a click command; its name is the module's and its summary
is the first line of the module's docstring. Listing the commands reads their source and imports none, so that
`refgguf --help` stays quick; a command's module is imported when it is called.

What a user can do wrong ends in one sentence on the error stream and exit code 2; Ctrl-C exits with 130. Any
other exception is a bug of refgguf and keeps its traceback.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from refgguf import __version__
from refgguf.cli.commands import EXIT_INTERRUPTED, LazyGroup
from refgguf.cli.console import announce_compiling, colours
from refgguf.cli.options import examples
from refgguf.errors import RefggufError

EXIT_ERROR = 2
NAME = "refgguf"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "refgguf demo",
        "refgguf info model.gguf",
        'refgguf run model.gguf -p "Once upon a time"',
        'refgguf step model.gguf -p "Once upon a time"',
        'refgguf view model.gguf -p "Once upon a time" --save picture.png',
    ),
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.pass_context
def group(context: click.Context) -> None:
    """See what a local model computes: decode, run, trace and view any GGUF file.

    MODEL is a file's path; `demo` stands for the small model that comes with refgguf, `demo:q4_k_m` for the same
    quantized. Every command explains itself with --help.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # whoever ends the process finds nothing half written, as after Ctrl-C
        # what nohup had ignored stays so
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _end)
    _make_streams_usable()
    announce_compiling()
    sys.exit(call(args))


def _make_streams_usable() -> None:
    """Give a process without standard streams (`>&-`) empty ones, and print what their encoding lacks as "?".

    ASCII is what is set where nobody has set anything; UTF-8 is written there, as click does.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, open to the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            unset = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if unset else None, errors="replace")


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def call(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the words after the program's name; those of this process when None.

    Returns:
        The exit code: 0, 2 for anything the user can put right, 130 after Ctrl-C.
    """
    try:
        code = group.main(
            None if args is None else list(args),
            prog_name=NAME,
            standalone_mode=False,
            color=None if colours() else False,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _fail(_click_message(error))
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except RefggufError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _discard_stdout()
        return 1
    except RuntimeError as error:
        # up to Python 3.11, what ends it while a class is made is wrapped: modules are still being loaded
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _fail("interrupted", EXIT_INTERRUPTED)
        if isinstance(error.__cause__, SystemExit):
            return error.__cause__.code
        raise
    except OSError as error:
        _discard_stdout()
        return _fail(_os_message(error))


def _fail(message: str, code: int = EXIT_ERROR) -> int:
    """Say one line on the error stream."""
    line = " ".join(message.split())
    # a name with undecodable bytes, or a terminal that lacks a letter, must not turn the message into a crash
    stream = sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(f"{NAME}: {line}".encode(encoding, "backslashreplace").decode(encoding), err=True)
    return code


def _click_message(error: click.ClickException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and context is not None:
        return f"{message.rstrip('.')} (see {context.command_path} --help)"
    return message


def _os_message(error: OSError) -> str:
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{os.fsdecode(error.filename)}: {reason}" if error.filename is not None else reason


def _discard_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush cannot fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
