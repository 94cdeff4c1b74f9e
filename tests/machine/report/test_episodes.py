"""What the report page shows of turns, calls and endings."""

from __future__ import annotations

from dataclasses import replace

from munro.envs.types import CallRecord, Ending, Message
from munro.machine.report.figures import specify
from munro.machine.report.rollouts import sample
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_trajectory

MEASURED = {
    "response/turns": [3.0, 4.0],
    "calls/per_attempt": [2.0, None],
    "calls/failed": [0.5, 0.0],
    "calls/malformed": [0.0, 0.0],
    "calls/seconds/bash": [1.0, 2.0],
    "calls/seconds/str_replace": [0.0, 0.5],
    "response/ended/answered": [1.0, 0.5],
    "response/ended/truncated_time": [0.0, 0.5],
    "response/ended/truncated_turns": [0.0, 0.0],
}


def series_of(figure):
    return {p["label"]: [s["name"] for s in p["series"]] for p in figure["panels"]}


def test_a_climb_with_tools_has_a_figure_of_its_episodes():
    (figure,) = (one for one in specify(MEASURED, targets={}) if one["id"] == "episodes")
    shown = series_of(figure)
    assert shown["Seconds of an attempt, by tool"] == ["bash", "str replace"]
    # an ending that never was is not drawn
    assert shown["Share of attempts, by ending"] == ["answered", "truncated time"]
    assert shown["Share of calls"] == ["failed", "could not be read"]
    assert len(shown) == 5


def test_a_climb_of_single_replies_has_none():
    assert [one["id"] for one in specify({"response/length": [1.0]}, targets={})] == [
        "climb",
        "length",
    ]


def test_an_attempt_of_the_page_says_what_it_called(tmp_path):
    def called(name, seconds, ok):
        return CallRecord(turn=0, id="c", name=name, arguments="{}", ok=ok, seconds=seconds)

    told = make_trajectory(
        ending=Ending.TRUNCATED_TURN,
        messages=(Message(role="assistant", content="x"),),
        calls=(called("bash", 1.0, True), called("bash", 0.5, False), called("", 0.0, False)),
    )
    attempts = (make_attempt(trajectory=told), replace(make_attempt(), trajectory=told))
    group = make_group(attempts=(*attempts, make_attempt()), early_pass_rate=1.0)
    RolloutStore(tmp_path).write(1, [group], [[0.0] * 3])
    rows = sample(tmp_path)["rows"]
    assert [row["calls"] for row in rows] == [
        "bash 2 (1.50 s, 1 failed), unreadable 1 (0.00 s, 1 failed)",
        "bash 2 (1.50 s, 1 failed), unreadable 1 (0.00 s, 1 failed)",
        "",
    ]
    assert rows[0]["ending"] == "truncated_turn"
