"""The shared options: prompts in every form, ids, threads."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace

import pytest

from refgguf.cli.options import NO_PROMPT, Prompt, _set_threads, read_prompt
from refgguf.errors import InputError


def test_text_is_taken_as_it_is():
    """-p gives the text unchanged, letters of any script included."""
    assert read_prompt("naïve 日本 \U0001f600", None, None) == Prompt(text="naïve 日本 \U0001f600")


def test_an_empty_text_is_a_prompt():
    """-p "" is a prompt: models start from their begin token alone."""
    assert read_prompt("", None, None) == Prompt(text="")


def test_text_with_undecodable_bytes_is_refused():
    """An argument that was no UTF-8 reaches Python with lone surrogates; the error says which byte, where."""
    raw = os.fsdecode(b"abc\xff")
    with pytest.raises(InputError, match=r"the prompt is not valid UTF-8: byte 0xff at position 3"):
        read_prompt(raw, None, None)


def test_a_file_is_read_whole(tmp_path):
    """-f gives every character, line ends included."""
    path = tmp_path / "prompt.txt"
    path.write_bytes("one\r\ntwo ü\n".encode())
    assert read_prompt(None, str(path), None) == Prompt(text="one\r\ntwo ü\n")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    """The error names the file and the place."""
    path = tmp_path / "latin1.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin1.txt is not valid UTF-8: byte 0xef at position 2"):
        read_prompt(None, str(path), None)


def test_standard_input(monkeypatch):
    """-f - reads standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"from a pipe")))
    assert read_prompt(None, "-", None) == Prompt(text="from a pipe")


@pytest.mark.parametrize("text", ["1,15,7", "1 15 7", "[1, 15, 7]", " 1,\n15 7 "])
def test_ids_in_every_form(text):
    """Ids are taken with commas, blanks, or as Python and JSON print them."""
    assert read_prompt(None, None, text) == Prompt(ids=(1, 15, 7))


@pytest.mark.parametrize("text", ["one", "1,-2", "1.5", "", "[]", "1;2", "99999999999", "٣"])
def test_what_is_no_id_is_refused(text):
    """Anything but whole numbers that can be ids is named in the error."""
    with pytest.raises(InputError, match="--ids"):
        read_prompt(None, None, text)


def test_no_prompt_is_refused():
    """A command that needs a prompt says how to give one."""
    with pytest.raises(InputError) as caught:
        read_prompt(None, None, None)
    assert str(caught.value) == NO_PROMPT


def test_no_prompt_is_fine_where_it_is_optional():
    """Commands that only may have a prompt see that there is none."""
    assert not read_prompt(None, None, None, required=False).given


def test_two_prompts_are_refused():
    """Two prompts leave unclear which one is meant."""
    with pytest.raises(InputError, match="-p and --ids were both given"):
        read_prompt("a", None, "1")


def test_ids_go_past_the_tokenizer():
    """Ids given directly need no tokenizer."""
    model = SimpleNamespace(tokenize=lambda text: pytest.fail("the tokenizer was asked"))
    assert Prompt(ids=(3, 4)).ids_for(model) == [3, 4]


def test_threads_reach_the_kernels(monkeypatch):
    """-t sets what the kernels read, also when they are loaded already."""
    from refgguf.kernels import jit

    monkeypatch.setenv("REFGGUF_THREADS", "7")
    jit.n_threads.cache_clear()
    assert jit.n_threads() == 7
    _set_threads(None, None, 3)
    assert jit.n_threads() == 3
    jit.n_threads.cache_clear()
