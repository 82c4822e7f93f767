"""What gets installed: the wheel's contents, its only top-level name, and pyproject's list of packages."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.source_tree import PACKAGES, ROOT, python_folders

SETUPTOOLS_NEEDED = 77  # [build-system] requires; older ones do not know license = "MIT"
DATA_SUFFIXES = {".csv", ".json", ".npz", ".txt", ".glsl", ".gguf", ".ttf"}


def pyproject() -> dict:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the checkout, so that no build files are left in it."""
    setuptools = int(importlib.metadata.version("setuptools").split(".")[0])
    if setuptools < SETUPTOOLS_NEEDED:
        pytest.skip(
            f"setuptools {setuptools} is too old to build a wheel; install setuptools>={SETUPTOOLS_NEEDED}"
        )
    source = tmp_path_factory.mktemp("source")
    for name in ("refgguf", "kernels", "viz"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("wheel")
    script = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=source, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    return built


def test_the_list_of_packages_is_complete():
    """Every folder with files of the package is listed in pyproject.toml, and every listed one exists."""
    listed = pyproject()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(set(listed)), "a package is listed twice"
    assert set(listed) == python_folders()


def test_kernels_and_viz_are_no_packages_of_their_own():
    """The two top-level folders have no __init__.py: other packages on PyPI are called `kernels`."""
    for package, folder in PACKAGES.items():
        assert (folder / "__init__.py").exists() == (package == "refgguf")


def test_every_other_folder_is_a_package():
    """Folders below the three roots that hold Python files have an __init__.py."""
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert path.parent == folder or (path.parent / "__init__.py").exists(), (
                f"{path.parent} lacks __init__.py"
            )


def test_the_wheel_has_one_top_level_name(wheel: Path):
    """Installing refgguf takes no import name but `refgguf`."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {"refgguf", wheel.name.split("-")[0] + f"-{pyproject()['project']['version']}.dist-info"}


def test_the_wheel_holds_every_module_and_data_file(wheel: Path):
    """Each source and data file of the checkout is in the wheel under its import name."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = set()
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in DATA_SUFFIXES | {".py"} and "__pycache__" not in path.parts:
                expected.add(f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}")
    assert expected - packed == set()
    assert {name for name in packed if name.startswith("refgguf/")} - expected == set()


def test_no_file_of_an_unknown_kind_lies_in_the_package():
    """Data files have one of the suffixes that pyproject.toml packs, so none is forgotten in a wheel."""
    packed = {pattern.removeprefix("*") for pattern in pyproject()["tool"]["setuptools"]["package-data"]["*"]}
    for folder in PACKAGES.values():
        for path in folder.rglob("*"):
            # .md is for those who read the repository
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".py", ".md"):
                assert path.suffix in packed, f"{path.relative_to(ROOT)} is not packed; see package-data"


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path):
    """Unpacked elsewhere, the package imports from there, kernels and viz included, and shows its help."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import refgguf, refgguf.kernels.jit as jit, sys\n"
        "assert refgguf.__file__.startswith(sys.argv[1]), refgguf.__file__\n"
        "assert jit.__file__.startswith(sys.argv[1]), jit.__file__\n"
        "from refgguf.cli import call\n"
        "sys.exit(call(['--help']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Look at a file:" in done.stdout


def test_the_license_is_in_the_wheel(wheel: Path):
    """The wheel carries the licence text and says MIT."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    assert "License-Expression: MIT" in text
