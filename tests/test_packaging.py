"""What `pip install` puts on a machine: the eight rooms, their data, the command; nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("rewards", "envs", "rollout", "rl", "distill", "base_model", "kernels", "machine")
OTHERS = ("tests", "benchmarks", "configs", "docs")
BUILD = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The distribution, built from a copy so that the checkout stays clean."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*ROOMS, *OTHERS, "src"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return ZipFile(next(out.glob("*.whl")))


def top_levels(wheel: ZipFile) -> set[str]:
    return {name.split("/")[0] for name in wheel.namelist()}


def test_the_wheel_holds_the_eight_rooms_and_nothing_else(wheel: ZipFile) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert top_levels(wheel) == {"munro", f"munro-{version}.dist-info"}
    inside = {name.split("/")[1] for name in wheel.namelist() if name.startswith("munro/")}
    assert inside == {*ROOMS, "__init__.py", "py.typed"}


def test_the_wheel_holds_every_file_of_every_room(wheel: ZipFile) -> None:
    files = {
        f"munro/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - set(wheel.namelist()) == set()


def test_the_wheel_brings_the_command_and_the_licence(wheel: ZipFile) -> None:
    (entry_points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "munro = munro.machine.cli.main:main" in wheel.read(entry_points).decode()
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_the_installed_command_answers() -> None:
    munro = Path(sys.executable).with_name("munro")
    done = subprocess.run([munro, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "climb" in done.stdout
