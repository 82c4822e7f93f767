"""The commands info, tensors and metadata: what they show, select, sort and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refgguf import cli
from refgguf.cli import console, figures
from refgguf.cli.columns import fitting
from refgguf.cli.tensors import parse_layers
from refgguf.errors import InputError
from tests.support.gguf_bytes import GGUFBytes
from tests.support.testdata import data_file

TEMPLATE = "{% for m in messages %}\n{{ m }}\t{% endfor %}\x1b[31m"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Write a file with three layers of several types."""
    b = GGUFBytes().key("general.architecture", "string", "llama").key("general.name", "string", "small")
    b.key("llama.block_count", "uint32", 11).key("llama.embedding_length", "uint32", 64)
    b.key("llama.attention.head_count", "uint32", 4).key("llama.context_length", "uint32", 131_072)
    b.key("llama.rope.freq_base", "float32", 1e-5).key("tokenizer.ggml.model", "string", "gpt2")
    b.array("tokenizer.ggml.tokens", "string", ["<unk>", "a\nb", "c", "\x1b[2J", "ü"] + ["x"] * 500)
    b.key("tokenizer.ggml.bos_token_id", "uint32", 1).key("tokenizer.chat_template", "string", TEMPLATE)
    b.key("a.flag", "bool", True).array("a.empty", "int8", [])
    b.tensor("token_embd.weight", "Q8_0", (505, 64))
    for layer in (0, 1, 10):
        b.tensor(f"blk.{layer}.attn_q.weight", "F16", (64, 64), np.zeros((64, 64), np.float16))
        b.tensor(f"blk.{layer}.ffn_up.weight", "Q4_0", (128, 64), bytes(128 * 36))
        b.tensor(f"blk.{layer}.ffn_norm.weight", "F32", (64,), np.arange(64, dtype=np.float32))
    b.tensor("new", 99, (32,), bytes(32))
    return str(b.write(tmp_path / "small.gguf"))


def run(capsys: pytest.CaptureFixture, *args: str, code: int = 0) -> str:
    """Run a command in this process; return what it printed."""
    assert cli.call(args) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that a person looks at the output."""
    monkeypatch.setattr(console, "is_terminal", lambda stream: stream is sys.stdout)
    return monkeypatch


def names(capsys: pytest.CaptureFixture, *args: str) -> list[str]:
    """Return the names that `tensors` lists."""
    return [tensor["name"] for tensor in json.loads(run(capsys, "tensors", *args, "--json"))]


def test_info_shows_what_the_file_is(path: str, capsys):
    """Name, architecture, sizes, roles, types, tokenizer, memory and remarks are all there."""
    shown = " ".join(run(capsys, "info", path).split())
    for words in (
        "small · llama 69.4 K weights · 8.48 bits per weight",
        "GGUF 3 · little-endian · alignment 32",
        "131,072",
        "norm 3 192 32.00",
        "Q8_0",
        "gpt2, byte-level BPE",
        "1 a\\nb",
        "4,096 tokens",
        "new has the unknown type 99",
    ):
        assert words in shown


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_info_fits_the_width(width: int, path: str, capsys, monkeypatch):
    """No line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run(capsys, "info", path).splitlines()
    assert max(len(line) for line in lines if not line.startswith("/")) <= width


def test_info_as_json(path: str, capsys):
    """JSON has exact numbers, hyper-parameters under their own keys, and the memory of each context."""
    found = json.loads(run(capsys, "info", path, "--json", "--context", "10", "--context", "1000"))
    assert (found["architecture"], found["n_weights"], found["bytes"]) == (
        "llama",
        69_408,
        Path(path).stat().st_size,
    )
    assert found["hyper_parameters"]["context_length"] == 131_072
    assert [share["name"] for share in found["types"]] == ["Q8_0", "F16", "Q4_0", "F32", "type 99"]
    assert [need["kv_cache_bytes"] for need in found["memory"]] == [11 * 4 * 32 * 2 * n for n in (10, 1000)]
    assert found["remarks"] == ["new has the unknown type 99"]


def test_info_of_a_vocabulary_and_of_nothing(tmp_path: Path, capsys):
    """Files without tensors, without architecture, without anything are shown as such."""
    empty = GGUFBytes().write(tmp_path / "empty.gguf")
    assert run(capsys, "info", str(empty)).startswith("empty · no architecture\nno tensors · 24 bytes\n")
    assert json.loads(run(capsys, "info", str(empty), "--json"))["bits_per_weight"] is None


def test_tensors_lists_aligned_lines_for_programs(path: str, capsys):
    """Where no person looks, every column is there, nothing is cut, and columns align."""
    lines = run(capsys, "tensors", path).splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "SHAPE", "WEIGHTS", "BITS", "SIZE", "ROLE", "OFFSET"]
    assert len(lines) == 12
    assert {
        line.index(word) for line, word in zip(lines, ["TYPE", "Q8_0", "F16", "Q4_0", "F32"], strict=False)
    } == {lines[0].index("TYPE")}
    assert lines[1].split()[:5] == ["token_embd.weight", "Q8_0", "505", "×", "64"]
    assert lines[-1].startswith("new ") and " type 99 " in lines[-1]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("attn_q",), ["blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.10.attn_q.weight"]),
        (("blk.1.*",), ["blk.1.attn_q.weight", "blk.1.ffn_up.weight", "blk.1.ffn_norm.weight"]),
        (("blk.?.ffn_up*", "new"), ["blk.0.ffn_up.weight", "blk.1.ffn_up.weight", "new"]),
        (("--type", "f16", "--layer", "1-10"), ["blk.1.attn_q.weight", "blk.10.attn_q.weight"]),
        (("--type", "Q8_0", "--type", "type 99"), ["token_embd.weight", "new"]),
        (
            ("--role", "norm", "--role", "other", "--layer", "0,10"),
            ["blk.0.ffn_norm.weight", "blk.10.ffn_norm.weight"],
        ),
        (("--layer", "77"), []),
    ],
)
def test_tensors_selects(args: tuple[str, ...], expected: list[str], path: str, capsys):
    """Parts of names, wildcards, types, layers and roles narrow the list; conditions add up."""
    assert names(capsys, path, *args) == expected


def test_a_name_that_nothing_has_is_refused(path: str, capsys):
    """Patterns without a tensor or a key end in one line that tells the nearest, so that no typing error passes."""
    for words, said in (
        (("tensors", path, "atn_q"), "none of the 11 tensors is called atn_q"),
        (("tensors", path, "blk.0.attn_k.weight"), "; the nearest are blk.0.attn_q.weight"),
        (("metadata", path, "nothing.*"), "keys is called nothing.*"),
    ):
        assert cli.call(list(words)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said in shown.err


def test_tensors_sorts(path: str, capsys):
    """Names sort by number, figures with the largest first, and --reverse turns either round."""
    assert names(capsys, path, "attn_q", "--sort", "name", "--reverse")[0] == "blk.10.attn_q.weight"
    assert names(capsys, path, "--sort", "name")[:4:3] == ["blk.0.attn_q.weight", "blk.1.attn_q.weight"]
    assert names(capsys, path, "--sort", "size")[0] == "token_embd.weight"
    assert names(capsys, path, "--sort", "weights", "--reverse")[0] == "new"
    assert names(capsys, path, "--sort", "bits")[0] == "blk.0.ffn_norm.weight"
    assert names(capsys, path, "--reverse")[0] == "new"
    assert names(capsys, path, "--sort", "offset") == names(capsys, path)


def test_tensors_statistics(path: str, capsys):
    """--stats adds figures, and says which tensors cannot be decoded instead of failing."""
    found = {t["name"]: t["stats"] for t in json.loads(run(capsys, "tensors", path, "--stats", "--json"))}
    assert found["blk.0.ffn_norm.weight"]["max"] == 63 and found["blk.0.ffn_norm.weight"]["mean"] == 31.5
    assert found["blk.0.attn_q.weight"]["n_zeros"] == 64 * 64
    assert "the tensor type 99 is unknown" in found["new"]["error"]
    lines = run(capsys, "tensors", path, "--stats", "ffn_norm", "attn_q").splitlines()
    assert lines[0].split()[-6:] == ["MAX", "MEAN", "STD", "RMS", "ZEROS", "NAN"]
    assert lines[1].split()[-8:] == ["0", "0", "0", "0", "0", "100", "%", "-"]
    assert lines[2].split()[-8:] == ["0", "63", "31.5", "18.5", "36.5", "1.56", "%", "-"]


def test_tensors_statistics_of_codes(path: str, capsys):
    """Quantized tensors show the entropy of their codes, the share at an end, and the median scale."""
    found = {t["name"]: t["stats"] for t in json.loads(run(capsys, "tensors", path, "--stats", "--json"))}
    # all bytes are zero: one code, -8, which is the lowest; every scale is 0
    codes = found["blk.0.ffn_up.weight"]["codes"]
    assert (codes["entropy"], codes["saturated"], codes["n_codes"], codes["zero_scales"]) == (0, 1, 1, 1)
    assert "codes" not in found["blk.0.attn_q.weight"]
    lines = run(capsys, "tensors", path, "--stats", "ffn_up").splitlines()
    assert lines[0].split()[-3:] == ["ENTROPY", "SATURATED", "SCALE"]
    assert lines[1].split()[-4:] == ["0.00", "100", "%", "0"]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_tensors_fits_the_terminal(width: int, path: str, capsys, at_terminal):
    """On a terminal, less important columns give way; names and totals stay."""
    at_terminal.setenv("COLUMNS", str(width))
    shown = run(capsys, "tensors", path)
    assert max(map(len, shown.splitlines())) <= width
    assert "blk.10.ffn_norm.weight" in shown and "11 tensors" in shown
    assert ("offset" in shown) == (width >= 100)


@pytest.mark.parametrize("width", [48, 60, 80, 120])
def test_statistics_fit_the_terminal(width: int, path: str, capsys, at_terminal):
    """With many figures, the less important give way, too; names, least and greatest stay whole."""
    at_terminal.setenv("COLUMNS", str(width))
    shown = run(capsys, "tensors", path, "--stats")
    assert max(map(len, shown.splitlines())) <= width
    assert "blk.10.ffn_norm.weight" in shown and "min" in shown and "max" in shown
    assert "…" not in shown


def test_widths_give_way_in_order():
    """The column made for it shrinks first, then the widest of the others, the first column last of all."""
    assert console.narrowed([10, 30, 30], 2, 100) == [10, 30, 30]
    assert console.narrowed([10, 30, 30], 2, 64) == [10, 30, 20]
    assert console.narrowed([10, 30, 30], 2, 50) == [10, 24, 12]
    assert console.narrowed([20, 30, 30], 2, 36) == [16, 8, 8]
    assert console.narrowed([20, 30, 30], 2, 10) == [8, 8, 8]


def test_columns_give_way_in_order():
    """Columns are left out one by one until the rest fits, and never more."""
    headers, rows = ["name", "b", "c", "d"], [["n" * 10, "b" * 5, "c" * 5, "d" * 5]]
    assert fitting(headers, rows, ("d", "b"), 33) == [0, 1, 2, 3]
    assert fitting(headers, rows, ("d", "b"), 32) == [0, 1, 2]
    assert fitting(headers, rows, ("d", "b"), 25) == [0, 2]
    assert fitting(headers, rows, ("d", "b"), 1) == [0, 2]


def test_metadata_lists_all_keys(path: str, capsys):
    """Every key is there with type and value; arrays are shortened, long strings cut, controls escaped."""
    lines = run(capsys, "metadata", path).splitlines()
    assert len(lines) == 13
    found = {line.split()[0]: line.split(None, 2)[1:] for line in lines}
    assert found["llama.context_length"] == ["uint32", "131072"]
    assert found["llama.rope.freq_base"] == ["float32", "1e-05"]
    assert found["a.flag"] == ["bool", "true"]
    assert found["a.empty"] == ["int8[]", "[0 int8s]"]
    kind, value = found["tokenizer.ggml.tokens"]
    assert kind == "string[]"
    assert value.startswith(
        '[505 strings: "<unk>", "a\\nb", "c", "\\u001b[2J", "ü", "x", '
    ) and value.endswith(", …]")
    assert (
        found["tokenizer.chat_template"][1] == "{% for m in messages %}\\n{{ m }}\\t{% endfor %}\\u001b[31m"
    )
    assert len(run(capsys, "metadata", path, "--full").splitlines()[8]) > 505 * 5


def test_metadata_prints_one_value_as_it_is(path: str):
    """A string's own bytes reach the next program, controls and missing line end included."""
    done = subprocess.run(
        [sys.executable, "-m", "refgguf", "metadata", path, "tokenizer.chat_template"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == TEMPLATE.encode()


def test_metadata_prints_numbers_and_arrays_by_line(path: str, capsys, at_terminal):
    """Numbers are plain, float32 short, elements one a line; a terminal never gets control characters."""
    assert run(capsys, "metadata", path, "llama.context_length") == "131072\n"
    assert run(capsys, "metadata", path, "llama.rope.freq_base") == "1e-05\n"
    assert run(capsys, "metadata", path, "a.flag") == "true\n"
    assert run(capsys, "metadata", path, "a.empty") == ""
    tokens = run(capsys, "metadata", path, "tokenizer.ggml.tokens").splitlines()
    assert tokens[:6] == ["<unk>", "a\\nb", "c", "\\x1b[2J", "ü", "x"] and len(tokens) == 505
    assert (
        run(capsys, "metadata", path, "tokenizer.chat_template") == TEMPLATE.replace("\x1b", "\\x1b") + "\n"
    )


def test_metadata_by_wildcard_and_as_json(path: str, capsys):
    """Wildcards choose keys; JSON shortens arrays unless --full, and gives one key whole."""
    assert [line.split()[0] for line in run(capsys, "metadata", path, "llama.*_length").splitlines()] == [
        "llama.embedding_length",
        "llama.context_length",
    ]
    found = json.loads(run(capsys, "metadata", path, "tokenizer.ggml.*", "--json"))
    tokens = found["tokenizer.ggml.tokens"]
    assert (tokens["type"], tokens["count"], len(tokens["value"]), tokens["shortened"]) == (
        "string[]",
        505,
        8,
        True,
    )
    full = json.loads(run(capsys, "metadata", path, "--json", "--full"))["tokenizer.ggml.tokens"]
    assert len(full["value"]) == 505 and "shortened" not in full
    assert len(json.loads(run(capsys, "metadata", path, "tokenizer.ggml.tokens", "--json"))) == 505
    assert json.loads(run(capsys, "metadata", path, "a.flag", "--json")) is True


@pytest.mark.parametrize(("width", "lines_each"), [(30, 2), (40, 2), (55, 1), (70, 1), (80, 1), (120, 1)])
def test_metadata_fits_the_terminal(width: int, lines_each: int, path: str, capsys, at_terminal):
    """On a terminal, one key is one line; on a narrow one without its type, or with the value below it."""
    at_terminal.setenv("COLUMNS", str(width))
    lines = run(capsys, "metadata", path).splitlines()
    assert len(lines) == 13 * lines_each and max(map(len, lines)) <= width


@pytest.mark.parametrize("command", ["info", "tensors", "metadata"])
def test_a_bad_file_is_one_line_and_exit_2(command: str, path: str, tmp_path: Path, capsys):
    """What is wrong with the file is said in one line; nothing else is printed."""
    bad = tmp_path / "bad.gguf"
    for content in (b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"hello", Path(path).read_bytes()[:-200]):
        bad.write_bytes(content)
        message = run(capsys, command, str(bad), code=2)
        assert message.startswith(f"refgguf: {bad}") and message.count("\n") == 1
    assert "there is no such file" in run(capsys, command, str(tmp_path / "none.gguf"), code=2)
    assert "is a folder" in run(capsys, command, str(tmp_path), code=2)


@pytest.mark.parametrize("command", ["info", "tensors", "metadata", "verify", "block"])
def test_a_file_cut_short_may_be_looked_at(command: str, path: str, tmp_path: Path, capsys):
    """What is missing is said together with the option that shows the rest, and that option works."""
    short = tmp_path / "short.gguf"
    short.write_bytes(Path(path).read_bytes()[:-200])
    words = [command, str(short), *(["token_embd.weight"] if command == "block" else [])]
    message = run(capsys, *words, code=2)
    assert message.endswith("fetch it again, or look at what is there with --partial\n")
    if command != "verify":  # which says that the tensor cannot be decoded
        run(capsys, *words, "--partial")


def test_wrong_requests_are_one_line_and_exit_2(path: str, capsys):
    """Unknown keys, types and layers are named, with what there is."""
    assert "the nearest are llama.block_count" in run(capsys, "metadata", path, "llama.blockcount", code=2)
    message = run(capsys, "tensors", path, "--type", "Q5_K", code=2)
    assert "no tensor has the type Q5_K; the file has F16, F32, Q4_0, Q8_0, TYPE 99" in message
    assert "names no layers" in run(capsys, "tensors", path, "--layer", "x", code=2)


def test_layers_are_parsed():
    """Numbers, ranges and lists of them; anything else is refused."""
    assert parse_layers(None) is None
    assert parse_layers("3") == {3} and parse_layers("0-2, 7") == {0, 1, 2, 7}
    for text in ("", "-1", "3-1", "a", "1,,2", "1.5", "99999999999"):
        with pytest.raises(InputError, match="names no layers"):
            parse_layers(text)


def test_a_partial_download_is_listed_on_request(path: str, tmp_path: Path, capsys):
    """--partial shows what a file that was cut off announces."""
    part = tmp_path / "part.gguf"
    part.write_bytes(Path(path).read_bytes()[:-40_000])
    for command in ("info", "tensors", "metadata"):
        assert "cut short" in run(capsys, command, str(part), code=2)
        assert run(capsys, command, str(part), "--partial")
    found = json.loads(run(capsys, "info", str(part), "--partial", "--json"))
    assert "the file holds only the beginning of its data" in found["remarks"][-1]


def test_names_from_the_file_cannot_steer_the_terminal(tmp_path: Path, capsys, at_terminal):
    """Escape sequences and markup in keys, values and names are shown, not obeyed."""
    b = (
        GGUFBytes()
        .key("general.architecture", "string", "\x1b[31m[bold]")
        .key("k\x1b]0;x\x07", "string", "v\x9b1m")
    )
    b.key("general.name", "string", "[red]name\r\x1b[2J").tensor("t\x1b[0m[/]", "I8", (2,))
    path = str(b.write(tmp_path / "evil.gguf"))
    at_terminal.setenv("NO_COLOR", "1")
    for args in (("info", path), ("tensors", path), ("metadata", path)):
        shown = run(capsys, *args)
        assert not set(shown) & {"\x1b", "\x9b", "\x07", "\r"}
    assert "[red]name" in run(capsys, "info", path)


@pytest.mark.parametrize(
    ("n", "size", "count"),
    [
        (0, "0 bytes", "0"),
        (999, "999 bytes", "999"),
        (1000, "1,000 bytes", "1.00 K"),
        (1023, "1,023 bytes", "1.02 K"),
        (1024, "1.00 KiB", "1.02 K"),
        (10_240, "10.0 KiB", "10.2 K"),
        (999_999, "977 KiB", "1.00 M"),
        (1_048_575, "1.00 MiB", "1.05 M"),
        (7_241_732_096, "6.74 GiB", "7.24 B"),
        (1 << 60, "1,024 PiB", "1,153 Q"),
    ],
)
def test_figures_have_three_digits(n: int, size: str, count: str):
    """Sizes go by 1024, counts by 1000, both rounded to three digits."""
    assert (figures.size(n), figures.count(n)) == (size, count)


@pytest.mark.testdata
@pytest.mark.parametrize("command", ["info", "tensors", "metadata"])
def test_the_largest_vocabulary_is_shown_at_once(command: str):
    """In a new process, a vocabulary of 256,000 tokens takes no numba and little processor time."""
    path = data_file("vocabs/ggml-vocab-command-r.gguf")
    script = (
        "import resource, sys\nfrom refgguf import cli\n"
        f"code = cli.call(['{command}', {str(path)!r}])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(code, 'numba' in sys.modules, used.ru_utime + used.ru_stime, file=sys.stderr)\n"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, numba, seconds = done.stderr.split()[-3:]
    assert (code, numba) == ("0", "False")
    # 0.4 s measured; processor time, since the machine may be busy with other things
    assert float(seconds) < 1.0 and time.perf_counter() - began < 20
