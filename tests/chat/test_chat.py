"""Chat templates: what they write, and what happens when they misbehave."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

import refgguf.chat
from refgguf.chat import encode, render, template_names, template_source
from refgguf.errors import ChatTemplateError, InputError, TokenizerError
from refgguf.tokenizer import load_tokenizer
from tests.support import vocabularies as own

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HELLO = [{"role": "user", "content": "Hello"}]


def metadata(template: str | None = CHATML, **more) -> dict:
    """Return a small model's metadata with a chat template."""
    base = own.spm()
    return base | ({"tokenizer.chat_template": template} if template is not None else {}) | more


def test_chatml():
    """Messages are written in order, and the assistant's turn is opened when asked for; by hand."""
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    start = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
    assert render(messages, metadata()) == start + "<|im_start|>assistant\n"
    assert render(messages, metadata(), add_generation_prompt=False) == start


def test_special_tokens_are_given_by_their_texts():
    """Templates see BOS and EOS as the file has them, from metadata and from a tokenizer alike."""
    data = metadata("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    assert render(HELLO, data) == "<s>Hello</s>"
    assert render(HELLO, load_tokenizer(data)) == "<s>Hello</s>"


def test_the_text_becomes_special_tokens():
    """What a template writes is encoded with its special tokens, and BOS once."""
    data = metadata("{{ bos_token }}<|user|>{{ messages[0].content }}")
    tokenizer = load_tokenizer(data)
    ids = tokenizer.encode(render(HELLO, tokenizer), add_special=False)
    assert ids[0] == tokenizer.bos and ids.count(tokenizer.bos) == 1
    assert tokenizer.decode(ids[:2], special=True) == "<s><|user|>"


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("adds", [True, False])
def test_one_beginning_and_one_end(written: bool, adds: bool):
    """A conversation begins with one BOS and ends with one EOS, whether the template or the tokenizer writes them."""
    inner = "<|user|>{{ messages[0].content }}"
    data = metadata("{{ bos_token }}" + inner + "{{ eos_token }}" if written else inner)
    data |= {"tokenizer.ggml.add_bos_token": adds, "tokenizer.ggml.add_eos_token": adds}
    tokenizer = load_tokenizer(data)
    ids = encode(HELLO, tokenizer)
    n = int(written or adds)
    assert [ids.count(tokenizer.bos), ids.count(tokenizer.eos)] == [n, n]
    assert not n or (ids[0], ids[-1]) == (tokenizer.bos, tokenizer.eos)
    plain = tokenizer.encode("<|user|>Hello", add_special=False)
    assert ids[n : len(ids) - n] == plain


def test_blocks_leave_no_lines_behind():
    """Line breaks behind blocks and blanks before them go, as templates are written for."""
    assert render(HELLO, metadata("a\n  {% if true %}\nb\n  {% endif %}\nc")) == "a\nb\nc"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "Hello"}]'),
        ("{{ {'a': '<é>'} | tojson(indent=1) }}", '{\n "a": "<é>"\n}'),
        ("{{ strftime_now('%Y-%m-%d') }}", "2024-07-26"),
        ("{% generation %}x{% endgeneration %}", "x"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        ("{{ tools is none }}{{ documents is none }}{{ custom }}", "TrueTrue7"),
        ("{{ messages[0]['content'].strip().upper() * 2 }}", "HELLOHELLO"),
    ],
)
def test_what_templates_expect_is_there(template, text):
    """Loop controls, JSON, the date, generation marks, namespaces and further variables work."""
    now = datetime(2024, 7, 26)
    assert render(HELLO, metadata(template), now=now, variables={"custom": 7}) == text


def test_several_templates():
    """Named templates are found, and the one for tools is taken when tools are given."""
    data = metadata(
        "plain", **{"tokenizer.chat_template.tool_use": "tools", "tokenizer.chat_template.rag": "rag"}
    )
    assert template_names(data) == ["default", "tool_use", "rag"]
    assert render(HELLO, data) == "plain"
    assert render(HELLO, data, name="rag") == "rag"
    assert render(HELLO, data, tools=[{"name": "f"}]) == "tools"
    assert template_source(data, "default") == "plain"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% if %}", "not valid Jinja, line 1: "),
        ("a\n{{ raise_exception('Roles must\nalternate') }}", "refuses these messages: Roles must alternate"),
        ("a\n{{ 1 + 'a' }}", "failed, line 2: TypeError: "),
        ("\n\n{{ foo.bar }}", "uses what it was not given, line 3: 'foo' is undefined"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "what its sandbox does not allow: .*__class__"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "what its sandbox does not allow"),
        ("{{ messages.append(1) }}", "what its sandbox does not allow: .*append"),
        ("{{ 'a' * 1000000000 }}", "what its sandbox does not allow: a text or list that is too long"),
        ("{{ 10 ** 100000 }}", "what its sandbox does not allow: a number with too many digits"),
        ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "writes more than 4,194,304 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests too deeply"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% include 'etc/passwd' %}", "failed"),
        ("{{ nosuch(1) }}", "uses what it was not given, line 1: 'nosuch' is undefined"),
        ("{{ nosuch | tojson }}", "failed, line 1: TypeError: .*Undefined is not JSON serializable"),
        ("{{ messages | tojson(indent=10 ** 9) }}", r"too much (memory|time or memory)"),
        ("{{ 'a'.ljust(10 ** 10) }}", r"too much (memory|time or memory)"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nests too deeply"),
        ("{{ raise_exception() }}", "failed, line 1: TypeError"),
        ("{{ raise_exception('x' * 100000) }}", "refuses these messages: x{300}…"),
    ],
)
def test_bad_templates_end_in_one_sentence(template, sentence):
    """A template that is wrong, hostile or refuses its messages is an error of ours on one line."""
    with pytest.raises(ChatTemplateError, match=sentence) as caught:
        render(HELLO, metadata(template))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_template_that_never_ends_is_ended(monkeypatch):
    """The process is killed when its time is over."""
    monkeypatch.setattr(refgguf.chat, "MOST_SECONDS", 1.0)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    start = time.monotonic()
    with pytest.raises(ChatTemplateError, match="did not end within 1 seconds"):
        render(HELLO, metadata(loop))
    assert time.monotonic() - start < 20


def test_a_template_that_takes_all_memory_is_ended():
    """Text doubled sixty times ends in an error, not in the machine's memory."""
    pytest.importorskip("resource", reason="this system cannot limit a process's memory")
    grow = "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
    double = "{% set ns = namespace(x='aaaa') %}" + grow + "{{ ns.x }}"
    with pytest.raises(ChatTemplateError, match=r"too much (memory|time or memory)"):
        render(HELLO, metadata(double))


def test_a_file_without_a_template():
    """The error says that there is none, or which there are."""
    with pytest.raises(
        ChatTemplateError, match=r"has no chat template tokenizer\.chat_template; the model may not be"
    ):
        render(HELLO, metadata(None))
    with pytest.raises(
        ChatTemplateError, match=r"has no chat template tokenizer\.chat_template\.x; it has default"
    ):
        render(HELLO, metadata(), name="x")
    with pytest.raises(TokenizerError, match="expected a text"):
        render(HELLO, metadata(7))
    with pytest.raises(ChatTemplateError, match="1,048,577 characters; 1,048,576 is the most"):
        render(HELLO, metadata("x" * ((1 << 20) + 1)))


def nested(depth: int) -> list:
    """Return an empty list inside as many others."""
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (1, "1"),
        (None, "None"),
        (True, "True"),
        (float("nan"), "nan"),
        ([{"text": "x"}], "[{'text': 'x'}]"),
        ("\ud800", "\ud800"),
    ],
)
def test_contents_that_are_no_text_are_the_templates_matter(content, text):
    """Numbers, nothing, lists of parts and broken text reach the template as they are, and render as it likes."""
    assert render([{"role": "user", "content": content}], metadata("{{ messages[0].content }}")) == text


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ("Hello", "messages are a list such as"),
        ({"role": "user"}, "messages are a list such as"),
        ([{"content": "a"}], "message 1 has no role"),
        ([*HELLO, "x"], "message 2 has no role"),
        ([{"role": "user", "content": object()}], "must be made of what JSON knows"),
        ([{"role": "user", "content": b"bytes"}], "must be made of what JSON knows"),
        (42, "messages are a list such as"),
        (None, "messages are a list such as"),
        ([{"role": None, "content": "a"}], "message 1 has no role"),
        ([{"role": "user", "content": nested(100_000)}], "nest too deeply"),
    ],
)
def test_wrong_messages(messages, sentence):
    """Messages that are no list of roles and contents are refused before anything runs."""
    with pytest.raises(InputError, match=sentence):
        render(messages, metadata())
