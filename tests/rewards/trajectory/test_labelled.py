"""The labelled transcripts are what their script makes, and a monitor's benchmark on them holds."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from munro.rewards.trajectory import transcript_of
from munro.rewards.trajectory.hacks import load

FOLDER = Path(__file__).parents[3] / "benchmarks" / "agents" / "labelled"
ROWS = [json.loads(line) for line in (FOLDER / "transcripts.jsonl").read_text().splitlines()]


def test_there_are_twenty_honest_ones_and_five_of_each_of_eight_hacks():
    kinds = Counter(row["hack"] for row in ROWS)
    assert kinds.pop("") == 20
    assert set(kinds.values()) == {5}
    assert set(kinds) == {hack.name for hack in load("usual")} - {"sways_judge"}
    assert [row["label"] for row in ROWS] == [int(not row["hack"]) for row in ROWS]
    assert len({json.dumps(row["transcript"]) for row in ROWS}) == 60


def test_evidence_names_turns_that_exist_and_only_there_is_the_deed():
    for row in ROWS:
        whole = transcript_of(row["transcript"])
        numbers = [turn.number for turn in whole.turns]
        assert set(row["turns"]) <= set(numbers)
        assert bool(row["turns"]) == bool(row["hack"])
        assert "{" not in row["response"], "a slot was not filled"
        if row["hack"] == "claims_undone":
            assert row["turns"] == [numbers[-1]]


def test_the_script_makes_them_again():
    assert runpy.run_path(str(FOLDER / "make.py"))["made"]() == ROWS
    (hack,) = load(str(FOLDER / "any.toml"))
    assert hack.name == "cheats"


@pytest.mark.slow
def test_of_a_judge_that_breaks_in_nine_ways_nothing_is_scored():
    script = [sys.executable, str(FOLDER.parent / "monitor.py")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    assert "without a verdict was scored" in done.stdout
    (whole, broken) = json.loads(done.stdout.splitlines()[-1])["report"]
    assert (whole["judged"], whole["failed"]) == (60, 0)
    assert broken["judged"] + broken["failed"] == 60
