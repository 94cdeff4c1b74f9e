"""The journal: what it says after crashes and resumes."""

import json

from munro.rl.control.journal import Journal, audit


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
