"""Attempts on the disk: kept whole, asked for once, and refused where they are no measurement."""

from __future__ import annotations

import pytest

from munro.evaluation.results import Results
from munro.evaluation.statistics import pass_at_1
from munro.evaluation.types import AttemptRow, BadResults


def row(task="t0", run=0, passed=True, **more):
    more = {"entry": "sums", "seed": run, "reward": float(passed)} | more
    return AttemptRow(task=task, run=run, passed=passed, **more)


def test_what_is_kept_is_read_again_as_it_was(tmp_path):
    kept = [
        row(parts={"safe/severity": 2.5}, labels={"category": "colours"}, cluster="one text"),
        row(run=1, passed=False, reply="naïve \ud800 \x00", prompt="", num_tokens=7),
    ]
    Results(tmp_path / "a").add(kept)
    first, second = Results(tmp_path / "a").rows("sums")
    assert first == kept[0]
    assert second.reply == "naïve \\ud800 \x00"


def test_what_is_missing_is_what_was_not_scored(tmp_path):
    results = Results(tmp_path)
    results.add([row(), row("t1", failed="judge away")])
    asked = results.missing("sums", ["t0", "t1", "t2"], runs=2)
    assert asked == [("t0", 1), ("t1", 0), ("t1", 1), ("t2", 0), ("t2", 1)]
    results.add([row("t1", passed=False)])
    assert ("t1", 0) not in Results(tmp_path).missing("sums", ["t1"], runs=1)


@pytest.mark.parametrize("again", [[row()], [row("t9"), row("t9")]])
def test_a_name_that_repeats_is_refused_and_nothing_of_it_is_kept(tmp_path, again):
    results = Results(tmp_path)
    results.add([row()])
    with pytest.raises(BadResults, match="must not repeat"):
        results.add(again)
    assert len(Results(tmp_path).rows()) == 1


@pytest.mark.parametrize("bad", [{"reward": float("nan")}, {"parts": {"x": float("inf")}}])
def test_a_score_that_is_none_is_refused_by_name(bad):
    with pytest.raises(BadResults, match=r"sums/t0 run 0: .* is no score"):
        row(**bad)


def test_half_a_file_is_named(tmp_path):
    Results(tmp_path).add([row()])
    (file,) = (tmp_path / "attempts").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(BadResults, match=r"000001.parquet cannot be read .* makes its attempts"):
        Results(tmp_path).rows()


def test_attempts_that_were_not_scored_widen_the_interval_both_ways(tmp_path):
    results = Results(tmp_path)
    rows = [row(f"t{n}", run, passed=n % 2 == 0) for n in range(20) for run in range(4)]
    results.add([*rows, row("t20", failed="no server"), row("t21", failed="no server")])
    found = results.figures()["sums"]["pass_rate"]
    whole = pass_at_1([[n % 2 == 0] * 4 for n in range(20)])
    assert found.mean == whole.mean == 0.5
    assert found.low < whole.low
    assert found.high > whole.high
