"""The best checkpoint, as the run's folder says by itself."""

from __future__ import annotations

import pytest

from munro.machine.run.best import best_checkpoint, is_better, link_best
from munro.machine.run.folder import RunFolder
from munro.rl.config import WHOLE


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    evaluated(run, 0, mean=0.1, low=0.05, saved=False)
    return run


def evaluated(run, step, *, mean, low, saved=True):
    run.metrics.append(step, {"eval/pass_rate": mean, "eval/pass_rate_low": low})
    if saved:
        run.checkpoint(step).mkdir()


def test_the_lower_end_decides_and_not_the_luckiest_mean(run):
    assert best_checkpoint(run, WHOLE) is None
    assert link_best(run, WHOLE) is None
    evaluated(run, 10, mean=0.8, low=0.6)
    evaluated(run, 20, mean=0.75, low=0.7)
    evaluated(run, 30, mean=0.9, low=0.65)
    assert best_checkpoint(run, WHOLE) == 20
    assert link_best(run, WHOLE).resolve().name == "step-000020"
    # of equals the newest; an evaluation without a checkpoint is none to point to
    evaluated(run, 40, mean=0.7, low=0.7)
    evaluated(run, 50, mean=0.99, low=0.98, saved=False)
    assert link_best(run, WHOLE).resolve().name == "step-000040"


def test_it_is_never_pruned_and_the_one_that_it_replaces_is(run):
    for step, low in ((10, 0.3), (20, 0.7), (30, 0.4), (40, 0.5)):
        evaluated(run, step, mean=0.8, low=low)
    assert run.prune_checkpoints(keep=1, spare=best_checkpoint(run, WHOLE)) == [10, 30]
    assert [step for step, _ in run.list_checkpoints()] == [20, 40]
    evaluated(run, 50, mean=0.9, low=0.8)
    run.prune_checkpoints(keep=1, spare=best_checkpoint(run, WHOLE))
    assert [step for step, _ in run.list_checkpoints()] == [50]


def test_what_is_better_than_every_checkpoint_is_saved(run):
    figures = {"eval/pass_rate_low": 0.4}
    assert is_better(run, WHOLE, 5, figures)
    assert not is_better(run, WHOLE, 0, figures)
    assert not is_better(run, WHOLE, 5, {"eval/pass_rate": 0.4})
    evaluated(run, 3, mean=0.6, low=0.4)
    assert not is_better(run, WHOLE, 5, figures)
    assert is_better(run, WHOLE, 5, {"eval/pass_rate_low": 0.41})


def test_steps_that_were_not_evaluated_are_not_looked_into(run):
    for step in range(1, 4):
        run.metrics.append(step, {"loss": 1.0})
    evaluated(run, 4, mean=0.5, low=0.4)
    with run.metrics.path.open("ab") as file:
        file.write(b"which nobody can read\n")
    evaluated(run, 5, mean=0.6, low=0.5)
    assert best_checkpoint(run, WHOLE) == 5
    run.metrics.path.unlink()
    run.metrics.path.mkdir()  # reading it fails
    assert not is_better(run, WHOLE, 6, {"loss": 1.0})
    with pytest.raises(OSError, match="directory"):
        is_better(run, WHOLE, 6, {"eval/pass_rate_low": 0.9})


def test_a_run_resumed_before_its_best_step_forgets_it(run):
    evaluated(run, 10, mean=0.5, low=0.4)
    evaluated(run, 20, mean=0.9, low=0.8)
    run.metrics.truncate_after(10)
    assert best_checkpoint(run, WHOLE) == 10
