"""What is told of a build that was killed: each way in which it may differ from a whole one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.histories import killed
from benchmarks.histories.killed import Story, command, ends, faults
from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.journal import KEPT, Journal


def built(folder: Path, *, more: str = "") -> Path:
    """A build of two candidates, one of them kept."""
    journal = Journal.open(folder, {}, resume=False)
    journal.note("words-1", "kept", KEPT)
    journal.drop("words-2", Dropped("F2P", "the tests pass before the fix"))
    (folder / ".layers" / "0a").mkdir(parents=True)
    (folder / "words-1" / "tests").mkdir(parents=True)
    (folder / "words-1" / "task.toml").write_text("id = 'words-1'\n" + more)
    (folder / "words-1" / "tests" / "test_words.py").write_text("def test(): pass\n")
    return folder


def test_the_same_build_has_no_faults_whatever_its_journal_says_of_stages(tmp_path):
    once, again = built(tmp_path / "once"), built(tmp_path / "again")
    with (again / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"candidate": "words-1", "stage": "F2P", "outcome": "passed"}))
        file.write('\n{"candidate": "words-2", "outc')  # cut off by a kill
    assert list(faults(once, again, Story())) == []


def test_bytes_modes_and_layers_that_differ_are_told(tmp_path):
    once, again = built(tmp_path / "once"), built(tmp_path / "again", more="x = 1\n")
    (again / ".layers" / "half").mkdir()
    (again / "words-1" / "tests" / "test_words.py").chmod(0o755)
    assert list(faults(once, again, Story())) == [
        "differs: .layers/half",
        "differs: words-1/task.toml",
        "differs: words-1/tests/test_words.py",
    ]


def test_what_was_lost_or_settled_twice_and_what_is_left_running_is_told(tmp_path):
    once, again = built(tmp_path / "once"), built(tmp_path / "again")
    Journal.open(once, {}, resume=True).note("words-3", "kept", KEPT)
    Journal.open(again, {}, resume=True).note("words-1", "kept", KEPT)
    assert list(faults(once, again, Story(left=2))) == [
        "settled 2 times: words-1",
        "words-3: kept kept  once, lost killed",
        "2 processes outlived their build",
    ]


def test_a_build_goes_on_where_one_was_begun(tmp_path):
    assert "--resume" not in command(Path("repo"), tmp_path / "new", [])
    assert "--resume" in command(Path("repo"), built(tmp_path / "old"), [])
    assert len(ends(tmp_path / "old")) == 2
    assert ends(tmp_path / "new") == {}


SCRIPTED = """
import json, sys, time
out, holds = sys.argv[1], int(sys.argv[2])
with open(out + "/starts", "a+") as starts:
    starts.write("x")
    starts.seek(0)
    is_held = len(starts.read()) <= holds
with open(out + "/journal.jsonl", "a+") as file:
    file.seek(0)
    done = {json.loads(line)["candidate"] for line in file}
    for name in sorted({*"abcd"} - done):
        file.write(json.dumps({"candidate": name, "stage": "kept", "outcome": "kept"}) + "\\n")
        file.flush()
        if is_held:
            time.sleep(600)
"""
"""Stands for a build: settles four candidates, and in its first runs one of them and no more."""


def test_kills_are_counted_and_the_rest_is_built_in_the_end(tmp_path, monkeypatch):
    def scripted(repo, out, options):
        return [sys.executable, "-I", "-S", "-c", SCRIPTED, str(out), *options]

    monkeypatch.setattr(killed, "command", scripted)
    story = killed.killed(tmp_path, tmp_path, ["2"], kills=2, lines=4, seed=0, later_s=0)
    assert story.done == [1, 2]
    assert story.left == 0
    assert sorted(ends(tmp_path)) == [*"abcd"]
    with pytest.raises(SystemExit, match="through after 0 kills: name a larger --limit"):
        killed.killed(tmp_path, tmp_path, ["0"], kills=1, lines=4, seed=0)
