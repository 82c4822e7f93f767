"""The program that runs one chat template in a process of its own: a job in JSON in, the text or an error out.

It is started by its path and imports nothing of refgguf, so that the process is small and quick.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

MOST_RANGE = 100_000  # numbers in a range; Jinja's own limit
MOST_DIGITS = 10_000  # of the numbers that ** may make
MOST_SHOWN = 300  # characters of a foreign message


def main() -> None:
    """Read a job from standard input and write the answer to standard output."""
    job = json.load(sys.stdin.buffer)
    sys.path[:] = job["path"]
    try:
        answer = {"text": run(job)}
    except Refusal as refusal:
        answer = {"error": str(refusal)}
    except MemoryError:
        answer = {"error": "the chat template takes too much memory"}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    sys.stdout.buffer.flush()


class Refusal(Exception):
    """Something to tell the user."""


def run(job: dict[str, Any]) -> str:
    """Render a template.

    Raises:
        Refusal: the template is not valid, fails, refuses its input, or does what it must not.
    """
    try:
        import jinja2
        from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
    except ImportError as error:
        raise Refusal(f"chat templates need the package jinja2: {error}") from None
    limits = job["limits"]
    environment = make_environment(datetime.fromisoformat(job["now"]), limits["characters"])
    limit_process(limits)
    try:
        return joined(
            environment.from_string(job["template"]).generate(**job["variables"]), limits["characters"]
        )
    except (Refusal, MemoryError):
        raise
    except TemplateSyntaxError as error:
        raise Refusal(f"the chat template is not valid Jinja, line {error.lineno}: {short(error)}") from None
    except SecurityError as error:
        raise Refusal(f"the chat template tries what its sandbox does not allow: {short(error)}") from None
    except jinja2.UndefinedError as error:
        raise Refusal(
            f"the chat template uses what it was not given{line_of(error)}: {short(error)}"
        ) from None
    except TemplateError as error:
        raise Refusal(f"the chat template cannot be used{line_of(error)}: {short(error)}") from None
    except RecursionError:
        raise Refusal("the chat template nests too deeply") from None
    except Exception as error:  # a template can raise anything
        raise Refusal(
            f"the chat template failed{line_of(error)}: {type(error).__name__}: {short(error)}"
        ) from None


def make_environment(now: datetime, most_characters: int) -> Any:
    """Return a sandbox with what templates written for Hugging Face's transformers expect."""
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                if abs(left) > 1 and right * len(str(left)) > MOST_DIGITS:
                    raise SecurityError("a number with too many digits")
            elif max(size_of(left) * amount(right), size_of(right) * amount(left)) > most_characters:
                raise SecurityError("a text or list that is too long")
            return super().call_binop(context, operator, left, right)

    class IgnoreGeneration(Extension):
        """Reads `{% generation %}…{% endgeneration %}`, which marks training data, as if it were not there."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[IgnoreGeneration, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = now.strftime
    return environment


def size_of(value: Any) -> int:
    """Return how long a text or list is, 0 for anything else."""
    return len(value) if isinstance(value, str | list | tuple) else 0


def amount(value: Any) -> int:
    """Return a whole number, 0 for anything else."""
    return value if isinstance(value, int) else 0


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON without HTML's escapes, as transformers' filter does."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: object) -> NoReturn:
    """Refuse the messages, in the template's own words."""
    raise Refusal(f"the chat template refuses these messages: {short(message)}")


def joined(parts: Any, most_characters: int) -> str:
    """Join the parts of the result as they come, as long as they are few enough."""
    found, n_characters = [], 0
    for part in parts:
        found.append(part)
        n_characters += len(part)
        if n_characters > most_characters:
            raise Refusal(f"the chat template writes more than {most_characters:,} characters")
    return "".join(found)


def short(message: object) -> str:
    """Return a foreign message on one line, cut if it is long."""
    text = " ".join(str(message).split())
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def line_of(error: BaseException) -> str:
    """Return ", line 7" of the place in the template where an error arose, if it is known."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""


def limit_process(limits: dict[str, Any]) -> None:
    """Let the system end this process when it takes too much, where it can."""
    try:
        import resource
    except ImportError:  # not on Windows, where the caller's clock is all there is
        return
    seconds = int(limits["seconds"]) + 1
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            continue


if __name__ == "__main__":
    main()
