"""The commands verify, block and quantize: what they show, write and refuse, and their exit codes."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from refgguf.cli import console
from refgguf.gguf.reader import open_file
from refgguf.gguf.writer import NewTensor, write_gguf
from refgguf.kernels.quants import formats
from refgguf.weights import references
from tests.support.every_type import SHAPE, write_every_type


@pytest.fixture(scope="session")
def every_type(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a tensor of every type."""
    return write_every_type(tmp_path_factory.mktemp("types") / "every.gguf")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of two layers whose rows are multiples of 256, all in F32."""
    random = np.random.default_rng(0)
    shapes = {"token_embd.weight": (8, 256), "output_norm.weight": (256,)}
    for i in range(2):
        shapes |= {f"blk.{i}.attn_v.weight": (4, 256), f"blk.{i}.ffn_down.weight": (4, 512)}
        shapes |= {f"blk.{i}.attn_norm.weight": (256,)}
    tensors = [
        NewTensor(name, "F32", shape, random.standard_normal(shape, np.float32))
        for name, shape in shapes.items()
    ]
    metadata = {"general.architecture": "llama", "general.name": "two", "llama.block_count": 2}
    write_gguf(tmp_path / "model.gguf", metadata | {"llama.attention.head_count": 4}, tensors)
    return tmp_path / "model.gguf"


def test_verify_finds_every_type_equal(refgguf_command, every_type):
    """A file with all types verifies: exit code 0, a line a type, and a sentence that says who agreed."""
    done = refgguf_command("verify", every_type)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["type", "tensors", "values"]
    assert {line.split()[0] for line in lines[1:36]} == set(formats())
    assert "differ" not in done.out
    assert lines[-1].startswith("35 tensors, 71,680 values: the same bits from plain twin (")


def test_verify_of_arbitrary_bytes(refgguf_command, tmp_path):
    """Random bytes, NaN and infinite scales among them, decode alike in all decoders."""
    done = refgguf_command("verify", write_every_type(tmp_path / "any.gguf", ordinary=False), "--json")
    assert done.code == 0
    assert done.json["equal"] is True
    assert all(check["n_different"] == 0 for tensor in done.json["tensors"] for check in tensor["checks"])


def test_verify_can_ask_the_plain_twins_for_all(refgguf_command, every_type):
    """With --plain all the plain twins see every value."""
    done = refgguf_command("verify", every_type, "q4_k", "iq1_s", "--plain", "all", "--json")
    assert [tensor["checks"][0]["n_compared"] for tensor in done.json["tensors"]] == [SHAPE[0] * SHAPE[1]] * 2


def _wrong_reference() -> references.Reference:
    """Return a decoder that is off by one unit in the last place, in the last value of each piece."""

    def decode(quant, raw):
        out = np.stack([quant.dequantize_plain(block) for block in raw])
        out.view(np.uint32)[-1, -1] ^= 1
        return out

    return references.Reference("crooked", decode)


def test_verify_shows_where_values_differ(refgguf_command, every_type, monkeypatch):
    """A single wrong bit is found: exit code 1, the place, both values and their bits."""
    monkeypatch.setattr(references, "references", lambda: (_wrong_reference(),))
    done = refgguf_command("verify", every_type, "q8_0.weight")
    assert done.code == 1
    assert (
        "q8_0.weight (Q8_0): 1 of 2,048 values differ from crooked, most in row 3, column 511: " in done.out
    )
    assert "of 1 tensors 1 differ" in done.out
    found = refgguf_command("verify", every_type, "q8_0.weight", "--json").json
    worst = found["tensors"][0]["checks"][0]["worst"]
    assert (found["equal"], worst["row"], worst["col"]) == (False, 3, 511)
    assert int(worst["ours_bits"], 16) ^ int(worst["theirs_bits"], 16) == 1


def test_verify_says_what_cannot_be_decoded(refgguf_command, tmp_path):
    """A tensor of an unknown type counts as not verified: exit code 1 and the reason."""
    from tests.support.gguf_bytes import GGUFBytes

    path = GGUFBytes().tensor("new", 99, (32,), bytes(32)).write(tmp_path / "new.gguf")
    done = refgguf_command("verify", path)
    assert done.code == 1
    assert "new (type 99): new: the tensor type 99 is unknown" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.like.it",), "none of the 35 tensors is called nothing.like.it"),
        (("--plain", "some"), "--plain: 'some' is neither a number of blocks nor all"),
        (("--plain", "0"), "--plain: '0' is neither"),
    ],
)
def test_verify_refuses(refgguf_command, every_type, words, message):
    """What cannot be asked ends in one line and exit code 2."""
    done = refgguf_command("verify", every_type, *words)
    assert (done.code, message in done.err) == (2, True)


@pytest.mark.parametrize("name", sorted(formats()))
def test_block_explains_every_type(refgguf_command, every_type, name):
    """The last line is the decoded value with its bits, and JSON has every byte and part."""
    with open_file(every_type) as file:
        expected = file[f"{name.lower()}.weight"].dequantize(1)[300]
    done = refgguf_command("block", every_type, f"{name.lower()}.weight", 1, 300)
    assert done.code == 0
    assert done.out.rstrip().endswith(f"= {expected!s}   bits {expected.view(np.uint32):#010x}")
    found = refgguf_command("block", every_type, f"{name.lower()}.weight", 1, 300, "--json").json
    quant = formats()[name]
    assert "".join(field["bytes"] for field in found["fields"]) == found["block"]["bytes"]
    assert len(bytes.fromhex(found["block"]["bytes"])) == quant.type_size
    assert found["weight"]["bits"] == f"{expected.view(np.uint32):#010x}"
    assert np.float32(found["block"]["values"][found["weight"]["index"]]) == expected


def test_block_counts_from_the_end(refgguf_command, every_type):
    """Negative rows and columns count from the end."""
    last = refgguf_command("block", every_type, "q4_k.weight", -1, -1, "--json").json
    same = refgguf_command("block", every_type, "q4_k.weight", 3, 511, "--json").json
    assert last == same
    assert (last["row"], last["col"], last["weight"]["index"]) == (3, 511, 255)


def test_block_offset_is_that_of_the_file(refgguf_command, every_type):
    """The bytes shown lie in the file where the command says."""
    found = refgguf_command("block", every_type, "q6_k.weight", 2, 256, "--json").json["block"]
    data = every_type.read_bytes()
    assert data[found["offset"] : found["offset"] + 210].hex() == found["bytes"]


def test_block_prints_all_weights_and_colors(refgguf_command, every_type, monkeypatch):
    """With --values all weights are printed; on a terminal the bytes read are coloured instead of bracketed."""
    plain = refgguf_command("block", every_type, "q4_0.weight", "--values").out
    assert "all 32 weights of the block" in plain
    assert plain.count("[") - 1 == 3  # d takes two bytes, the code one; the key has a bracket too
    monkeypatch.setattr(console, "is_terminal", lambda stream: stream is sys.stdout)
    assert "[in brackets]" not in refgguf_command("block", every_type, "q4_0.weight").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("q4_k.weight", 4), "q4_k.weight: there is no row 4, only 4 rows"),
        (("q4_k.weight", 0, 512), "q4_k.weight: there is no column 512, only 512 columns"),
        (("q4_k.weight", -5), "there is no row -5"),
        (("q4_k.wight",), "there is no tensor 'q4_k.wight'; the nearest are q4_k.weight"),
    ],
)
def test_block_refuses(refgguf_command, every_type, words, message):
    """A weight that does not exist is refused in one line."""
    done = refgguf_command("block", every_type, *words)
    assert (done.code, message in done.err) == (2, True)


def test_quantize_writes_a_mix(refgguf_command, model, tmp_path):
    """Q4_K_M: the tied embedding gets Q6_K, norms stay, metadata is carried over, the file opens."""
    done = refgguf_command("quantize", model, tmp_path / "small.gguf", "--type", "q4_k_m")
    assert done.code == 0, done.err
    with open_file(tmp_path / "small.gguf") as file, open_file(model) as source:
        assert {name: tensor.type for name, tensor in file.tensors.items()} == {
            "output_norm.weight": "F32",
            "token_embd.weight": "Q6_K",
            "blk.0.attn_norm.weight": "F32",
            "blk.0.attn_v.weight": "Q4_K",
            "blk.0.ffn_down.weight": "Q4_K",
            "blk.1.attn_norm.weight": "F32",
            "blk.1.attn_v.weight": "Q6_K",
            "blk.1.ffn_down.weight": "Q6_K",
        }
        assert file.metadata["general.name"] == "two"
        assert (file.metadata["general.file_type"], file.metadata["general.quantization_version"]) == (15, 2)
        for name, tensor in file.tensors.items():
            error = np.abs(tensor.dequantize() - source[name].dequantize()).max()
            assert error <= (0 if tensor.type == "F32" else 0.3)
    assert "bits a weight" in done.out
    assert "largest errors" in done.out


def test_quantize_obeys_wishes(refgguf_command, model, tmp_path):
    """Patterns, the embedding's own type and --pure decide before the mix; the first pattern that fits counts."""
    words = (
        "--tensor-type",
        r"blk\.1\..*=q8_0",
        "--tensor-type",
        "ffn_down=q5_k",
        "--token-embedding-type",
        "f16",
    )
    done = refgguf_command(
        "quantize", model, tmp_path / "out.gguf", "--type", "Q4_K", "--pure", *words, "--json"
    )
    assert done.code == 0, done.err
    types = {tensor["name"]: tensor["to"] for tensor in done.json["tensors"]}
    assert types["token_embd.weight"] == "F16"
    assert (types["blk.0.attn_v.weight"], types["blk.0.ffn_down.weight"]) == ("Q4_K", "Q5_K")
    assert types["blk.1.attn_v.weight"] == types["blk.1.ffn_down.weight"] == "Q8_0"
    errors = {
        t["name"]: t["rms_error"] / t["rms"] for t in done.json["tensors"] if t["rms_error"] is not None
    }
    assert (
        errors["blk.1.attn_v.weight"] < 0.01 < errors["blk.0.ffn_down.weight"] < errors["blk.0.attn_v.weight"]
    )


def test_quantize_can_only_plan(refgguf_command, model, tmp_path):
    """With --dry-run the plan is shown and nothing is written."""
    done = refgguf_command("quantize", model, tmp_path / "out.gguf", "--type", "q8_0", "--dry-run")
    assert done.code == 0
    assert any(
        line.split()[:1] == ["blk.0.attn_v.weight"] and "Q8_0" in line for line in done.out.splitlines()
    )
    assert not (tmp_path / "out.gguf").exists()
    planned = refgguf_command(
        "quantize", model, tmp_path / "out.gguf", "--type", "q8_0", "--dry-run", "--json"
    ).json
    assert {tensor["to"] for tensor in planned} == {"F32", "Q8_0"}


def test_quantize_warns(refgguf_command, model, tmp_path):
    """Quantized weights, patterns without a tensor and rows that do not fit are spoken of on the error stream."""
    refgguf_command("quantize", model, tmp_path / "q8.gguf", "--type", "q8_0")
    done = refgguf_command(
        "quantize",
        tmp_path / "q8.gguf",
        tmp_path / "q4.gguf",
        "--type",
        "q4_0",
        "--tensor-type",
        "no_such=q8_0",
    )
    assert done.code == 0
    assert "warning: the weights of 5 tensors are quantized already (Q8_0)" in done.err
    assert "no tensor's name fits --tensor-type no_such" in done.err


def test_rows_that_do_not_fit_fall_back(refgguf_command, tmp_path):
    """Rows of 96 take blocks of 32 instead of 256, rows of 40 become F16; both are said."""
    tensors = [NewTensor(f"{n}.weight", "F32", (2, n), np.ones((2, n), np.float32)) for n in (96, 40)]
    write_gguf(tmp_path / "odd.gguf", {"general.architecture": "x"}, tensors)
    done = refgguf_command("quantize", tmp_path / "odd.gguf", tmp_path / "o.gguf", "--type", "q4_k_s")
    assert "the rows of 2 tensors do not fit the blocks of Q4_K_S" in done.err
    with open_file(tmp_path / "o.gguf") as file:
        assert (file["96.weight"].type, file["40.weight"].type) == ("Q5_0", "F16")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--type", "q9_z"), "there is no type or mix q9_z; there are F32"),
        (("--type", "q4km"), "there is no type or mix q4km; did you mean Q4_K_M? there are F32"),
        (("--type", "iq2_xs"), "nothing can be quantized to IQ2_XS"),
        (("--type", "q4_0", "--tensor-type", "attn"), "'attn' is not PATTERN=TYPE"),
        (("--type", "q4_0", "--tensor-type", "(=q8_0"), "'(' is no regular expression"),
        (("--type", "q4_0", "--tensor-type", "a=q9"), "no tensor can be quantized to q9"),
    ],
)
def test_quantize_refuses(refgguf_command, model, tmp_path, words, message):
    """What cannot be asked ends in one line, exit code 2 and no file."""
    done = refgguf_command("quantize", model, tmp_path / "out.gguf", *words)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "is nan"), (-np.inf, "is -inf"), (1e9, "too large for Q4_0")]
)
def test_quantize_refuses_what_no_scale_holds(refgguf_command, tmp_path, value, said):
    """NaN, infinity and values too large are refused with their place; nothing is left behind."""
    values = np.ones((3, 64), np.float32)
    values[2, 40] = value
    write_gguf(
        tmp_path / "bad.gguf", {"general.architecture": "x"}, [NewTensor("a.weight", "F32", (3, 64), values)]
    )
    done = refgguf_command(
        "quantize", tmp_path / "bad.gguf", tmp_path / "out.gguf", "--type", "q4_0", "--pure"
    )
    assert done.code == 2
    assert said in done.err
    assert "a.weight: row 2" in done.err
    assert "--tensor-type 'a.weight=F32'" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def test_quantize_does_not_overwrite_what_it_reads(refgguf_command, model):
    """The output cannot be the input."""
    before = model.read_bytes()
    done = refgguf_command("quantize", model, model, "--type", "q8_0")
    assert (done.code, "is the file that is read" in done.err) == (2, True)
    assert model.read_bytes() == before


def test_verify_of_a_quantized_file(refgguf_command, model, tmp_path):
    """What quantize writes, verify finds equal."""
    refgguf_command("quantize", model, tmp_path / "small.gguf", "--type", "iq4_xs")
    assert refgguf_command("verify", tmp_path / "small.gguf").code == 0


def test_checks_are_plain_data():
    """A check can be turned into a dictionary for other programs."""
    from refgguf.weights.verify import Check

    assert dataclasses.asdict(Check("x", 1, 0, 0, None))["worst"] is None
