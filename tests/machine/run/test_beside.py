"""Dropped groups and evaluations: stored, capped, shown, and counted by nobody."""

from __future__ import annotations

import numpy as np
import pytest

from munro.distill.sources import Source, read_index, stored_steps
from munro.distill.traces import read_traces
from munro.machine.climb.start import Start, resume
from munro.machine.config import RunConfig
from munro.machine.report.rollouts import sample
from munro.machine.run import token_figures
from munro.machine.run.beside import Beside
from munro.machine.run.folder import RunFolder
from munro.machine.run.replies import LETTERS, replies
from munro.machine.verbs.lengths import run_lengths
from munro.rl.clip import Clip
from munro.rl.control.controller import Ledger
from munro.rl.control.journal import Journal, audit
from munro.rl.state import ClimbState, Cursor
from munro.rollout.store.node import NodeStore
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Reason
from tests.builders import make_abandoned, make_attempt, make_group, make_task, make_trajectory


def config(**changes):
    return RunConfig.model_validate({"num_steps": 9, "env": "arithmetic"} | changes)


def dropped(reason=Reason.TOO_HARD_EARLY, reply="41", rewards=(0.0, 0.0), **fields):
    attempts = tuple(
        make_attempt(reward, trajectory=make_trajectory(reply=reply, nucleus=True))
        for reward in rewards
    )
    boring = {"pass_rate": 0.0, "num_attempts": len(attempts), "attempts": attempts}
    return make_abandoned(reason, **(boring | fields))


def beside_of(run, settings):
    """With a store in this process, to which `tell` hands in."""
    store = NodeStore("here", keep_dropped=settings.rollout.keep_dropped)
    return Beside(run, settings, store), lambda found: store.tell(found, None)


def test_dropped_groups_are_stored_with_why_and_without_an_advantage(tmp_path):
    run = RunFolder(tmp_path / "run")
    beside, tell = beside_of(run, config())
    given_up = [dropped(index=7), dropped(Reason.TOO_EASY, index=8), make_abandoned(index=9)]
    beside.dropped(3, [tell(one) for one in given_up])
    store = RolloutStore(run.dropped)
    rows = list(store.scan(["step", "index", "given_up", "advantage", "reply", "kept_ids"]))
    assert [(row["index"], row["given_up"]) for row in rows] == [
        *[(7, "too_hard_early")] * 2,
        *[(8, "too_easy")] * 2,
    ]
    assert {row["advantage"] for row in rows} == {None}
    assert {row["reply"] for row in rows} == {"41"}
    assert not any(row["kept_ids"] for row in rows)
    assert [group.index for group in store.read(3)] == [7, 8]


def test_where_nothing_passed_it_is_told_and_stored(tmp_path):
    run, told = RunFolder(tmp_path / "run"), []
    beside, tell = beside_of(run, config())
    beside.nothing_passed(4, [tell(dropped(reply="41, I think"))], told.append)
    assert "    reply  41, I think" in told
    assert RolloutStore(run.dropped).steps() == [4]


def test_of_an_evaluation_as_many_tasks_are_kept_as_asked_for_evenly(tmp_path):
    run = RunFolder(tmp_path / "run")
    groups = [make_group(index=-1 - number) for number in range(10)]
    beside, tell = beside_of(run, config(eval={"keep": 5}))
    beside.evaluated(0, [tell(group) for group in groups])
    rows = RolloutStore(run.evaluated).scan(["index", "given_up"])
    assert [row["index"] for row in rows][::2] == [-1, -3, -5, -7, -9]
    beside, tell = beside_of(run, config(eval={"keep": 0}))
    beside.evaluated(5, [tell(group) for group in groups])
    assert RolloutStore(run.evaluated).steps() == [0]


def test_the_oldest_steps_go_where_the_cap_is_reached_and_the_newest_never(tmp_path):
    store = RolloutStore(tmp_path)
    for step in range(1, 7):
        store.write(step, [make_group()], [[None, None]])
    store.pack(keep=3)
    of_one = (tmp_path / "step-000006.parquet").stat().st_size
    store.shrink(2 * of_one + 10)
    assert store.steps() == [5, 6]
    store.shrink(1)
    assert store.steps() == [6]


def test_the_ledger_gives_the_last_ones_once_and_the_journal_says_what_they_were(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    few = config(rollout={"keep_dropped": 2})
    ledger = Ledger(few, Cursor(), journal, str, step=4)
    store = NodeStore("here", keep_dropped=2)
    for index in range(3):
        task = make_task(f"task {index}" * 100)
        ledger.take_in([store.tell(dropped(index=index, task=task, detail="why\n" * 500), None)])
    assert [outcome.index for outcome in ledger.dropped()] == [1, 2]
    assert ledger.dropped() == []
    journal.close()
    line = (tmp_path / "journal.jsonl").read_text().splitlines()[0]
    assert '"env": "arithmetic", "task": "task 0' in line
    assert len(line) < 1200
    assert audit(tmp_path / "journal.jsonl").abandoned == {0, 1, 2}


@pytest.fixture
def both(tmp_path):
    """A run, and the same one that has dropped and evaluated as well."""
    for name in ("plain", "full"):
        run = RunFolder(tmp_path / name)
        with run.held():
            run.begin({}, seed=0, provenance={})
            store = RolloutStore(run.rollouts)
            for step in (1, 2):
                store.write(step, [make_group(1.0, 1.0, 0.0, index=step)], [[1.0, 1.0, -2.0]])
                run.metrics.append(step, {"reward/total": 0.5})
            if name == "full":
                beside, tell = beside_of(run, config())
                for step in (1, 2, 3):
                    beside.dropped(step, [tell(dropped(rewards=(1.0, 0.0), index=40 + step))])
                    beside.evaluated(step, [tell(make_group(index=-1))])
    return tmp_path / "plain", tmp_path / "full"


def test_who_distils_reports_or_measures_lengths_sees_none_of_it(both, tmp_path):
    said = []
    for path in both:
        source = Source(run=path, name="one")
        steps = stored_steps(source, (0.0, 1.0))
        index = read_index([source], [steps])
        lengths = run_lengths(path, tmp_path / "out.json", 0.05, 0.95)
        said.append((steps, len(index), index.place.tolist(), sample(path / "rollouts"), lengths))
    assert said[0] == said[1]
    assert said[0][1] == 6


def test_who_distils_and_asks_for_it_has_what_was_dropped_too_but_nothing_held_out(both):
    source = Source(run=both[1], name="one")
    steps = stored_steps(source, (0.0, 1.0))
    index = read_index([source], [steps], dropped=True)
    places = [1, 1, 1, 2, 2, 2, 41, 41, 42, 42]
    assert index.place.tolist() == places
    traces = list(read_traces([source], index, dropped=True))
    assert [trace.row for trace in traces] == list(range(10))
    assert [trace.solved for trace in traces][6:] == [True, False] * 2
    # a run of before has no such store
    assert len(read_index([Source(run=both[0], name="one")], [steps], dropped=True)) == 6


def test_a_resumed_run_forgets_what_it_takes_again(both):
    run = RunFolder(both[1])
    (run.checkpoints / "step-000001").mkdir()
    for step in (1, 2):
        rows = [(step, 0, np.zeros(3, np.float32))]
        token_figures.write(run.path, step, rows, Clip())
    with pytest.MonkeyPatch.context() as patched, run.held():
        start = Start(state=ClimbState.first(Clip()), checkpoint=None, again=True)
        patched.setattr("munro.machine.climb.start.saved_start", lambda folder: start)
        resume(run, config())
    for folder in (run.rollouts, run.dropped, run.evaluated):
        assert RolloutStore(folder).steps() == [1]
    assert [path.name for path in (run.path / "tokens").iterdir()] == ["step-000001.parquet"]


def test_three_replies_of_different_reasons_are_told_with_their_grades():
    lines = replies(
        [
            dropped(index=1, reply="first"),
            dropped(index=2, reply="x" * 900),
            dropped(index=3, rewards=(0.0, 0.4, 0.1), reply="near"),
            dropped(Reason.TOO_EASY_EARLY, rewards=(1.0, 1.0), pass_rate=1.0, reply="42"),
            make_abandoned(Reason.TOO_LONG),
        ]
    )
    told = "\n".join(lines)
    assert [line for line in lines if not line.startswith(" ")] == [
        "too easy early: arithmetic/17+25, 2 of 2 passed",
        "too hard early: arithmetic/17+25, 0 of 3 passed",
        "too hard early: arithmetic/17+25, 0 of 2 passed",
    ]
    assert "    asked  What is 17+25?" in lines
    assert "grade  0.4, passed (3 tokens, answered)" in told
    assert "500 characters left out" in told
    assert max(map(len, lines)) < LETTERS + 100
    assert replies([make_abandoned(), dropped(attempts=())]) == []
