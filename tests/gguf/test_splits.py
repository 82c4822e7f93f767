"""Split files open as one, from any part; a part that is missing or foreign is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refgguf
from refgguf import errors
from tests.support.gguf_bytes import GGUFBytes


def part(number: int, n_parts: int, total: int = 3, **change) -> GGUFBytes:
    """Return part `number` (from 0) of a model with one tensor in each part."""
    builder = GGUFBytes(order=change.get("order", "<"))
    if number == 0:
        builder.key("general.architecture", "string", "llama").key("general.name", "string", "whole")
    for key, kind, value in (
        ("split.no", "uint16", change.get("no", number)),
        ("split.count", "uint16", change.get("count", n_parts)),
        ("split.tensors.count", "int32", total),
    ):
        if value is not None:
            builder.key(key, kind, value)
    code = {"<": "<f4", ">": ">f4"}[builder.order]
    return builder.tensor(change.get("name", f"t{number}"), "F32", (2, 4), np.full(8, number, code))


def write(folder: Path, count: int = 3, **changes) -> list[Path]:
    """Write all parts; `changes` maps "p1" to what is different in part 1."""
    paths = []
    for number in range(count):
        path = folder / f"model-{number + 1:05d}-of-{count:05d}.gguf"
        paths.append(part(number, count, count, **changes.get(f"p{number}", {})).write(path))
    return paths


@pytest.mark.parametrize("opened", range(3))
def test_a_split_model_opens_as_one_from_any_part(opened: int, tmp_path: Path):
    """All tensors are there in order, with the metadata of the first part, whichever part is named."""
    paths = write(tmp_path)
    file = refgguf.open(paths[opened])
    assert file.parts == tuple(paths) and file.path == paths[0]
    assert file.metadata["general.name"] == "whole" and file.architecture == "llama"
    assert list(file) == ["t0", "t1", "t2"]
    assert [tensor.part for tensor in file.tensors.values()] == [0, 1, 2]
    for number in range(3):
        np.testing.assert_array_equal(file[f"t{number}"].dequantize(), np.full((2, 4), number))
    assert file.size == sum(path.stat().st_size for path in paths)
    file.close()


def test_names_may_hold_anything(tmp_path: Path):
    """A model's own name may look like a part's, and hold dots and spaces."""
    for number in range(2):
        part(number, 2, 2).write(tmp_path / f"a b.v1-00007-of-00009-{number + 1:05d}-of-00002.gguf")
    assert len(refgguf.open(tmp_path / "a b.v1-00007-of-00009-00002-of-00002.gguf")) == 2


def test_a_whole_file_with_a_part_s_name_is_whole(tmp_path: Path):
    """What makes a part is the metadata, not the name; a split of one is whole too."""
    GGUFBytes().tensor("w", "I8", (3,)).write(tmp_path / "model-00001-of-00005.gguf")
    assert refgguf.open(tmp_path / "model-00001-of-00005.gguf").parts == (
        tmp_path / "model-00001-of-00005.gguf",
    )
    part(0, 1, 1).write(tmp_path / "one.gguf")
    assert len(refgguf.open(tmp_path / "one.gguf")) == 1


def test_missing_parts_are_named(tmp_path: Path):
    """All missing parts are counted, the first few are named."""
    paths = write(tmp_path, 6)
    paths[1].unlink()
    with pytest.raises(
        errors.SplitFileError, match=r"1 of 6 parts are missing: model-00002-of-00006\.gguf; put all"
    ):
        refgguf.open(paths[0])
    for path in paths[2:]:
        path.unlink()
    with pytest.raises(errors.SplitFileError, match=r"5 of 6 .* model-00004-of-00006\.gguf, …; put all"):
        refgguf.open(paths[0])


def test_a_renamed_part_says_how_to_name_it(tmp_path: Path):
    """The other parts are found by name, so a part with another name cannot be opened."""
    paths = write(tmp_path)
    renamed = paths[0].rename(tmp_path / "model.gguf")
    with pytest.raises(errors.SplitFileError, match=r"one of 3 parts.*NAME-00001-of-00003\.gguf"):
        refgguf.open(renamed)


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.gguf", "model-00000-of-00003.gguf", "model-00004-of-00003.gguf"]
)
def test_a_name_that_contradicts_the_metadata(name: str, tmp_path: Path):
    """The number and count in the name must be possible for what the metadata says."""
    path = part(0, 3).write(tmp_path / name)
    with pytest.raises(
        errors.SplitFileError, match=r"the file name says part .* and the metadata says 3 parts"
    ):
        refgguf.open(path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"p1": {"no": 2}}, errors.SplitFileError, "part 2 is expected by name and this is part 3"),
        ({"p0": {"no": 1}}, errors.SplitFileError, "part 1 is expected by name and this is part 2"),
        ({"p1": {"no": None}}, errors.SplitFileError, "split.no: the key is absent"),
        ({"p2": {"count": 7}}, errors.SplitFileError, "the first part says 3 parts and this one says 7"),
        (
            {"p2": {"name": "t0"}},
            errors.DuplicateKeyError,
            "t0: the tensor is in model-00001-of-00003.gguf as well",
        ),
        ({"p1": {"order": ">"}}, errors.SplitFileError, "is little-endian and this one big-endian"),
    ],
)
def test_parts_that_do_not_belong_together(changes: dict, error: type, message: str, tmp_path: Path):
    """Each way in which a part can be foreign has its own sentence."""
    paths = write(tmp_path, **changes)
    with pytest.raises(error, match=message):
        refgguf.open(paths[0])


def test_the_tensor_total_must_agree(tmp_path: Path):
    """A part with a tensor too few is noticed by the total that the first part announces."""
    write(tmp_path)
    path = part(0, 3, 99).write(tmp_path / "model-00001-of-00003.gguf")
    with pytest.raises(errors.SplitFileError, match="99 tensors are announced and the parts have 3"):
        refgguf.open(path)


@pytest.mark.parametrize("value", [("string", "many"), ("float32", 2.0), ("int32", -3), ("bool", True)])
def test_a_count_that_is_no_count(value: tuple, tmp_path: Path):
    """A `split.count` of another type is refused by name."""
    path = GGUFBytes().key("split.count", *value).write(tmp_path / "m.gguf")
    with pytest.raises(errors.SplitFileError, match=r"split\.count: a count is expected, found"):
        refgguf.open(path)


def test_a_damaged_part_is_named(tmp_path: Path):
    """When another part than the one that was named is damaged, the error says which."""
    paths = write(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-8])
    with pytest.raises(errors.TruncatedFileError, match=r"model-00003-of-00003\.gguf"):
        refgguf.open(paths[0])
    paths[2].write_bytes(b"")
    with pytest.raises(errors.BadMagicError, match=r"model-00003-of-00003\.gguf.*an empty file"):
        refgguf.open(paths[0])
