"""Arguments and options that several commands share, so that they look and mean the same everywhere.

Example of a command module:

    import click
    from refgguf.cli import options

    @click.command(epilog=options.examples("refgguf trace model.gguf -p Hello -o out.safetensors"))
    @options.model_argument
    @options.prompt_options
    @options.json_option
    @options.threads_option
    def command(model: str, prompt: options.Prompt, as_json: bool) -> None:
        loaded = refgguf.load(model)
        ids = prompt.ids_for(loaded)
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refgguf.errors import InputError, TokenizerError, TruncatedFileError

if TYPE_CHECKING:
    from refgguf.model import Model

NUMERICS = ("exact", "llama.cpp")
NO_PROMPT = "no prompt; give one with -p TEXT, -f FILE or --ids 1,2,3"


def examples(*lines: str) -> str:
    """Return an epilog that shows these command lines, one a line, as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@dataclass(frozen=True)
class Prompt:
    """What the user asked the model to read: text, or token ids given directly."""

    text: str | None = None
    ids: tuple[int, ...] | None = None

    @property
    def given(self) -> bool:
        """Whether there is a prompt at all."""
        return self.text is not None or self.ids is not None

    def ids_for(self, model: Model) -> list[int]:
        """Return the prompt's token ids.

        Raises:
            TokenizerError: text was given and the model has no tokenizer to read it with.
            TokenRangeError: an id lies outside the vocabulary.
        """
        if self.ids is not None:
            return list(self.ids)
        return list(model.tokenize(self.text or ""))

    def target_for(self, model: Model) -> list[int] | None:
        """Return the token ids of what a decoder has written so far; None if nothing was given.

        Raises:
            TokenizerError: as for `ids_for`.
        """
        if self.ids is not None or self.text is None:
            return None if self.ids is None else list(self.ids)
        return list(model.tokenize(self.text, add_special=False))


def has_tokenizer(model: Model) -> bool:
    """Tell whether the model's tokens have texts; models made for tests may lack a tokenizer."""
    try:
        return model.tokenizer is not None
    except TokenizerError:
        return False


def clean_text(raw: bytes, source: str) -> str:
    """Decode a prompt, or say where it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not valid UTF-8: byte {raw[error.start]:#04x} at position {error.start}; "
            "convert it, or give token ids with --ids"
        ) from None


def read_prompt(text: str | None, file: str | None, ids: str | None, *, required: bool = True) -> Prompt:
    """Make a prompt of the three options that can give one.

    Raises:
        InputError: none or more than one was given, or the one given cannot be read.
    """
    given = [name for name, value in (("-p", text), ("-f", file), ("--ids", ids)) if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} were both given; give the prompt in one way only")
    if text is not None:
        return Prompt(text=clean_text(os.fsencode(text), "the prompt"))
    if file == "-":
        return Prompt(text=clean_text(sys.stdin.buffer.read(), "the prompt on standard input"))
    if file is not None:
        return Prompt(text=clean_text(Path(file).read_bytes(), f"the prompt file {file}"))
    if ids is not None:
        return Prompt(ids=_parse_ids(ids))
    if required:
        raise InputError(NO_PROMPT)
    return Prompt()


def _parse_ids(text: str, option: str = "--ids") -> tuple[int, ...]:
    words = [word for word in re.split(r"[\s,]+", text.strip().strip("[]")) if word]
    for word in words:
        # a vocabulary index is a 32-bit number; longer ones would only make the range error unreadable
        if not re.fullmatch(r"[0-9]{1,10}", word):
            raise InputError(
                f"{option}: {word!r} is not a token id; give whole numbers such as {option} 1,15,7"
            )
    if not words:
        raise InputError(f"{option} is empty; give whole numbers such as {option} 1,15,7")
    return tuple(int(word) for word in words)


def _prompt_options(required: bool) -> Callable[[Callable], Callable]:
    def decorate(function: Callable) -> Callable:
        @click.option("-p", "--prompt", "prompt_text", metavar="TEXT", help="The prompt.")
        @click.option(
            "-f",
            "--file",
            "prompt_file",
            metavar="FILE",
            help="Read the prompt from a file; - is standard input.",
        )
        @click.option("--ids", "prompt_ids", metavar="IDS", help="Give the prompt as token ids: 1,15,7.")
        @functools.wraps(function)
        def wrapper(
            *args: Any, prompt_text: str | None, prompt_file: str | None, prompt_ids: str | None, **rest: Any
        ):
            prompt = read_prompt(prompt_text, prompt_file, prompt_ids, required=required)
            return function(*args, prompt=prompt, **rest)

        return wrapper

    return decorate


def target_option(function: Callable) -> Callable:
    """Add --target and --target-ids, which give the argument `target`: a Prompt."""

    @click.option(
        "--target",
        "target_text",
        metavar="TEXT",
        help="For a model with an encoder (T5): what its decoder has written so far.",
    )
    @click.option("--target-ids", metavar="IDS", help="The same as token ids: 1,15,7.")
    @functools.wraps(function)
    def wrapper(*args: Any, target_text: str | None, target_ids: str | None, **rest: Any):
        if target_text is not None and target_ids is not None:
            raise InputError("--target and --target-ids were both given; give the target in one way only")
        text = None if target_text is None else clean_text(os.fsencode(target_text), "the target")
        ids = None if target_ids is None else _parse_ids(target_ids, "--target-ids")
        return function(*args, target=Prompt(text=text, ids=ids), **rest)

    return wrapper


class ModelName(click.Path):
    """A model's path, where `demo` and `demo:q4_k_m` stand for the embedded model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path of the file."""
        from refgguf.demo.files import located

        return os.fspath(located(super().convert(value, param, ctx)))


model_argument = click.argument("model", metavar="MODEL", type=ModelName())
prompt_options = _prompt_options(required=True)
optional_prompt_options = _prompt_options(required=False)


def partial_option(function: Callable) -> Callable:
    """Add the option --partial, and speak of it where a file turns out to be cut short."""

    @click.option(
        "--partial",
        is_flag=True,
        help="Accept a file of which only the beginning is there, such as a download that was stopped early.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, partial: bool, **rest: Any):
        try:
            return function(*args, partial=partial, **rest)
        except TruncatedFileError as error:
            if partial:
                raise
            raise InputError(f"{error}, or look at what is there with --partial") from error

    return wrapper


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs to read; infinities and NaN are strings."
)

numerics_option = click.option(
    "--numerics",
    type=click.Choice(NUMERICS),
    default="exact",
    show_default=True,
    help="Arithmetic: float32 on decoded weights, or what llama.cpp's CPU backend does.",
)


def output_option(help: str, *, required: bool = False) -> Callable[[Callable], Callable]:
    """Return the option -o/--output."""
    return click.option("-o", "--output", metavar="FILE", type=click.Path(), required=required, help=help)


def _set_threads(context: click.Context, parameter: click.Parameter, value: int | None) -> None:
    # the kernels read this variable when they first start threads; that is after the options are read
    if value is not None:
        os.environ["REFGGUF_THREADS"] = str(value)
        jit = sys.modules.get("refgguf.kernels.jit")
        if jit is not None:
            jit.n_threads.cache_clear()


threads_option = click.option(
    "-t",
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    expose_value=False,
    callback=_set_threads,
    help="Threads to compute with; all processors by default.",
)
