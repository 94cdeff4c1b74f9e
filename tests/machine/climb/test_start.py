"""With which config a run may go on."""

from __future__ import annotations

import json

import pytest

from munro.machine.climb.dry_run import _run
from munro.machine.climb.process import run_climb
from munro.machine.climb.rebase import run_rebase
from munro.machine.climb.start import (
    Start,
    begin,
    changes,
    has_nothing_left,
    raw,
    refuse_changes,
    saved_start,
)
from munro.machine.loading import BadConfig, from_overrides
from munro.machine.run.folder import RunFolder, Status
from munro.rl.clip import Clip
from munro.rl.control.journal import Journal
from munro.rl.state import ClimbState
from munro.rollout.store.store import RolloutStore
from tests.builders import make_group

OVERRIDES = [("num_steps", "3"), ("env", "arithmetic")]


@pytest.fixture
def older(tmp_path):
    """A run from before repetition had a weight and environments had graders."""
    run = RunFolder(tmp_path / "run")
    config = raw(from_overrides(OVERRIDES))
    del config["rewards"]["repetition_weight"]
    for env in config["env"]:
        del env["graders"], env["reward"]
    run.begin(config, seed=0, provenance={})
    return run


def test_a_run_goes_on_where_keys_were_added_since_and_are_at_their_defaults(older):
    assert changes(older, from_overrides(OVERRIDES)) == []
    refuse_changes(older, from_overrides(OVERRIDES), force=False)


def test_a_new_key_that_is_set_is_a_change(older):
    changed = from_overrides([*OVERRIDES, ("rewards.repetition_weight", "0.1")])
    with pytest.raises(BadConfig, match=r"rewards.repetition_weight: 0.0 -> 0.1"):
        refuse_changes(older, changed, force=False)


def test_a_config_that_no_longer_reads_as_one_is_compared_as_it_stands(older):
    older.write_config({"no_such_key": 1})
    with pytest.raises(BadConfig, match="no_such_key: 1 -> not set"):
        refuse_changes(older, from_overrides(OVERRIDES), force=False)


def config_of(tmp_path, *more):
    return from_overrides([*OVERRIDES, ("folder", str(tmp_path)), ("name", "run"), *more])


def begun(tmp_path, config, *, steps=0, saved=0):
    """A run that has trained `steps` steps, of which no checkpoint is left."""
    run = RunFolder(tmp_path / "run")
    run.begin(raw(config), seed=0, provenance={"model": "first"})
    journal, store = Journal(run.path / "journal.jsonl"), RolloutStore(run.rollouts)
    for step in range(1, steps + 1):
        run.metrics.append(step, {"reward/total": 0.5})
        journal.write("trained", [step], step=step)
        group = make_group(1.0, 0.0, index=step)
        store.write(step, [group], [[1.0, -1.0]])
    journal.close()
    if saved:
        run.note_saved(saved)
    return run


def kept(run):
    return len(run.metrics.read()), len(list(run.rollouts.rglob("*.parquet")))


@pytest.mark.parametrize(
    ("steps", "saved", "said"),
    [
        (3, 2, r"checkpoints/step-000002 is missing"),
        (60, 0, r"there is none in /.*run/checkpoints"),
        (3, 0, r"none was due yet in /.*\(checkpoint.every_steps = 50\)"),
    ],
)
def test_steps_without_a_checkpoint_are_dropped_only_by_force(tmp_path, steps, saved, said):
    config = config_of(tmp_path)
    run = begun(tmp_path, config, steps=steps, saved=saved)
    before = kept(run)
    with pytest.raises(BadConfig, match=rf"has taken {steps} steps, but has no .*{said}.*--force"):
        begin(run, config, {"model": "second"}, force=False)
    assert kept(run) == before
    start = begin(run, config, {"model": "second"}, force=True)
    assert (start.state.step, start.again, kept(run)) == (0, True, (0, 0))
    info = run.read_info()
    assert (info.saved, info.provenance) == (0, {"model": "second"})


def test_a_journal_alone_tells_of_steps(tmp_path):
    run = begun(tmp_path, config_of(tmp_path), steps=3)
    run.metrics.path.unlink()
    with pytest.raises(BadConfig, match="has taken 3 steps"):
        begin(run, config_of(tmp_path), {}, force=False)


def test_a_run_that_took_no_step_begins_again_unasked(tmp_path):
    config = config_of(tmp_path)
    start = begin(begun(tmp_path, config), config, {"model": "second"}, force=False)
    assert start.state.step == 0


def test_where_nobody_can_insist_a_run_begins_anew_if_no_checkpoint_was_due(tmp_path):
    config = config_of(tmp_path)
    run = begun(tmp_path, config, steps=3)
    assert begin(run, config, {}, force=False, unattended=True).state.step == 0
    run.note_saved(50)
    with pytest.raises(BadConfig, match="step-000050 is missing"):
        begin(run, config, {}, force=False, unattended=True)


def test_a_run_goes_on_where_the_cluster_is_by_now(tmp_path):
    run = begun(tmp_path, config_of(tmp_path, ("ray.address", "old:6379")), steps=2)
    moved = config_of(tmp_path, ("ray.address", "new:6379"))
    assert changes(run, moved) == []
    start = begin(run, moved, {}, force=True)
    assert (start.state.step, run.read_config()["ray"]["address"]) == (0, "new:6379")
    with pytest.raises(BadConfig, match=r"\(ray\.cpus: 0 -> 2\)"):
        refuse_changes(run, config_of(tmp_path, ("ray.cpus", "2")), force=False)


OTHERS = {
    "a folder for the embedded base": ((), ("model.path", "ckpt")),
    "another embedded base": ((), ("base.training.num_steps", "7")),
    "another folder": (("model.path", "old"), ("model.path", "ckpt")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_a_climb_began_from_is_not_changed_under_it(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    before, change = OTHERS[what]
    run = begun(tmp_path, config_of(tmp_path, *([before] if before else [])), steps=2)
    changed = config_of(tmp_path, *([before] if before else []), change)
    for force in (False, True):
        with pytest.raises(BadConfig, match=r"another --name, .* munro rebase \S+run --onto"):
            refuse_changes(run, changed, force=force)
    with pytest.raises(BadConfig, match="munro rebase"):
        _run(changed)


def test_the_same_folder_in_other_words_or_where_the_old_one_has_gone_is_no_other_beginning(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    run = begun(tmp_path, config_of(tmp_path, ("model.path", "old")), steps=2)
    moved = config_of(tmp_path, ("model.path", str(tmp_path / "moved")))
    refuse_changes(run, config_of(tmp_path, ("model.path", str(tmp_path / "old"))), force=True)
    with pytest.raises(BadConfig, match="munro rebase"):
        refuse_changes(run, moved, force=True)
    (tmp_path / "old").rmdir()
    refuse_changes(run, moved, force=True)


def finished(tmp_path, config):
    run = begun(tmp_path, config, steps=3, saved=3)
    run.checkpoint(3).mkdir()
    run.end(Status.FINISHED)
    return run


def test_a_finished_run_is_told_so_whatever_else_is_asked(tmp_path, capsys):
    config = config_of(tmp_path)
    run = finished(tmp_path, config)
    assert "finished: nothing would run" in _run(config)
    changed = config_of(tmp_path, ("learner.learning_rate", "1e-5"))
    assert "finished: nothing would run; needs --force" in _run(changed)
    assert run_climb(changed, force=True) == 0
    assert "leaves it nothing to do: raise num_steps" in " ".join(capsys.readouterr().out.split())
    assert not has_nothing_left(run, config_of(tmp_path, ("num_steps", "4")))
    assert "resumed after step 3" in _run(config_of(tmp_path, ("num_steps", "4")))


def test_a_finished_run_takes_no_other_base(tmp_path):
    run = finished(tmp_path, config_of(tmp_path))
    with pytest.raises(BadConfig, match=r"is finished: it distils no more.*munro distill"):
        run_rebase(str(run.path), "newer")
    assert not (run.path / "rebase.json").exists()


def test_a_dry_run_says_where_a_run_would_go_on(tmp_path):
    config = config_of(tmp_path)
    run = begun(tmp_path, config)
    assert "begun anew, for it took no step" in _run(config)
    run.metrics.append(2, {})
    assert "only with --force: no checkpoint is left of its 2 steps" in _run(config)


def test_pieces_whose_model_is_not_made_yet_are_resumed_from(tmp_path):
    """Several ranks wrote them, and one died while the model was being made of them."""
    state = ClimbState(clip=Clip(), step=4)
    (tmp_path / "state").mkdir()
    for name, told in (
        ("commit.json", {"files": {}}),
        ("config.json", {}),
        ("tokenizer_config.json", {}),
        ("provenance.json", {"climb_state": state.to_json()}),
    ):
        (tmp_path / name).write_text(json.dumps(told))
    assert saved_start(tmp_path) == Start(state=state, checkpoint=tmp_path, again=True)
