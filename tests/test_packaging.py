"""What `pip install` puts on a machine: the rooms, their data, recipes, the command; no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from munro.rewards.plugins import ROOMS

ROOT = Path(__file__).parents[1]
OTHERS = ("tests", "benchmarks", "configs", "docs", "examples")
FILES = (
    *("pyproject.toml", "README.md", "LICENSE", "Makefile", "install.sh"),
    *("CHANGELOG.md", "CONTRIBUTING.md"),
)
BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def built(what: str, source: Path, out: Path) -> Path:
    """`build_wheel` or `build_sdist` in a source tree; the file that it made."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(out)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built from, so that the checkout stays clean; links stay links."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*ROOMS, *OTHERS, "src"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignore, symlinks=True)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The distribution, built from a checkout."""
    return ZipFile(built("build_wheel", source, tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="module")
def wheel_of_sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The distribution, built from the source distribution, as pip does with one."""
    out = tmp_path_factory.mktemp("dist")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built("build_sdist", source, out)) as archive:
        archive.extractall(unpacked, filter="data")
    (tree,) = unpacked.iterdir()
    return ZipFile(built("build_wheel", tree, out))


def top_levels(wheel: ZipFile) -> set[str]:
    return {name.split("/")[0] for name in wheel.namelist()}


def test_the_wheel_holds_the_rooms_and_the_recipes_under_one_name(wheel: ZipFile) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert top_levels(wheel) == {"munro", f"munro-{version}.dist-info"}
    inside = {name.split("/")[1] for name in wheel.namelist() if name.startswith("munro/")}
    assert inside == {*ROOMS, "configs", "__init__.py", "__init__.pyi", "py.typed"}


def test_the_wheel_holds_every_file_of_every_room(wheel: ZipFile) -> None:
    files = {
        f"munro/{path.relative_to(ROOT).as_posix()}"
        for room in (*ROOMS, "configs")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - set(wheel.namelist()) == set()


def test_the_wheel_of_the_source_distribution_is_the_same(
    wheel: ZipFile, wheel_of_sdist: ZipFile
) -> None:
    assert sorted(wheel_of_sdist.namelist()) == sorted(wheel.namelist())
    same = (n for n in wheel.namelist() if not n.endswith(("RECORD", "METADATA")))
    assert [n for n in same if wheel.read(n) != wheel_of_sdist.read(n)] == []


def test_what_is_unpacked_answers_without_a_checkout(wheel: ZipFile, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    wheel.extractall(site)
    empty.mkdir()
    program = "import munro; print(munro.__file__); from munro.machine.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "climb", "quickstart", "--dry-run"],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *plan = done.stdout.splitlines()
    assert first == str(site / "munro" / "__init__.py")
    assert plan[0].split() == ["run", "runs/quickstart,", "a", "new", "one"]
    assert list(empty.iterdir()) == []


def test_the_wheel_brings_the_command_and_the_licence(wheel: ZipFile) -> None:
    (entry_points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "munro = munro.machine.cli.main:main" in wheel.read(entry_points).decode()
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_the_installed_command_answers() -> None:
    munro = Path(sys.executable).with_name("munro")
    done = subprocess.run([munro, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "climb" in done.stdout
