"""The command tokenize."""

from __future__ import annotations

import io
import json
import re
import sys
from types import SimpleNamespace

import pytest

from refgguf import cli
from tests.support import vocabularies as own


@pytest.fixture
def model(tmp_path) -> str:
    """A small model's vocabulary as a file."""
    more = {"tokenizer.chat_template": "{{ bos_token }}<|user|>{{ messages[0].content }}"}
    return str(own.write_gguf(own.spm() | more, tmp_path / "vocab.gguf"))


def test_a_table_of_tokens(model, capsys):
    """Each token has a line: id, text in quotes, bytes, and what kind it is."""
    assert cli.call(["tokenize", model, "time é<|end|>"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["1", '"<s>"', *b"<s>".hex(" ").split(), "special,", "BOS"]
    pairs = " ".join(word for line in lines[1:] for word in line if re.fullmatch("[0-9a-f]{2}", word))
    assert bytes.fromhex(pairs) == " time é<|end|>".encode()
    assert lines[-1][1:] == ['"<|end|>"', *b"<|end|>".hex(" ").split(), "special,", "ends", "the", "text"]
    assert "5 tokens, 14 bytes (2.80 bytes a token)" in err


def test_ids_alone(model, capsys):
    """--ids prints the ids on one line, and --no-special leaves BOS out."""
    cli.call(["tokenize", model, "time", "--ids"])
    with_bos = capsys.readouterr().out.split()
    cli.call(["tokenize", model, "time", "--ids", "--no-special"])
    assert with_bos == ["1", *capsys.readouterr().out.split()]


def test_json(model, capsys):
    """--json gives a list of objects, with --ids a list of numbers."""
    cli.call(["tokenize", model, "é", "--json"])
    tokens = json.loads(capsys.readouterr().out)
    assert tokens[0] == {"id": 1, "text": "<s>", "bytes": "3c733e", "special": True}
    assert set(tokens[1]) == {"id", "text", "bytes", "special"}
    cli.call(["tokenize", model, "é", "--json", "--ids"])
    assert json.loads(capsys.readouterr().out) == [token["id"] for token in tokens]


def test_special_tokens_as_text(model, capsys):
    """--no-parse-special reads <|end|> as letters."""
    cli.call(["tokenize", model, "<|end|>", "--ids"])
    parsed = capsys.readouterr().out.split()
    cli.call(["tokenize", model, "<|end|>", "--ids", "--no-parse-special"])
    assert len(parsed) == 2 < len(capsys.readouterr().out.split())


def test_ids_back_to_text(model, capsys):
    """--decode gives the text, with special tokens unless --no-special is given."""
    cli.call(["tokenize", model, "Once upon\na time", "--ids"])
    ids = capsys.readouterr().out
    assert cli.call(["tokenize", model, "--decode", ids]) == 0
    assert capsys.readouterr().out == "<s> Once upon\na time\n"
    cli.call(["tokenize", model, "--decode", ids.replace(" ", ","), "--no-special"])
    assert capsys.readouterr().out == "Once upon\na time\n"
    cli.call(["tokenize", model, "--decode", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["text"] == "<s>"


def test_text_from_a_file_and_from_standard_input(model, capsys, tmp_path, monkeypatch):
    """--file reads a file, - and nothing at all read standard input; all give the same."""
    (tmp_path / "text.txt").write_bytes("two\r\nlines é".encode())
    outputs = []
    for arguments in (["--file", str(tmp_path / "text.txt")], ["--file", "-"], [], ["two\r\nlines é"]):
        stream = io.BytesIO("two\r\nlines é".encode())
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, closed=False, isatty=lambda: False))
        assert cli.call(["tokenize", model, "--ids", *arguments]) == 0
        outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1 and outputs[0]


def test_a_users_message(model, capsys):
    """--chat puts the text through the chat template, which writes BOS itself."""
    assert cli.call(["tokenize", model, "time", "--chat", "--ids"]) == 0
    ids = capsys.readouterr().out.split()
    cli.call(["tokenize", model, "<s><|user|>time", "--ids", "--no-special"])
    assert ids == capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["text", "--file", "x"], "TEXT and --file were both given"),
        (["--decode", "1 x"], "'x' is not a token id"),
        (["--decode", "99999"], "there is no token 99,999; the vocabulary has"),
        (["--file", "/no/such/file"], "/no/such/file: no such file"),
    ],
)
def test_mistakes_end_in_one_line(model, capsys, arguments, sentence):
    """What a user can do wrong is said in one line, with exit code 2 and nothing printed."""
    assert cli.call(["tokenize", model, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and len(err.splitlines()) == 1


def test_text_that_is_not_utf8(model, capsys, tmp_path):
    """Wrong bytes are refused with their place, and taken as llama.cpp takes them with --lenient."""
    path = tmp_path / "bad.txt"
    path.write_bytes(b"abc\xffd")
    assert cli.call(["tokenize", model, "--file", str(path), "--ids"]) == 2
    assert "bad.txt is not valid UTF-8: byte 0xff at position 3" in capsys.readouterr().err
    assert cli.call(["tokenize", model, "--file", str(path), "--ids", "--lenient"]) == 0
    assert capsys.readouterr().out


def test_a_file_without_a_tokenizer(tmp_path, capsys):
    """A model whose tokens have no texts says so."""
    path = own.write_gguf({"tokenizer.ggml.model": "none"}, tmp_path / "none.gguf")
    assert cli.call(["tokenize", str(path), "text"]) == 2
    assert "no vocabulary to read text with" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    """--help ends with examples."""
    assert cli.call(["tokenize", "--help"]) == 0
    assert 'refgguf tokenize model.gguf "Once upon a time"' in capsys.readouterr().out
