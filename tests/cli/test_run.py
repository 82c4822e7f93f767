"""`refgguf run`: what it prints, when it stops, and how text comes out."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import refgguf
from refgguf.cli.run import Generation, logprob, speed
from tests.support.interruptible import interruptible
from tests.support.models import CONTEXT, llama
from tests.support.speaking_model import speaking_llama
from tests.support.testdata import data_file
from tests.support.vocabularies import CONTROL, UNKNOWN

PROMPT = "Once upon a"


def greedy(model, n: int) -> list[int]:
    """Return what the model picks when it always takes the best, computed token by token from plain logits."""
    ids = model.tokenize(PROMPT)
    for _ in range(n):
        ids.append(int(model.logits(ids)[-1].argmax()))
    return ids[len(model.tokenize(PROMPT)) :]


def test_greedy_is_the_default(refgguf_command, speaking_model):
    """Without options the best token is taken each time."""
    done = refgguf_command("run", speaking_model, "-p", PROMPT, "-n", 8, "--json")
    assert done.code == 0
    assert done.json["tokens"] == greedy(refgguf.load(speaking_model), 8)


def test_text_is_the_tokens_text(refgguf_command, speaking_model):
    """Plain output is the text of the tokens and a line end; speed goes to the error stream."""
    tokens = refgguf_command("run", speaking_model, "-p", PROMPT, "-n", 8, "--json").json["tokens"]
    done = refgguf_command("run", speaking_model, "-p", PROMPT, "-n", 8)
    model = refgguf.load(speaking_model)
    whole = model.tokenizer.decode([*model.tokenize(PROMPT), *tokens])
    assert whole.endswith(done.out.removesuffix("\n"))
    assert done.out.endswith("\n")
    assert "prompt" in done.err
    assert "tokens/s" in done.err
    assert "stopped: -n reached" in done.err


def test_the_space_before_the_first_word_stays(refgguf_command, tmp_path):
    """A text that goes on with a new word begins with its space: only a text's very beginning loses one."""
    tiny = speaking_llama()
    word = tiny.metadata["tokenizer.ggml.tokens"].index("▁the")
    tiny.tensors["output.bias"] = np.zeros(len(tiny.tensors["output.weight"]), np.float32)
    tiny.tensors["output.bias"][word] = 1e6
    path = tiny.write(tmp_path / "the.gguf")
    assert refgguf_command("run", path, "-p", PROMPT, "-n", 2).out == " the the\n"


def test_json_holds_tokens_texts_and_logprobs(refgguf_command, speaking_model):
    """JSON gives what was chosen with the logarithm of its probability, the prompt, and the timings."""
    done = refgguf_command("run", speaking_model, "-p", PROMPT, "-n", 5, "--json").json
    model = refgguf.load(speaking_model)
    assert done["prompt_tokens"] == model.tokenize(PROMPT)
    assert done["text"] == "".join(done["texts"])
    logits = model.logits([*done["prompt_tokens"], *done["tokens"][:2]])[-1].astype(np.float64)
    shares = np.exp(logits - logits.max())
    expected = np.log(shares[done["tokens"][2]] / shares.sum())
    assert done["logprobs"][2] == pytest.approx(
        expected, rel=1e-12
    )  # the same numbers in another order of operations
    assert done["stop"] == "length"
    assert done["timings"]["prompt_tokens_per_second"] > 0


def test_a_seed_makes_a_choice_repeatable(refgguf_command, speaking_model):
    """The same seed gives the same text, and sampling is not greedy."""
    words = ["run", speaking_model, "-p", PROMPT, "-n", 12, "--temp", 1.5, "--json"]
    first = refgguf_command(*words, "--seed", 1).json["tokens"]
    assert refgguf_command(*words, "--seed", 1).json["tokens"] == first
    assert refgguf_command(*words, "--seed", 2).json["tokens"] != first


@pytest.mark.parametrize("narrow", [["--top-k", 1], ["--top-p", 0], ["--min-p", 1]])
def test_narrowing_to_one_is_greedy(refgguf_command, speaking_model, narrow):
    """When only the best candidate is left, the temperature does not matter."""
    words = ["run", speaking_model, "-p", PROMPT, "-n", 6, "--json"]
    expected = refgguf_command(*words).json["tokens"]
    assert refgguf_command(*words, "--temp", 2, "--seed", 3, *narrow).json["tokens"] == expected


def test_it_stops_when_the_context_is_full(refgguf_command, speaking_model):
    """A model made for 64 tokens stops there, with the text so far and no error."""
    done = refgguf_command(
        "run", speaking_model, "--ids", ",".join(["3"] * (CONTEXT - 2)), "-n", 50, "--json"
    ).json
    assert done["stop"] in ("context", "end")
    assert len(done["tokens"]) <= 3


def test_it_stops_at_the_end_token(refgguf_command, tmp_path):
    """A model whose best token is always its end token says nothing and stops."""
    tiny = speaking_llama()
    # the output matrix reads only the end token off a residual stream that is never zero
    tiny.tensors["output.weight"][:] = 0
    tiny.tensors["output_norm.weight"][:] = 0
    tiny.tensors["output.bias"] = np.zeros(len(tiny.tensors["output.weight"]), np.float32)
    tiny.tensors["output.bias"][2] = 5.0
    done = refgguf_command("run", tiny.write(tmp_path / "ends.gguf"), "-p", PROMPT, "-n", 9, "--json").json
    assert (done["tokens"], done["text"], done["stop"]) == ([2], "", "end")


def test_a_model_without_tokenizer_takes_and_gives_ids(refgguf_command, tmp_path):
    """Ids in, labels such as #17 out; text in is refused in one sentence that says what to do."""
    path = llama().write(tmp_path / "ids.gguf")
    done = refgguf_command("run", path, "--ids", "5,7,3", "-n", 3)
    assert done.code == 0
    assert all(word.startswith("#") for word in done.out.split())
    refused = refgguf_command("run", path, "-p", "text")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ids", "99999"], "99999"),
        (["--ids", ",".join(["3"] * (CONTEXT + 1))], str(CONTEXT)),
        (["-p", "x", "--temp", "-1"], "--temp"),
        (["-p", "x", "--top-p", "2"], "--top-p"),
        (["-p", "x", "--numerics", "exactly"], "--numerics"),
        (["-p", "x", "-t", "0"], "--threads"),
        ([], "no prompt"),
    ],
)
def test_bad_input_is_one_sentence(refgguf_command, speaking_model, words, sentence):
    """Ids out of range, a prompt too long, options out of range, no prompt: one line, exit code 2, no output."""
    done = refgguf_command("run", speaking_model, *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert sentence in done.err


def test_half_a_character_is_never_printed(refgguf_command, speaking_model):
    """Whatever tokens come, each piece of text is whole characters: the pieces are valid UTF-8 by themselves."""
    for seed in range(5):
        done = refgguf_command(
            "run", speaking_model, "-p", PROMPT, "-n", 40, "--temp", 9, "--seed", seed, "--json"
        ).json
        model = refgguf.load(speaking_model)
        tokens = done["tokens"][:-1] if done["stop"] == "end" else done["tokens"]
        kinds = model.file.metadata["tokenizer.ggml.token_type"]
        shown = [token for token in tokens if kinds[token] not in (CONTROL, UNKNOWN)]
        raw = b"".join(model.tokenizer.token_bytes(token) for token in shown)
        assert done["text"] == raw.decode("utf-8", "replace")
        for piece in done["texts"]:
            piece.encode("utf-8")  # raises on half a surrogate pair


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_ctrl_c_keeps_the_text_so_far(tmp_path):
    """Interrupted, it prints the line end, says so on the error stream, and what was printed stays."""
    tiny = speaking_llama(n_layers=2)
    tiny.metadata["llama.context_length"] = 1 << 20
    kinds = tiny.metadata["tokenizer.ggml.token_type"]
    # no token that ends a text ever comes out best
    tiny.tensors["output.bias"] = np.where(np.array(kinds) == CONTROL, -1e9, 0).astype(np.float32)
    path = tiny.write(tmp_path / "long.gguf")
    words = [sys.executable, "-m", "refgguf", "run", str(path), "-p", PROMPT, "-n", "1000000"]
    process = interruptible(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = process.stdout.read(8)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, error = process.communicate(timeout=240)
    assert len(seen) == 8
    assert (seen + rest).endswith(b"\n")
    assert b"stopped: interrupted" in error
    assert b"Traceback" not in error
    assert process.returncode == 130


def test_the_published_story(refgguf_command):
    """stories260K, greedy, tells the story that llama.cpp tells, token for token."""
    expected = json.loads(data_file("models/stories260K.greedy.json").read_text())
    prompt = next(value for key, value in expected.items() if isinstance(value, str) and "prompt" in key)
    model = data_file("models/stories260K.gguf")
    done = refgguf_command("run", model, "-p", prompt, "-n", 250, "--json").json
    wanted = max((value for value in expected.values() if isinstance(value, list)), key=len)
    assert done["tokens"] == wanted[: len(done["tokens"])]
    assert len(done["tokens"]) == 250


def test_logprob():
    """The logarithm of a softmax, also where the scores are far apart."""
    assert logprob(np.array([0.0, 0.0], np.float32), 0) == pytest.approx(np.log(0.5))
    assert logprob(np.array([1000.0, 0.0], np.float32), 1) == -1000.0


def test_the_line_about_speed():
    """Rates count what was measured: the first token's time belongs to the prompt."""
    result = Generation([1, 2, 3, 4], prompt_seconds=2.0, seconds=0.5, tokens=list(range(6)), stop="end")
    assert (
        speed(result)
        == "prompt 4 tokens, 2.0 tokens/s · generation 6 tokens, 10.0 tokens/s · stopped: end token"
    )
    for count, seconds in itertools.product((0, 1), (0.0, 1.0)):
        speed(Generation([], prompt_seconds=seconds, seconds=seconds, tokens=[1] * count))


CHAT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def chatting_model(tmp_path):
    """A model with a chat template."""
    tiny = speaking_llama()
    tiny.metadata["tokenizer.chat_template"] = CHAT_TEMPLATE
    return tiny.write(tmp_path / "chat.gguf")


def test_chat_puts_the_prompt_through_the_template(refgguf_command, chatting_model):
    """With --chat the model reads what the template makes of the messages, with one beginning token."""
    words = ("run", chatting_model, "-p", "Hello", "--chat", "--system", "Be kind", "-n", 2, "--json")
    done = refgguf_command(*words)
    assert done.code == 0
    model = refgguf.load(chatting_model)
    expected = model.tokenize("system: Be kind\nuser: Hello\nassistant:")
    assert done.json["prompt_tokens"] == expected


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-p", "Hello", "--system", "Be kind"], "give --chat too"),
        (["--ids", "1,2", "--chat"], "not as --ids"),
    ],
)
def test_chat_options_that_do_not_fit_are_refused(refgguf_command, chatting_model, words, sentence):
    """A system message without a chat, and a chat of token ids, are one sentence each."""
    done = refgguf_command("run", chatting_model, *words)
    assert done.code == 2
    assert sentence in done.err


def test_chat_needs_a_template(refgguf_command, speaking_model):
    """A file without a chat template says so."""
    done = refgguf_command("run", speaking_model, "-p", "Hello", "--chat")
    assert done.code == 2
    assert "chat template" in done.err
