"""The parts of a model that was split over several files, `NAME-00001-of-00005.gguf` and so on."""

from __future__ import annotations

import re
from pathlib import Path

from refgguf.errors import SplitFileError
from refgguf.gguf.metadata import Metadata

SPLIT_NAME = re.compile(r"(?P<name>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.DOTALL)


def part_paths(path: Path, metadata: Metadata) -> list[Path]:
    """Return the paths of all parts, the first one first; `[path]` when the file is whole in itself.

    Args:
        path: any part.
        metadata: that part's.

    Raises:
        SplitFileError: it says that it is one of several, and the others cannot be found.
    """
    count = split_number(metadata, "split.count", path, default=1)
    if count <= 1:
        return [path]
    match = SPLIT_NAME.fullmatch(path.name)
    if match is None:
        raise SplitFileError(
            f"this is one of {count} parts, and the others are found by name; "
            f"rename them to NAME-00001-of-{count:05d}.gguf and so on",
            path=path,
            field="split.count",
        )
    number, named = int(match["number"]), int(match["count"])
    if named != count or not 1 <= number <= count:
        raise SplitFileError(
            f"the file name says part {number} of {named} and the metadata says {count} parts",
            path=path,
            field="split.count",
        )
    paths = [path.with_name(f"{match['name']}-{n:05d}-of-{count:05d}.gguf") for n in range(1, count + 1)]
    missing = [part for part in paths if not part.exists()]
    if missing:
        names = ", ".join(part.name for part in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise SplitFileError(
            f"{len(missing)} of {count} parts are missing: {names}; put all parts into one folder", path=path
        )
    return paths


def split_number(metadata: Metadata, key: str, path: object, default: int | None = None) -> int:
    """Return a whole number that describes the split.

    Raises:
        SplitFileError: the key is absent and has no default, or holds no number.
    """
    value = metadata.get(key, default)
    if value is None:
        raise SplitFileError("the key is absent, so this is no part of a split file", path=path, field=key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SplitFileError(f"a count is expected, found {value!r:.60}", path=path, field=key)
    return value


def check_part(metadata: Metadata, number: int, count: int, path: Path) -> None:
    """Make sure that a part is the one that its name says.

    Raises:
        SplitFileError: it is another one, or belongs to another split.
    """
    found = split_number(metadata, "split.no", path)
    if found != number:
        raise SplitFileError(
            f"part {number + 1} is expected by name and this is part {found + 1}", path=path, field="split.no"
        )
    if split_number(metadata, "split.count", path, default=count) != count:
        raise SplitFileError(
            f"the first part says {count} parts and this one says {metadata['split.count']}",
            path=path,
            field="split.count",
        )


def check_total(metadata: Metadata, n_tensors: int, path: Path) -> None:
    """Make sure that all parts together have as many tensors as the first announces.

    Raises:
        SplitFileError: they do not.
    """
    announced = split_number(metadata, "split.tensors.count", path, default=n_tensors)
    if announced != n_tensors:
        raise SplitFileError(
            f"{announced:,} tensors are announced and the parts have {n_tensors:,}",
            path=path,
            field="split.tensors.count",
        )
