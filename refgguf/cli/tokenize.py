"""Show how a model's tokenizer cuts text, or turn token ids back into text."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

import refgguf
from refgguf.chat import encode_rendered, render
from refgguf.cli import console, options
from refgguf.errors import InputError
from refgguf.tokenizer import Tokenizer, load_tokenizer

HEADERS = ("ID", "TEXT", "BYTES", "KIND")
COLOURS = ("cyan", "yellow")  # neighbours in the coloured text


@click.command(
    epilog=options.examples(
        'refgguf tokenize model.gguf "Once upon a time"',
        "refgguf tokenize model.gguf --file story.txt --ids",
        'refgguf tokenize model.gguf "<|im_start|>user" --no-parse-special --json',
        'refgguf tokenize model.gguf "Who are you?" --chat',
        'refgguf tokenize model.gguf --decode "9038 2501 263 931"',
    )
)
@options.model_argument
@click.argument("text", metavar="[TEXT]", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read the text from a file; - is standard input.")
@click.option("--decode", "ids", metavar="IDS", help='Turn token ids into text: --decode "1 15 7".')
@click.option("--ids", "only_ids", is_flag=True, help="Print the ids alone, on one line.")
@click.option("--no-special", is_flag=True, help="Add no special tokens such as BOS around the text.")
@click.option(
    "--parse-special/--no-parse-special",
    default=True,
    show_default=True,
    help="Read special tokens written in the text, such as <|im_end|>, as tokens.",
)
@click.option("--chat", is_flag=True, help="Put TEXT through the chat template first, as a user's message.")
@click.option("--lenient", is_flag=True, help="Take bytes that are not UTF-8 as llama.cpp takes them.")
@options.json_option
def command(
    model: str,
    text: str | None,
    file: str | None,
    ids: str | None,
    only_ids: bool,
    no_special: bool,
    parse_special: bool,
    chat: bool,
    lenient: bool,
    as_json: bool,
) -> None:
    """Show the tokens of TEXT as MODEL's tokenizer makes them: id, text, bytes.

    Without TEXT, --file and --decode the text comes from standard input. With --decode, special tokens are shown
    as their texts unless --no-special is given.
    """
    given = [
        name for name, value in (("TEXT", text), ("--file", file), ("--decode", ids)) if value is not None
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} were both given; give the text in one way only")
    with refgguf.open(model) as opened:
        tokenizer = load_tokenizer(opened.metadata)
        if ids is not None:
            _print_decoded(tokenizer, parse_ids(ids), not no_special, as_json)
            return
        raw = _read(text, file)
        source = raw if lenient else _valid(raw, file)
        if chat:
            source = render([{"role": "user", "content": _valid(raw, file).decode()}], tokenizer)
            tokens = encode_rendered(source, tokenizer)
        else:
            tokens = tokenizer.encode(source, add_special=not no_special, parse_special=parse_special)
        if only_ids and not as_json:
            click.echo(" ".join(map(str, tokens)))
        elif as_json:
            console.print_json(tokens if only_ids else [_described(tokenizer, id) for id in tokens])
        else:
            _print_table(tokenizer, tokens, len(source.encode() if isinstance(source, str) else source))


def parse_ids(text: str) -> list[int]:
    """Read token ids with blanks or commas between them.

    Raises:
        InputError: there is something else in the text.
    """
    words = [word for word in re.split(r"[\s,]+", text.strip().strip("[]")) if word]
    for word in words:
        if not re.fullmatch(r"[0-9]{1,10}", word):
            raise InputError(
                f'--decode: {word!r} is not a token id; give whole numbers such as --decode "1 15 7"'
            )
    return [int(word) for word in words]


def _read(text: str | None, file: str | None) -> bytes:
    if text is not None:
        return os.fsencode(text)
    if file is None and console.is_terminal(sys.stdin):
        raise InputError("no text; give TEXT, --file FILE or --decode IDS")
    return sys.stdin.buffer.read() if file in (None, "-") else Path(file).read_bytes()


def _valid(raw: bytes, file: str | None) -> bytes:
    """Return the bytes, or say where they are not UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        source = "the text" if file in (None, "-") else file
        raise InputError(
            f"{source} is not valid UTF-8: byte {raw[error.start]:#04x} at position {error.start:,}; "
            "convert it, or read it with --lenient as llama.cpp does"
        ) from None
    return raw


def _described(tokenizer: Tokenizer, id: int) -> dict[str, object]:
    return {
        "id": id,
        "text": tokenizer.token_text(id),
        "bytes": tokenizer.token_bytes(id).hex(),
        "special": tokenizer.is_special(id),
    }


def _kind(tokenizer: Tokenizer, id: int) -> str:
    kinds = ["special"] if tokenizer.is_special(id) else []
    kinds += [
        name for name, known in (("BOS", tokenizer.bos), ("EOS", tokenizer.eos)) if id == known and kinds
    ]
    return ", ".join([*kinds, *(["ends the text"] if tokenizer.is_end(id) else [])])


def _print_table(tokenizer: Tokenizer, tokens: list[int], n_bytes: int) -> None:
    if console.is_terminal(sys.stdout):
        texts = [tokenizer.token_text(id) for id in tokens]
        click.echo(
            "".join(click.style(text, fg=COLOURS[k % 2], reverse=True) for k, text in enumerate(texts))
        )
        click.echo()
    rows = []
    for id in tokens:
        # quotes show where a token begins and ends, spaces included
        rows.append(
            (
                str(id),
                f'"{tokenizer.token_text(id)}"',
                tokenizer.token_bytes(id).hex(" "),
                _kind(tokenizer, id),
            )
        )
    console.print_table(HEADERS, rows, shrink=1)
    if tokens:
        console.note(f"{len(tokens):,} tokens, {n_bytes:,} bytes ({n_bytes / len(tokens):.2f} bytes a token)")


def _print_decoded(tokenizer: Tokenizer, ids: list[int], special: bool, as_json: bool) -> None:
    text = tokenizer.decode(ids, special=special)
    if as_json:
        console.print_json({"text": text, "tokens": [_described(tokenizer, id) for id in ids]})
    else:
        click.echo(text)
