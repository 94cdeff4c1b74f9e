"""Packages of a date: which date, what is left of a folder that pip filled, whose fault it is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.packages import prepare
from munro.envs.swe_build.packages.installed import Installed
from munro.envs.swe_build.packages.prepare import OLDEST, Packages, install, quarter, tidy
from munro.envs.swe_build.packages.requirements import Needs

NEEDS = Needs(distribution="own", requirements=("a>1", "pytest"), python_path=())


def test_dates_are_of_a_quarter_and_know_this_python():
    assert quarter(1_785_542_400) == "2026-07-01"  # 2026-08-01
    assert quarter(0) == f"{OLDEST[sys.version_info[:2]]:%Y-%m-%d}"


def fill(folder: Path) -> None:
    """As pip leaves it: two distributions, a script, caches."""
    for name, contents in {
        "bin/tool": "#!/home/me/python\n",
        "own/__init__.py": "",
        "own/deep/a.py": "",
        "own-1.0.dist-info/RECORD": "own/__init__.py,,\nown/deep/a.py,,\n../outside.py,,\n",
        "a/__init__.py": "",
        "a/__pycache__/x.pyc": "",
        "a-2.0.dist-info/METADATA": "Name: a\n",
        "a-2.0.dist-info/RECORD": "a/__init__.py,,\n",
        "a-2.0.dist-info/INSTALLER": "pip\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(contents)


def test_what_tells_of_this_machine_and_the_repositorys_own_package_are_left_out(tmp_path):
    (tmp_path / "outside.py").write_text("mine")
    folder = tmp_path / "packages"
    fill(folder)
    tidy(folder, "own")
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert left == {"a/__init__.py", "a-2.0.dist-info/METADATA"}
    assert (tmp_path / "outside.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("No module named pip", "ensurepip"),
        ("no such option: --uploaded-prior-to", "pip install --upgrade"),
        ("ERROR: index does not provide upload-time metadata", "--packages newest"),
        ("ERROR: NewConnectionError", "cannot be reached"),
        ("OSError: No space left on device", "--resume"),
    ],
)
def test_what_is_no_fault_of_the_requirements_is_told_in_one_line(
    tmp_path, monkeypatch, said, line
):
    def run(*words, **options):
        return subprocess.CompletedProcess(words, 1, stdout="", stderr=said)

    monkeypatch.setattr(prepare.subprocess, "run", run)
    with pytest.raises(BadRepository, match=line):
        install(["a"], tmp_path, "2026-07-01")


def test_bounds_give_way_before_a_candidate_does_and_a_layer_is_made_once(tmp_path, monkeypatch):
    asked = []

    def some(requirements, folder, date):
        asked.append((list(requirements), date))
        if ">" in requirements[0]:
            return "no such version"
        fill(folder)
        return ""

    monkeypatch.setattr(prepare, "install", some)
    packages = Packages(tmp_path / "store")
    layer, date = packages.layer(NEEDS, 1_785_542_400)
    assert date == "2026-07-01"
    assert asked == [(["a>1", "pytest"], date), (["a", "pytest"], date)]
    assert packages.layer(NEEDS, 1_785_542_401)[0] == layer
    assert Packages(tmp_path / "store").layer(NEEDS, 1_785_542_400)[0] == layer
    assert len(asked) == 2
    assert Packages(tmp_path / "store", is_dated=False).layer(NEEDS, 0)[1] == ""


def test_what_has_no_wheels_is_dropped_again_without_asking(tmp_path, monkeypatch):
    asked = []

    def none(*words):
        asked.append(words)
        return "no wheel"

    monkeypatch.setattr(prepare, "install", none)
    packages = Packages(tmp_path / "store")
    for _ in range(2):
        with pytest.raises(Dropped, match="cannot be had as wheels"):
            packages.layer(NEEDS, 0)
    assert len(asked) == 2


def test_packages_as_they_are_installed_here_with_what_they_stand_on(tmp_path):
    needs = Needs(distribution="pluggy", requirements=("pytest>=1", "click"), python_path=())
    packages = Installed(tmp_path / "store")
    layer, date = packages.layer(needs, 0)
    assert date == ""
    assert packages.layer(needs, 9)[0] == layer
    there = {path.name for path in layer.path.iterdir()}
    assert {"pytest", "_pytest", "iniconfig", "click"} <= there
    assert "pluggy" not in there, "the repository has its own"
    assert not list(layer.path.rglob("*.pyc"))
    absent = replace(needs, requirements=("no-such-package", "pytest"))
    with pytest.raises(Dropped, match="is not installed here") as dropped:
        packages.layer(absent, 0)
    assert dropped.value.detail == "no-such-package"
