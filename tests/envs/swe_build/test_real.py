"""Tasks of real histories, made by the commands a person types: ours, releases', made bugs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.histories import killed, sdists
from benchmarks.histories.yields import yield_of
from munro.envs.swe_build.build import Builder, Options
from munro.envs.swe_build.candidates import mined
from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.journal import Journal
from munro.envs.swe_build.mine import Rules
from munro.envs.swe_build.packages.prepare import Packages
from munro.envs.swe_build.validate import Bounds
from munro.machine.cli.main import munro
from munro.rewards import sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
ROOT = Path(__file__).parents[3]
EARLY = "4a5b7c304d"
"""Up to here most changes of ours are to parts that are tested without vLLM, Ray and a sandbox."""
NEEDED = (
    "pytest pytest-asyncio hypothesis pydantic numpy sympy math-verify[antlr4_13_2] jinja2 click"
    " rich tomli-w psutil pyarrow torch transformers safetensors tokenizers"
)
RELEASES = {
    "cachetools": 3,
    "parse": 5,
    "pathspec": 1,
    "simpleeval": 4,
    "unidiff": 3,
    "wcwidth": 1,
}
"""Tasks that the releases of each must give: more than ten, of six packages."""
MUTATED = {
    "parse": ("1.22.4", 35),
    "semver": ("3.1.2", 17),
    "simpleeval": ("1.0.8", 10),
    "unidiff": ("1.0.1", 38),
}
"""Of fifty made bugs of the one version so many must be kept: a hundred of two hundred."""


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


def history(folder: Path, name: str, versions: Sequence[str]) -> Path:
    """The history of a package's releases; skipped where there is no index."""
    try:
        sdists.history_of(name, versions, folder / name)
    except SystemExit as failure:
        pytest.skip(f"no source distributions here: {failure}")
    return folder / name


@pytest.mark.parametrize("name", RELEASES)
def test_tasks_of_successive_releases(name: str, tmp_path: Path) -> None:
    place, out = history(tmp_path, name, sdists.VERSIONS[name]), tmp_path / "tasks"
    said = swe("build", str(place), "--out", str(out), "--jobs", "2")
    found = yield_of(out)
    assert found.kept >= RELEASES[name], said
    assert found.closed == found.kept, said
    sound(out)


@pytest.mark.parametrize("name", MUTATED)
def test_made_bugs(name: str, tmp_path: Path) -> None:
    version, least = MUTATED[name]
    place, out = history(tmp_path, name, [version]), tmp_path / "bugs"
    words = ["-n", "50", "--jobs", "2", "--test-s", "4", "--wall-s", "40"]
    said = swe("bugs", str(place), "--out", str(out), *words)
    found = yield_of(out)
    assert found.candidates == 50
    assert found.kept >= least, said
    assert found.closed == found.kept, said
    assert found.twinned >= 0.9 * found.tests, found


def test_a_build_that_is_killed_five_times_gives_the_same_tasks(tmp_path: Path) -> None:
    place = history(tmp_path, "simpleeval", sdists.VERSIONS["simpleeval"])
    options = ["--limit", "5", "--jobs", "2"]
    killed.build(place, tmp_path / "once", options)
    lines = killed.num_lines(tmp_path / "once")
    assert yield_of(tmp_path / "once").kept >= 2
    story = killed.killed(place, tmp_path / "killed", options, 5, lines, seed=0)
    assert list(killed.faults(tmp_path / "once", tmp_path / "killed", story)) == []


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_fix_that_the_interpreters_own_packages_hold_is_refused(
    is_shown: bool, tmp_path: Path
) -> None:
    there = pytest.importorskip("jmespath", reason="no jmespath is installed here, to be copied")
    repository = Repository(history(tmp_path, "jmespath", ["1.0.0", "1.0.1"]))
    out, store = tmp_path / "tasks", tmp_path / "layers"
    with sandbox.open("namespaces", store=store) as box:
        maker = Builder(
            repository=repository,
            out=out,
            options=Options(bounds=Bounds(rounds=2, mutants=0, hunks=0)),
            journal=Journal.open(out, {}, resume=False),
            box=box,
            store=store,
            packages=Packages(store),
            say=print,
            shown=[Path(there.__file__).parents[1]] if is_shown else [],
        )
        maker.build(mined(repository, "jmespath", Rules()).proposals)
    (row,) = maker.journal.done.values()
    if not is_shown:
        assert row["outcome"] == "kept", row
    else:
        assert row["reason"] == "a visible file holds the fix: lines of the fix", row
        assert "/jmespath/" in row["detail"]


def ours() -> Repository:
    """This repository with its whole history; skipped where there is none."""
    try:
        found = Repository(ROOT)
        found.resolve(EARLY)
    except BadRepository as failure:
        pytest.skip(f"our own history is not here: {failure}")
    if found.is_shallow:
        pytest.skip("a shallow clone has no history: git fetch --unshallow")
    return found


@pytest.mark.timeout(2400)
def test_tasks_of_this_repository(tmp_path: Path) -> None:
    before = ours().text("show", "-s", "--format=%ct", EARLY).strip()
    (tmp_path / "needed").write_text("\n".join(NEEDED.split()))
    words = ["--packages", "installed", "--requirements", str(tmp_path / "needed")]
    words += ["--until", f"@{before}", "--wall-s", "75", "--test-s", "10", "--jobs", "2"]
    said = swe("build", str(ROOT), "--out", str(tmp_path / "tasks"), *words)
    found = yield_of(tmp_path / "tasks")
    assert found.kept >= 8, said
    assert found.closed == found.kept
    sound(tmp_path / "tasks")


def test_a_clone_without_history_is_told(tmp_path: Path) -> None:
    ours()
    clone = ["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(tmp_path / "cut")]
    subprocess.run(clone, check=True, capture_output=True)
    words = ["swe", "build", str(tmp_path / "cut"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(munro, words)
    assert "for it is a shallow clone: git fetch --unshallow" in str(done.exception)
