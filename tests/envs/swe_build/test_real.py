"""Tasks of real histories, made by the commands a person types: ours, releases', made bugs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.histories import sdists
from benchmarks.histories.yields import Yield, yield_of
from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.git import Repository
from munro.machine.cli.main import munro

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
ROOT = Path(__file__).parents[3]
LIGHT = "873e517c97e7"
"""The commit from which our conftest.py needs torch: what came before runs without."""
NEEDED = (
    "pytest hypothesis pydantic numpy sympy math-verify[antlr4_13_2] pyspellchecker openai click"
    " rich tomli-w psutil pyarrow"
)
RELEASES = ("cachetools", "jsonpatch", "parse", "pathspec", "simpleeval", "unidiff", "wcwidth")
MUTATED = {"jsonpatch": "1.48", "parse": "1.22.4", "simpleeval": "1.0.8", "unidiff": "1.0.1"}


def swe(*words: str) -> str:
    """What the command prints."""
    done = CliRunner().invoke(munro, ["swe", *words])
    assert done.exit_code in (0, 1), (done.output, done.exception)
    return done.output


def sound(folder: Path) -> None:
    """Gold passes and nothing does not, the box shows no fix and no future."""
    said = swe("check", str(folder), "--hacks", "none", "--no-host")
    number = len(list(folder.glob("*/task.toml")))
    assert said.splitlines()[-1] == f"{number} of {number} tasks are sound", said


def test_tasks_of_this_repository(tmp_path: Path) -> None:
    try:
        ours = Repository(ROOT)
        light = ours.resolve(LIGHT)
        shallow = ours.is_shallow
    except BadRepository as failure:
        pytest.skip(f"our own history is not here: {failure}")
    if shallow:
        pytest.skip("a shallow clone has no history: git fetch --unshallow")
    before = ours.text("show", "-s", "--format=%ct", light).strip()
    (tmp_path / "needed").write_text("\n".join(NEEDED.split()))
    words = ["--packages", "installed", "--requirements", str(tmp_path / "needed")]
    words += ["--only", "rewards", "--only", "envs", "--until", f"@{int(before) - 1}"]
    words += ["--wall-s", "60", "--jobs", "2"]
    said = swe("build", str(ROOT), "--out", str(tmp_path / "tasks"), *words)
    found = yield_of(tmp_path / "tasks")
    assert found.kept >= 8, said
    assert found.closed == found.kept
    sound(tmp_path / "tasks")


def releases(folder: Path, versions: Mapping[str, Sequence[str]]) -> list[Path]:
    """Histories of packages; skipped where there is no index."""
    for name, numbers in versions.items():
        try:
            sdists.history_of(name, numbers, folder / name)
        except SystemExit as failure:
            pytest.skip(f"no source distributions here: {failure}")
    return [folder / name for name in versions]


def test_tasks_of_successive_releases(tmp_path: Path) -> None:
    every, homes = Yield(), 0
    for place in releases(tmp_path, {name: sdists.VERSIONS[name] for name in RELEASES}):
        out = tmp_path / "tasks" / place.name
        said = swe("build", str(place), "--out", str(out), "--jobs", "2")
        found = yield_of(out)
        every, homes = every + found, homes + bool(found.kept)
        assert found.closed == found.kept, said
        if found.kept:
            sound(out)
    assert every.kept >= 10, every
    assert homes >= 4, every


def test_made_bugs_of_four_packages(tmp_path: Path) -> None:
    every = Yield()
    for place in releases(tmp_path, {name: [last] for name, last in MUTATED.items()}):
        out = tmp_path / "bugs" / place.name
        said = swe("bugs", str(place), "--out", str(out), "-n", "50", "--jobs", "2")
        found = yield_of(out)
        every += found
        assert found.closed == found.kept, said
    assert every.candidates == 200
    assert every.kept >= 100, every
    assert every.twinned >= 0.9 * every.tests, every


def test_a_clone_without_history_is_told(tmp_path: Path) -> None:
    try:
        Repository(ROOT).resolve("HEAD~1")
    except BadRepository as failure:
        pytest.skip(f"our own history is not here: {failure}")
    clone = ["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(tmp_path / "cut")]
    subprocess.run(clone, check=True, capture_output=True)
    words = ["swe", "build", str(tmp_path / "cut"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(munro, words)
    assert "for it is a shallow clone: git fetch --unshallow" in str(done.exception)
