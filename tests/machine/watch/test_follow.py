"""Only what was appended is read, and what begins anew is known to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from munro.machine.run.metrics import MetricsLog
from munro.machine.watch.curves import Curves, gist
from munro.machine.watch.follow import Lines
from munro.machine.watch.given import GivenUp


@pytest.fixture
def log(tmp_path):
    return MetricsLog(tmp_path / "metrics.jsonl")


def test_every_line_is_given_once_and_a_torn_one_when_it_is_whole(log):
    lines = Lines(log.path)
    assert list(lines.more()) == []
    log.append(1, {"a": 0.5})
    assert not lines.begins_anew()
    assert [line["step"] for line in lines.more()] == [1]
    with log.path.open("a") as file:
        file.write('{"step": 2,')
    assert list(lines.more()) == []
    with log.path.open("a") as file:
        file.write(' "a": 1.5}\nno json\n[1]\n')
    assert [line["step"] for line in lines.more()] == [2]
    assert lines.unreadable == 2
    assert not lines.begins_anew()
    assert list(lines.more()) == []


class Counted:
    """A file that says how much was read of it."""

    def __init__(self, file, seen):
        self.file, self.seen = file, seen

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def seek(self, place):
        return self.file.seek(place)

    def read(self, count):
        found = self.file.read(count)
        self.seen.append(len(found))
        return found


def test_no_byte_is_read_twice(log, monkeypatch):
    lines = Lines(log.path)
    for step in range(200):
        log.append(step, {"a": 1.0})
    list(lines.more())
    log.append(200, {"a": 1.0})
    read: list[int] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: Counted(real(path, mode), read))
    assert len(list(lines.more())) == 1
    assert sum(read) == len(json.dumps({"step": 200, "a": 1.0})) + 1


def test_a_resumed_run_whose_metrics_were_cut_begins_anew(log):
    lines = Lines(log.path)
    for step in range(1, 6):
        log.append(step, {"a": 1.0})
    assert len(list(lines.more())) == 5
    log.truncate_after(3)
    log.append(4, {"a": 2.0})
    assert lines.begins_anew()
    assert [line["step"] for line in lines.more()] == [1, 2, 3, 4]
    assert lines.generation == 1
    os.remove(log.path)
    assert lines.begins_anew()
    log.append(1, {"a": 1.0})
    assert not lines.begins_anew()
    assert [line["step"] for line in lines.more()] == [1]


def filled(num):
    curves = Curves()
    for step in range(1, num + 1):
        curves.add(
            {"step": step, "a": float(step), "time/eval": 1.0} if step % 2 else {"step": step}
        )
    return curves


def test_only_bins_that_are_not_there_yet_are_told():
    curves = filled(5)
    first = curves.since(0, 0, most=10, names=["a"])
    assert first["columns"] == {"a": [1.0, None, 3.0, None, 5.0]}
    curves.add({"step": 6, "a": 6.0})
    more = curves.since(5, 1, most=10, names=["a"])
    assert (more["start"], more["steps"], more["columns"]) == (5, [6], {"a": [6.0]})
    none = curves.since(6, 1, most=10, names=["a"])
    assert (none["steps"], none["columns"]) == ([], {"a": []})


def test_a_long_run_is_thinned_to_means_whose_last_bin_fills_up():
    curves = filled(9)
    told = curves.since(0, 0, most=5, names=["a", "time/eval"])
    assert (told["per"], told["steps"]) == (2, [2, 4, 6, 8, 9])
    assert told["columns"]["a"] == [1.0, 3.0, 5.0, 7.0, 9.0]
    # what a step leaves out because nothing of the kind happened counts as none
    assert told["columns"]["time/eval"] == [0.5, 0.5, 0.5, 0.5, 1.0]
    curves.add({"step": 10, "a": 11.0})
    more = curves.since(4, 2, most=5, names=["a"])
    assert (more["start"], more["steps"], more["columns"]["a"]) == (4, [10], [10.0])
    # one more line makes bins of four: all of them are told again
    curves.add({"step": 11})
    again = curves.since(5, 2, most=5, names=["a"])
    assert (again["per"], again["start"], len(again["steps"])) == (4, 0, 3)


def test_what_another_version_wrote_into_a_line_is_left_out():
    curves = Curves()
    for line in (
        {"step": "one", "a": 1},
        {"a": 1},
        {"step": True},
        {"step": 1, "a": None, "b": "text", "c": [1], "d": {"e": 1}, "f": 2**70, "event": "x"},
        {"step": 2, "a": 3, "event": ["told", 7]},
    ):
        curves.add(line)
    assert list(curves.steps) == [1, 2]
    assert curves.names == ["a"]
    assert curves.events == [{"step": 2, "text": "told"}, {"step": 2, "text": "7"}]
    assert curves.last("a") == 3.0
    assert curves.last("zzz") is None


def test_seconds_that_no_phase_claims_are_a_curve_too():
    curves = Curves()
    curves.add({"step": 1, "time/step": 3.0, "time/train": 1.0, "time/generate": 1.5})
    assert curves.last("time/other") == pytest.approx(0.5)
    assert "time/other" in curves.names


def test_figures_are_chosen_by_a_gist_of_all_runs():
    one, two = Curves(), Curves()
    one.add({"step": 1, "policy/k": 0.5, "a": 1.0})
    two.add({"step": 1, "policy/k": 2.0, "a": 7.0, "b": np.nan})
    found = gist([one, two], ["policy/k", "a", "b"])
    assert found == {"policy/k": [0.5, 2.0], "a": [7.0]}


def test_the_newest_given_up_come_first_and_old_journals_say_less():
    given = GivenUp()
    given.add({"event": "out", "index": 1})
    given.add({"event": "abandoned", "index": 4, "reason": "too_hard", "step": 2})
    given.add(
        {
            "event": "abandoned", "index": 5, "reason": "unscored", "step": 3, "env": "e",
            "task": "t", "pass_rate": 0.25, "attempts": 8, "detail": "no judge",
        }
    )  # fmt: skip
    given.add({"event": "abandoned", "reason": 7, "step": "x", "index": None, "attempts": "?"})
    rows, found = given.rows("", 0, 10)
    assert (found, given.total) == (3, 3)
    assert [row["reason"] for row in rows] == ["7", "unscored", "too_hard"]
    assert (rows[1]["passed"], rows[1]["step"], rows[1]["detail"]) == (2, 4, "no judge")
    assert (rows[2]["passed"], rows[2]["task"]) == (None, "")
    assert given.rows("unscored", 0, 10)[1] == 1
    assert given.rows("", 2, 10)[0] == rows[2:]
