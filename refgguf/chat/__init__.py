"""Chat templates: turn a conversation into the text that the model was trained to read.

    messages = [{"role": "user", "content": "Hello"}]
    text = render(messages, file.metadata)
    ids = encode(messages, file.metadata)

A template is a program that came with the file, written by anyone. It runs in Jinja's sandbox, where it can reach
nothing but its inputs, and in a process of its own that is ended when it takes too long or too much memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from refgguf.errors import ChatTemplateError, InputError, TokenizerError
from refgguf.tokenizer import Tokenizer, load_tokenizer
from refgguf.tokenizer.metadata import read_text

__all__ = ["encode", "encode_rendered", "render", "template_names", "template_source"]

KEY = "tokenizer.chat_template"
WITH_TOOLS = "tool_use"  # the name of the template that is meant for conversations with tools
MOST_SECONDS = 10.0
MOST_CHARACTERS = 1 << 22  # of the result; a context of a million tokens holds about as many
MOST_MEMORY = 1 << 30  # bytes, where the system can limit it
MOST_SOURCE = 1 << 20  # characters of a template; the longest known has 40,000
_SANDBOX = Path(__file__).with_name("sandbox.py")


def template_names(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names of the file's chat templates; the unnamed one is `"default"`."""
    names = [key.removeprefix(KEY + ".") for key in metadata if key.startswith(KEY + ".")]
    return ["default", *names] if KEY in metadata else names


def template_source(metadata: Mapping[str, Any], name: str | None = None) -> str:
    """Return a chat template as the file has it.

    Args:
        metadata: the file's metadata.
        name: which of several; None or `"default"` for the unnamed one.

    Raises:
        ChatTemplateError: there is no such template, or it is absurdly long.
    """
    key = KEY if name in (None, "default") else f"{KEY}.{name}"
    try:
        source = read_text(metadata, key)
    except TokenizerError as error:
        raise ChatTemplateError(str(error)) from None
    if source is None:
        known = template_names(metadata)
        hint = (
            f"it has {', '.join(known)}"
            if known
            else "the model may not be made for chat; give it plain text"
        )
        raise ChatTemplateError(f"the file has no chat template {key}; {hint}")
    if len(source) > MOST_SOURCE:
        raise ChatTemplateError(f"{key} has {len(source):,} characters; {MOST_SOURCE:,} is the most")
    return source


def render(
    messages: Sequence[Mapping[str, Any]],
    source: Mapping[str, Any] | Tokenizer,
    *,
    add_generation_prompt: bool = True,
    template: str | None = None,
    name: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    now: datetime | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a conversation, special tokens written out.

    `encode` makes tokens of it, with one BOS where the model wants one.

    Args:
        messages: in order; each has a `role` (such as "system", "user", "assistant") and a `content`.
        source: a file's metadata, or its tokenizer.
        add_generation_prompt: end with what introduces the assistant's answer.
        template: a template to use instead of the file's.
        name: which of the file's templates; None for the usual one.
        tools: functions the model may call, as JSON schemas.
        documents: texts the model may refer to.
        now: the time that a template sees; the present if None.
        variables: more for the template to see, such as `enable_thinking`.

    Raises:
        ChatTemplateError: there is no template, it is not valid, it fails or refuses the messages, or it takes too
            long or too much memory.
        InputError: the messages are no list of mappings with a role.
    """
    tokenizer = source if isinstance(source, Tokenizer) else load_tokenizer(source)
    metadata = tokenizer.metadata
    if template is None:
        if name is None and tools and f"{KEY}.{WITH_TOOLS}" in metadata:
            name = WITH_TOOLS
        template = template_source(metadata, name)
    seen = dict(variables or {}) | _special_texts(tokenizer)
    seen |= {"messages": _checked(messages), "tools": tools, "documents": documents}
    seen["add_generation_prompt"] = add_generation_prompt
    job = {"template": template, "variables": seen, "now": (now or datetime.now()).isoformat()}
    return _run(job)


def encode(
    messages: Sequence[Mapping[str, Any]], source: Mapping[str, Any] | Tokenizer, **options: Any
) -> list[int]:
    """Return the token ids of a conversation.

    Args:
        messages: as for `render`.
        source: a file's metadata, or its tokenizer.
        options: as for `render`.

    Raises:
        ChatTemplateError: as for `render`.
        InputError: as for `render`.
        TokenizerError: the file has no usable tokenizer.

    Exactness: as llama.cpp; see `encode_rendered`.
    """
    tokenizer = source if isinstance(source, Tokenizer) else load_tokenizer(source)
    return encode_rendered(render(messages, tokenizer, **options), tokenizer)


def encode_rendered(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of a conversation's text.

    Args:
        text: from `render`.
        tokenizer: the file's.

    Raises:
        TokenizerError: the tokenizer reads no text.

    Exactness: as llama.cpp, which takes off the BOS that a template begins with, and the EOS that it ends with, where
    the tokenizer puts its own; so there is one, whether the template writes it or not.
    Source: common/chat.cpp common_chat_template_direct_apply_impl.
    """
    special = _special_texts(tokenizer)
    if tokenizer.add_bos and special["bos_token"]:
        text = text.removeprefix(special["bos_token"])
    if tokenizer.add_eos and special["eos_token"]:
        text = text.removesuffix(special["eos_token"])
    return tokenizer.encode(text)


def _checked(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InputError('messages are a list such as [{"role": "user", "content": "Hello"}]')
    checked = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InputError(f'message {number} has no role; expected {{"role": "user", "content": …}}')
        checked.append(dict(message))
    return checked


def _special_texts(tokenizer: Tokenizer) -> dict[str, str]:
    """Return the texts of the tokens that templates ask for by name."""
    if not tokenizer.reads_text:
        return {"bos_token": "", "eos_token": ""}
    texts = {}
    for role, id in (("bos_token", tokenizer.bos), ("eos_token", tokenizer.eos)):
        texts[role] = "" if id is None else tokenizer.token_bytes(id).decode("utf-8", "replace")
    return texts


def _run(job: dict[str, Any]) -> str:
    """Run the sandbox on a job and return the text, or raise what went wrong."""
    limits = {"seconds": MOST_SECONDS, "characters": MOST_CHARACTERS, "memory": MOST_MEMORY}
    try:
        given = json.dumps(job | {"limits": limits, "path": sys.path})
    except (TypeError, ValueError) as error:
        raise InputError(f"the messages and variables must be made of what JSON knows: {error}") from None
    except RecursionError:
        raise InputError("the messages and variables nest too deeply; no template reads that far") from None
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_SANDBOX)],
            input=given.encode(),
            capture_output=True,
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ChatTemplateError(f"the chat template did not end within {MOST_SECONDS:g} seconds") from None
    except OSError as error:
        raise ChatTemplateError(f"the chat template's process cannot be started: {error}") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        # killed by a limit, before it could say so
        raise ChatTemplateError(
            f"the chat template's process ended with code {done.returncode}; it took too much time or memory"
        ) from None
    if "error" in answer:
        raise ChatTemplateError(answer["error"])
    return answer["text"]
