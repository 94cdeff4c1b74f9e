"""The journal: what it says after crashes and resumes."""

import json
import random
from dataclasses import asdict

import pytest

from munro.machine.watch.given import GivenUp
from munro.rl.control.journal import NEWEST, Journal, audit
from munro.rl.ranges import ranges
from tests.builders import make_abandoned, tell


def written(tmp_path, *events):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return audit(path)


def out(index):
    return {"event": "out", "index": index}


def trained(index, step):
    return {"event": "trained", "index": index, "step": step}


def test_a_plain_run_trains_each_task_once(tmp_path):
    found = written(tmp_path, out(0), out(1), trained(1, 1), trained(0, 2))
    assert found.trained == {1: 1, 0: 2}
    assert found.trained_twice == found.skipped == ()


def test_training_after_the_checkpoint_is_void_after_a_resume(tmp_path):
    resumed = {"event": "resumed", "step": 1}
    found = written(
        tmp_path, out(0), trained(0, 1), out(1), trained(1, 2), resumed, out(1), trained(1, 2)
    )
    assert found.trained == {0: 1, 1: 2}
    assert found.trained_twice == ()


def test_a_task_in_two_surviving_steps_is_found(tmp_path):
    found = written(tmp_path, out(0), trained(0, 1), trained(0, 2))
    assert found.trained_twice == (0,)


def test_a_task_that_a_resume_forgot_is_found(tmp_path):
    resumed = {"event": "resumed", "step": 1}
    found = written(tmp_path, out(0), out(1), trained(0, 1), resumed, out(2), trained(2, 2))
    assert found.skipped == (1,)


def test_a_task_given_up_after_the_checkpoint_must_be_handed_out_again(tmp_path):
    given_up = {"event": "abandoned", "index": 0, "step": 1, "reason": "too_hard"}
    resumed = {"event": "resumed", "step": 1}
    assert written(tmp_path, out(0), given_up, out(1), trained(1, 2)).skipped == ()
    assert written(tmp_path, out(0), given_up, resumed, out(1), trained(1, 2)).skipped == (0,)


def test_a_line_cut_short_by_a_crash_is_closed_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(out(0)) + '\n{"event": "trai')
    journal = Journal(path)
    journal.write("trained", [0], step=1)
    journal.close()
    assert audit(path).trained == {0: 1}


def test_a_distillation_voids_nothing(tmp_path):
    distilled = {"event": "distilled", "step": 1, "base": "base"}
    found = written(tmp_path, out(0), trained(0, 1), distilled, out(1), trained(1, 2))
    assert found.trained == {0: 1, 1: 2}
    assert found.trained_twice == found.skipped == ()


def test_what_befell_tasks_together_shares_a_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("out", [3, 5, 4, 9], version=2)
    journal.write("out", [])
    journal.close()
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {"event": "out", "indices": [[3, 6], [9, 10]], "version": 2}
    assert audit(path).in_flight == {3, 4, 5, 9}


@pytest.mark.parametrize("seed", range(20))
def test_ranges_are_the_numbers(seed):
    rng = random.Random(seed)
    numbers = rng.sample(range(60), rng.randint(0, 50))
    found = [index for start, stop in ranges(numbers) for index in range(start, stop)]
    assert found == sorted(numbers)


@pytest.mark.parametrize("seed", range(10))
def test_a_journal_written_anew_says_the_same_before_and_after_more_of_it(tmp_path, seed):
    """Random histories with resumes and losses, one of them compacted at every chance."""
    rng = random.Random(seed)
    plain = Journal(tmp_path / "plain.jsonl", segment_bytes=10**9)
    short = Journal(tmp_path / "short.jsonl", segment_bytes=1)
    for step in range(1, 30):
        for journal, draw in ((plain, random.Random(f"{seed}{step}")) for plain in (plain, short)):
            some = draw.sample(range(200), 12)
            journal.write("out", some, version=step)
            journal.write("trained", some[:4], step=step)
            journal.write("stale", some[4:6])
            for index in some[6:9]:
                journal.abandoned(tell(make_abandoned(index=index)), step)
            journal.flush()
        if rng.random() < 0.2:
            back = rng.randint(1, step)
            plain.resumed(back)
            short.resumed(back)
        short.compact()
        found = [asdict(audit(one.path)) for one in (plain, short)]
        assert found[0] == found[1]
    plain.close()
    short.close()


def test_a_long_journal_still_counts_all_that_was_given_up_and_says_why_of_the_newest(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal, num = Journal(path, segment_bytes=1), NEWEST + 50
    for index in range(num):
        journal.abandoned(tell(make_abandoned(index=index)), 3)
    journal.flush()
    size = path.stat().st_size
    journal.compact()
    journal.abandoned(tell(make_abandoned(index=num)), 4)
    journal.close()
    given = GivenUp()
    for line in path.read_text().splitlines():
        given.add(json.loads(line))
    assert (given.total, dict(given.counts)) == (num + 1, {"too_hard_early": num + 1})
    assert path.stat().st_size < size
    assert audit(path).abandoned == set(range(num + 1))


def test_a_journal_of_before_is_gone_on_with(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in (out(0), out(1), trained(0, 1))))
    journal = Journal(path, segment_bytes=1)
    journal.resumed(1)
    journal.write("out", [1, 2], version=1)
    journal.write("trained", [1, 2], step=2)
    for _ in range(2):
        journal.compact()
        assert audit(path).trained == {0: 1, 1: 2, 2: 2}
    journal.close()
