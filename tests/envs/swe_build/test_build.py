"""A whole build in real boxes: what is kept, what falls out and why, kills, and the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.envs.swe.run import pytest_layer
from munro.envs.swe_build.build import Builder, Options
from munro.envs.swe_build.candidates import contents_at, made, mined
from munro.envs.swe_build.bugs import propose_bugs
from munro.envs.swe_build.functions import propose_functions
from munro.envs.swe_build.git import Repository, walk
from munro.envs.swe_build.journal import Journal
from munro.envs.swe_build.mine import Rules
from munro.envs.swe_build.requirements import Needs
from munro.envs.swe_build.validate import Bounds
from munro.rewards import sandbox
from munro.rewards.sandbox import Layer, Sandbox
from tests.envs.swe_build.histories import Hand, first_of_equals

BOUNDS = Bounds(rounds=2, mutants=3, hunks=2)
OPTIONS = Options(bounds=BOUNDS, test_s=2, wall_s=30, jobs=2)


class Installed:
    """The pytest of this interpreter, whatever is needed: nothing is asked of an index."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def layer(self, needs: Needs, seconds: int) -> tuple[Layer, str]:
        return pytest_layer(self._store), ""


@pytest.fixture(scope="module")
def box(tmp_path_factory) -> Iterator[Sandbox]:
    with sandbox.open("namespaces", store=tmp_path_factory.mktemp("layers")) as box:
        yield box


def builder(repository: Repository, out: Path, box: Sandbox, **changes) -> Builder:
    settings = {"repository": repository.resolve("HEAD")}
    return Builder(
        repository=repository,
        out=out,
        options=changes.pop("options", OPTIONS),
        journal=Journal.open(out, settings, resume=True),
        box=box,
        packages=Installed(box.store),
        store=box.store,
        say=changes.pop("say", lambda line: None),
        shown=[],
    )


def written(out: Path) -> dict[str, str]:
    """Digest of every file of every task."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in walk(out)
        if path.relative_to(out).parts[0] not in ("journal.jsonl", ".work", ".lock")
    }


def test_a_merged_fix_becomes_a_task_and_the_same_one_again(tmp_path, box):
    repository = first_of_equals(tmp_path / "repo").repository
    found = mined(repository, "lengths", Rules())
    for name in ("one", "two"):
        maker = builder(repository, tmp_path / name, box)
        maker.build(found.proposals)
        assert [row["outcome"] for row in maker.journal.done.values()] == ["kept"]
    assert written(tmp_path / "one") == written(tmp_path / "two")
    (task,) = (path for path in (tmp_path / "one").iterdir() if path.name.startswith("lengths-"))
    fail_to_pass = json.loads((task / "tests" / "fail_to_pass.json").read_text())
    assert fail_to_pass == ["test_lengths.py::test_ties"]
    pass_to_pass = json.loads((task / "tests" / "pass_to_pass.json").read_text())
    assert "test_lengths.py::test_total" in pass_to_pass
    told = (task / "instruction.md").read_text()
    assert "Of words that are equally long" in told
    assert "#3" not in told
    assert "ada/ties" not in told


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Hand:
    """A history in which nothing can be a task, each change for another reason."""
    hand = Hand(tmp_path_factory.mktemp("bad") / "repo")
    hand.commit("Begin", {"words.py": b"x = 1\n", "test_words.py": b"def test():\n    pass\n"})
    cases = {
        "passes": b"def test_passes():\n    assert True\n",
        "hangs": b"def test_hangs():\n    while True:\n        pass\n",
        "network": b"import socket\n\n\ndef test_network():\n"
        b"    socket.create_connection(('192.0.2.1', 80), timeout=1)\n",
        "differs": b"import os\nimport words\n\n\ndef test_differs():\n"
        b"    assert words.differs and os.environ['PYTHONHASHSEED'] == '0'\n",
        "absent": b"import no_such_module\n\n\ndef test_absent():\n    pass\n",
        "ends": b"import os\n\n\ndef test_ends():\n    os._exit(0)\n",
        "weak": b"import words\n\n\ndef test_weak():\n    assert words.weak\n",
    }
    for name, test in cases.items():
        code = hand.folder / "words.py"
        more = f"{name} = 1\n\n\ndef f_{name}(a, b):\n    return a + b if a < b else a - b\n"
        files = {"words.py": code.read_bytes() + more.encode(), f"test_{name}.py": test}
        hand.commit(f"Now words can do {name}, as was asked", files)
    return hand


@pytest.mark.slow
def test_what_is_no_task_falls_out_with_its_reason(bad, tmp_path, box):
    repository = bad.repository
    found = mined(repository, "words", Rules())
    assert len(found.proposals) == 7
    maker = builder(repository, tmp_path / "out", box)
    maker.build(found.proposals)
    message = {one.id: one.message.split()[4].rstrip(",") for one in found.proposals}
    why = {message[name]: row["reason"] for name, row in maker.journal.done.items()}
    assert why == {
        "passes": "the tests pass before the fix",
        "hangs": "what fails before fails after too",
        "network": "the tests need the network",
        "differs": "its tests do not say the same from run to run",
        "absent": "an import fails: No module named 'no_such_module'",
        "ends": "what fails before fails after too",
        "weak": "its tests accept most of the wrong fixes",
    }


class Killed(BaseException):
    """In place of a kill: nothing of the build's own may hold it up."""


@pytest.mark.slow
def test_a_build_that_is_stopped_at_any_point_goes_on_and_loses_nothing(tmp_path, box):
    repository = first_of_equals(tmp_path / "repo").repository
    tree = contents_at(repository, "HEAD")
    chosen = made(propose_bugs(repository, tree, "lengths", seed=0), 6)
    whole = builder(repository, tmp_path / "whole", box)
    whole.build(chosen.proposals)
    stops = 0
    while True:
        lines = []

        def say(line: str, lines: list[str] = lines) -> None:
            lines.append(line)
            if len(lines) == 2:
                raise Killed

        again = builder(repository, tmp_path / "again", box, say=say)
        try:
            again.build(chosen.proposals)
        except Killed:
            stops += 1
            continue
        break
    assert stops >= 2
    assert again.journal.done == whole.journal.done
    assert written(tmp_path / "again") == written(tmp_path / "whole")


@pytest.mark.slow
def test_made_bugs_and_removed_functions_become_tasks_without_the_tests_that_find_them(
    tmp_path, box
):
    repository = first_of_equals(tmp_path / "repo").repository
    tree = contents_at(repository, "HEAD")
    for kind, propose in (("bug", propose_bugs), ("function", propose_functions)):
        chosen = made(propose(repository, tree, "lengths", 0), 3)
        maker = builder(repository, tmp_path / kind, box)
        maker.build(chosen.proposals)
        kept = [name for name, row in maker.journal.done.items() if row["outcome"] == "kept"]
        assert kept, maker.journal.done
        for name in kept:
            told = (tmp_path / kind / name / "instruction.md").read_text()
            assert "test" in told
            assert "+    " not in told
