"""A whole build in real boxes: what is kept, what falls out and why, kills, and the same bytes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.envs.swe_build import build
from munro.envs.swe_build.candidates import contents_at, made, mined
from munro.envs.swe_build.journal import Journal
from munro.envs.swe_build.made.bugs import propose_bugs
from munro.envs.swe_build.made.functions import propose_functions
from munro.envs.swe_build.mine import Rules
from munro.rewards import sandbox
from munro.rewards.sandbox import Sandbox
from tests.envs.swe_build.building import NUMBER, build_bugs, builder, written
from tests.envs.swe_build.histories import Hand, first_of_equals

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def box(tmp_path_factory) -> Iterator[Sandbox]:
    with sandbox.open("namespaces", store=tmp_path_factory.mktemp("boxes") / "layers") as box:
        yield box


def test_a_merged_fix_becomes_a_task_and_the_same_one_again(tmp_path, box):
    repository = first_of_equals(tmp_path / "repo").repository
    found = mined(repository, "lengths", Rules())
    for name in ("one", "two"):
        maker = builder(repository, tmp_path / name, box, box.store)
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
    maker = builder(repository, tmp_path / "out", box, box.store)
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


@pytest.mark.slow
def test_a_build_that_is_killed_at_any_time_goes_on_and_loses_nothing(tmp_path, box):
    repository = first_of_equals(tmp_path / "repo").repository
    whole = build_bugs(repository, tmp_path / "whole", box, box.store)
    assert len(whole.journal.done) == NUMBER
    out, kills, chance = tmp_path / "again", 0, random.Random(0)
    words = [str(repository.path), str(out), str(box.store)]
    while True:
        command = [sys.executable, "-m", "tests.envs.swe_build.building", *words]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "src:."})
        try:
            assert process.wait(timeout=chance.uniform(4, 12)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        break
    assert kills >= 2
    again = Journal.open(out, {"repository": repository.resolve("HEAD")}, resume=True)
    assert again.done == whole.journal.done
    assert written(out) == written(tmp_path / "whole")


def test_a_build_that_goes_on_does_not_read_the_machine_again(tmp_path, box, monkeypatch):
    repository = first_of_equals(tmp_path / "repo").repository
    tree = contents_at(repository, "HEAD")
    bugs = made(propose_bugs(repository, tree, "lengths", seed=0), NUMBER).proposals
    asked = []
    monkeypatch.setattr(build, "host_leaks", lambda fixes, _: asked.append({*fixes}) or {})
    first = builder(repository, tmp_path / "out", box, box.store)
    first._look_at_host(bugs[:1])
    again = builder(repository, tmp_path / "out", box, box.store)
    again._look_at_host(bugs[:1])
    assert again._look_at_host(bugs) == {bug.id: [] for bug in bugs}
    assert asked == [{bugs[0].id}, {bug.id for bug in bugs[1:]}]


@pytest.mark.slow
def test_made_bugs_and_removed_functions_become_tasks_without_the_tests_that_find_them(
    tmp_path, box
):
    repository = first_of_equals(tmp_path / "repo").repository
    tree = contents_at(repository, "HEAD")
    for kind, propose in (("bug", propose_bugs), ("function", propose_functions)):
        chosen = made(propose(repository, tree, "lengths", 0), 3)
        maker = builder(repository, tmp_path / kind, box, box.store)
        maker.build(chosen.proposals)
        kept = [name for name, row in maker.journal.done.items() if row["outcome"] == "kept"]
        assert kept, maker.journal.done
        for name in kept:
            told = (tmp_path / kind / name / "instruction.md").read_text()
            assert "test" in told
            assert "+    " not in told
