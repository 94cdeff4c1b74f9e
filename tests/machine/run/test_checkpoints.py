"""When a climb's checkpoints are due, what stands, and what is kept, with a learner that waits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from munro.base_model.checkpoint import COMMIT, STATE
from munro.machine.run.checkpoints import Checkpoints, export_model
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder
from munro.rl.clip import Clip
from munro.rl.config import ClimbConfig
from munro.rl.state import ClimbState


class Learner:
    """Needs so many looks for a checkpoint to stand, and one more for its model."""

    def __init__(self, looks: int) -> None:
        self.looks, self.left, self.begun = looks, 0, []

    def save(self, folder, provenance, *, wait, export):
        assert self.saving_quietly() == ""
        self.begun.append((int(folder[-6:]), export))
        self.folder, self.provenance, self.left = Path(folder), provenance, self.looks + 1

    def saving_quietly(self):
        return "writing" if self.left > 1 else "exporting" if self.left else ""

    def saving(self):
        if self.left == 2 or (self.left and not self.looks):
            self.folder.mkdir(exist_ok=True)
            (self.folder / "provenance.json").write_text(json.dumps(self.provenance))
        self.left = max(0, self.left - 1)
        return self.saving_quietly()


@pytest.fixture
def climbed(tmp_path):
    """Takes so many steps; what was begun, what is left, and which checkpoint is known to stand."""

    def of(steps, looks, *, finish=True, sync=None, **checkpoint):
        config = ClimbConfig.model_validate(
            {"num_steps": 100, "checkpoint": {"best": "", **checkpoint}, "sync": sync or {}}
        )
        run = RunFolder(tmp_path / "run")
        run.begin({}, seed=0, provenance={})
        learner = Learner(looks)
        checkpoints = Checkpoints(run, config, learner, lambda s: {"step": s.step}, lambda _: None)
        state = ClimbState(clip=Clip())
        for step in range(1, steps + 1):
            state = replace(state, step=step)
            checkpoints.after(state)
        if finish:
            checkpoints.finish(state)
        left = [step for step, _ in run.list_checkpoints()]
        return learner.begun, left, run.read_info().saved

    return of


def test_one_that_is_due_while_another_is_written_is_taken_a_step_later(climbed):
    begun, left, saved = climbed(7, 3, every_steps=2, keep=9)
    assert [step for step, _ in begun] == [2, 5, 7]
    assert (left, saved) == ([2, 5, 7], 7)


def test_what_does_not_stand_yet_is_not_known_and_replaces_nothing(climbed):
    begun, left, saved = climbed(4, 5, every_steps=2, keep=1, finish=False)
    assert [step for step, _ in begun] == [2]
    assert (left, saved) == ([], 0)


def test_where_steps_take_turns_none_stands_inside_a_wave(climbed):
    sync = {"max_staleness": 0, "every_steps": 2}
    begun, _, _ = climbed(8, 3, every_steps=2, keep=9, sync=sync, finish=False)
    assert [step for step, _ in begun] == [2, 6]


def test_an_ephemeral_one_lasts_until_the_next_stands_and_has_no_model_made(climbed):
    begun, left, _ = climbed(11, 0, every_steps=4, ephemeral_steps=1, keep=9, finish=False)
    assert begun == [(step, step % 4 == 0) for step in range(1, 12)]
    assert left == [4, 8, 11]


def test_one_that_was_due_for_good_stays_though_it_came_late(climbed):
    begun, left, _ = climbed(9, 2, every_steps=4, ephemeral_steps=3, keep=9, finish=False)
    assert begun == [(3, False), (5, True), (7, False), (9, True)]
    assert left == [5, 7]


@pytest.mark.parametrize("key", ["every_steps", "ephemeral_steps"])
def test_none_may_be_due_inside_a_wave(key):
    sync = {"max_staleness": 0, "every_steps": 4}
    with pytest.raises(ValueError, match=rf"checkpoint\.{key} = 6 is no multiple .*\.{key} = 8"):
        ClimbConfig.model_validate(
            {"num_steps": 9, "checkpoint": {"every_steps": 8, key: 6}, "sync": sync}
        )


def test_a_half_copied_one_and_drafts_do_not_exist_and_are_told(tmp_path):
    run = RunFolder(tmp_path / "run")
    for step in (10, 20):
        (run.checkpoint(step) / STATE).mkdir(parents=True)
    (run.checkpoint(10) / COMMIT).write_text("{}")
    (run.checkpoints / ".step-000030.draft-0a1b" / STATE).mkdir(parents=True)
    assert run.list_checkpoints() == [(10, run.checkpoint(10))]
    assert run.drop_unfinished() == ["step-000020", "step-000030"]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000010", "step-000020"]


def test_a_step_without_checkpoint_is_told_those_that_have_one(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.begin({}, seed=0, provenance={})
    run.checkpoint(10).mkdir()
    with pytest.raises(RunError, match=r"no checkpoint of step 20; it has those of: 10\."):
        export_model(tmp_path / "run", 20)
