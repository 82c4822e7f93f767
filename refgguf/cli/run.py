"""Continue a prompt: text as it comes, or JSON with log probabilities."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

import refgguf
from refgguf.cli import console, figures, options
from refgguf.cli.commands import EXIT_INTERRUPTED
from refgguf.cli.trace import layer_progress
from refgguf.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from refgguf.model import Model


@dataclass
class Generation:
    """What a run produced, and how long it took.

    Attributes:
        prompt: token ids of the prompt.
        load_seconds: opening the file and reading the prompt.
        prompt_seconds: running the prompt, until the first token is chosen.
        seconds: everything after the first token.
        tokens: ids of the tokens that were chosen.
        texts: what each of them added to the text; "" while a character is incomplete.
        logprobs: natural logarithm of each one's probability under the model, before any filter.
        stop: why it ended: "length", "end", "context" or "interrupted".
        compiled: kernels were compiled meanwhile, so the times say little.
    """

    prompt: list[int]
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    seconds: float = 0.0
    tokens: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop: str = "length"
    compiled: bool = False

    @property
    def text(self) -> str:
        """The generated text."""
        return "".join(self.texts)


@click.command(
    epilog=options.examples(
        'refgguf run model.gguf -p "Once upon a time"',
        'refgguf run model.gguf -p "Once upon a time" -n 50 --temp 0.8 --top-p 0.95 --seed 1',
        "refgguf run model.gguf -f prompt.txt --json",
        'refgguf run model.gguf --chat -p "Who are you?" --system "Answer in one sentence."',
    )
)
@options.model_argument
@options.prompt_options
@click.option(
    "-n",
    "--n-predict",
    "n",
    type=click.IntRange(0),
    default=128,
    show_default=True,
    help="Most tokens to add.",
)
@click.option(
    "--temp",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Temperature; 0 takes the best token.",
)
@click.option(
    "--top-k",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Keep the K best tokens; 0 keeps all.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Keep the best tokens that make up P.",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Keep tokens of at least P times the best one.",
)
@click.option("-s", "--seed", type=click.IntRange(0), default=None, help="Make the choice repeatable.")
@click.option(
    "--chat", is_flag=True, help="Put the prompt through the file's chat template, as a user's message."
)
@click.option("--system", metavar="TEXT", help="With --chat: a system message before it.")
@click.option("--no-echo", is_flag=True, help="On a terminal, do not show the prompt before the text.")
@options.numerics_option
@options.threads_option
@options.json_option
def command(
    model: str,
    prompt: options.Prompt,
    n: int,
    temp: float,
    top_k: int,
    top_p: float,
    min_p: float,
    seed: int | None,
    chat: bool,
    system: str | None,
    no_echo: bool,
    numerics: str,
    as_json: bool,
) -> None:
    """Let MODEL continue a prompt.

    Text goes to standard output as it is chosen, speed to the error stream. It ends at the model's end token,
    after -n tokens, when the context is full, or with Ctrl-C.
    """
    if system is not None and not chat:
        raise InputError("--system is a message of a conversation; give --chat too")
    start = time.perf_counter()
    loaded = refgguf.load(model, numerics=numerics)
    loaded.check_writes()
    result = Generation(chat_ids(loaded, prompt, system) if chat else prompt.ids_for(loaded))
    result.load_seconds = time.perf_counter() - start
    person = console.is_terminal(sys.stdout)
    echo = ""
    if person and not as_json and not no_echo:
        echo = click.style(prompt_text(loaded, result.prompt), dim=True)
    sampling = {"temperature": temp, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed}
    try:
        for piece in generate(loaded, result, n, sampling):
            if not as_json:
                click.echo(echo, nl=False)
                echo = ""
                # a model may produce any byte; on a screen, none of them may become a command to the terminal
                click.echo(piece.replace("\x1b", "␛") if person else piece, nl=False)
    except KeyboardInterrupt:
        result.stop = "interrupted"
    if as_json:
        console.print_json(as_dict(result))
    else:
        click.echo(echo)
        console.note(speed(result))
    if result.stop == "interrupted":
        click.get_current_context().exit(EXIT_INTERRUPTED)


def generate(model: Model, result: Generation, n: int, sampling: dict) -> Iterator[str]:
    """Generate into `result` and yield each piece of text that is complete."""
    from refgguf.kernels.compiling import watch

    words, before = options.has_tokenizer(model), watch.seconds
    start = time.perf_counter()
    steps = model.generate(result.prompt, n=n, **sampling)
    with layer_progress(model, len(result.prompt), tapped=False):
        first = list(islice(steps, 1))
    for step in chain(first, steps):
        now = time.perf_counter()
        if not result.tokens:
            result.prompt_seconds, start = now - start, now
            result.compiled = watch.seconds > before
        result.seconds = now - start
        result.tokens.append(step.token)
        result.texts.append(step.text if words else f"{model.token_text(step.token)} ")
        result.logprobs.append(logprob(step.logits, step.token))
        yield result.texts[-1]
    result.stop = why_it_ended(model, result, n)


def chat_ids(model: Model, prompt: options.Prompt, system: str | None) -> list[int]:
    """Return the tokens of a conversation that asks for an answer to the prompt."""
    from refgguf.chat import encode

    if prompt.text is None:
        raise InputError(
            "--chat turns a text into a conversation; give the prompt with -p or -f, not as --ids"
        )
    messages = [{"role": "user", "content": prompt.text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return encode(messages, model.tokenizer)


def prompt_text(model: Model, ids: list[int]) -> str:
    """Return the text of a prompt; labels such as #17 where the model has no tokenizer."""
    if options.has_tokenizer(model):
        return model.detokenize(ids)
    return "".join(f"{model.token_text(token)} " for token in ids)


def why_it_ended(model: Model, result: Generation, n: int) -> str:
    """Tell why generation stopped by itself."""
    if result.tokens and options.has_tokenizer(model) and model.tokenizer.is_end(result.tokens[-1]):
        return "end"
    return "length" if len(result.tokens) >= n else "context"


def logprob(logits: np.ndarray, token: int) -> float:
    """Return the natural logarithm of a token's probability."""
    import numpy as np

    shifted = logits.astype(np.float64) - logits.max()
    return float(shifted[token] - np.log(np.exp(shifted).sum()))


def as_dict(result: Generation) -> dict[str, object]:
    """Return a run for JSON."""
    return {
        "prompt_tokens": result.prompt,
        "tokens": result.tokens,
        "text": result.text,
        "texts": result.texts,
        "logprobs": result.logprobs,
        "stop": result.stop,
        "timings": {
            "compiled_kernels": result.compiled,
            "load_seconds": result.load_seconds,
            "prompt_seconds": result.prompt_seconds,
            "prompt_tokens_per_second": per_second(len(result.prompt), result.prompt_seconds),
            "generation_seconds": result.seconds,
            "generation_tokens_per_second": per_second(len(result.tokens) - 1, result.seconds),
        },
    }


def per_second(count: int, seconds: float) -> float | None:
    """Return a rate, or None where nothing was measured."""
    return count / seconds if count > 0 and seconds > 0 else None


def speed(result: Generation) -> str:
    """Return the line about speed.

    The first token is chosen from the prompt's own logits, so its time is the prompt's.
    """
    parts = []
    if rate := per_second(len(result.prompt), result.prompt_seconds):
        parts.append(f"prompt {figures.plural(len(result.prompt), 'token')}, {rate:.1f} tokens/s")
    if rate := per_second(len(result.tokens) - 1, result.seconds):
        parts.append(f"generation {figures.plural(len(result.tokens), 'token')}, {rate:.1f} tokens/s")
    ends = {
        "end": "end token",
        "length": "-n reached",
        "context": "context full",
        "interrupted": "interrupted",
    }
    if result.compiled:
        parts.append("kernels compiled on this first run, later ones are faster")
    return " · ".join([*parts, f"stopped: {ends[result.stop]}"])
