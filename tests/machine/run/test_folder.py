"""A run's folder: nothing half-written, nobody else at it, and resuming leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib

import pytest

from munro.machine.run.files import write_atomically
from munro.machine.run.folder import RunError, RunFolder, RunInfo, Status, difference, versions
from munro.machine.run.metrics import is_timing

HOLD = """
import os, sys, time
from munro.machine.run.folder import RunFolder
with RunFolder(sys.argv[1]).held():
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "stem")


def hold(path, *more):
    """Another process that holds the run, in a process group of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, process_group=0
    )
    assert child.stdout.readline() == b"held\n"
    return child


def end(child):
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_a_second_process_is_told_who_holds_the_run(run):
    child = hold(run.path)
    try:
        with pytest.raises(RunError, match=f"in use by process {child.pid}"), run.held():
            pass
        assert run.holder == child.pid
    finally:
        end(child)
    assert run.holder is None
    with run.held():
        assert run.holder == os.getpid()


def test_a_child_left_over_from_a_killed_run_does_not_keep_the_lock(run):
    child = hold(run.path, "fork")
    try:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        with run.held():
            pass
    finally:
        end(child)


def test_looking_at_a_run_from_the_process_that_holds_it_keeps_the_lock(run):
    with run.held():
        assert RunFolder(run.path).holder == os.getpid()
        with pytest.raises(RunError, match="this very process"), RunFolder(run.path).held():
            pass
        code = (
            "import sys; from munro.machine.run.folder import RunFolder; "
            "print(RunFolder(sys.argv[1]).holder)"
        )
        seen = subprocess.run(
            [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
        )
        assert seen.stdout.strip() == str(os.getpid())


def test_a_line_cut_short_by_a_crash_is_neither_read_nor_glued_to_the_next(run):
    run.metrics.append(1, {"reward/total": 0.1})
    with run.metrics.path.open("a") as file:
        file.write('{"step": 2, "reward/to')
    assert [line["step"] for line in run.metrics.read()] == [1]

    again = RunFolder(run.path).metrics
    again.append(2, {"reward/total": 0.3})
    assert again.read() == [
        {"step": 1, "reward/total": 0.1},
        {"step": 2, "reward/total": 0.3},
    ]


def test_a_resumed_file_equals_an_uninterrupted_one_byte_for_byte(tmp_path):
    def write(run, first, last):
        for step in range(first, last + 1):
            run.metrics.append(step, {"reward/total": 0.1 * step, "event": [f"at {step}"]})

    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    write(straight, 1, 9)
    broken.begin({}, seed=0, provenance={})
    write(broken, 1, 7)
    with broken.metrics.path.open("a") as file:
        file.write('{"step"')
    broken = RunFolder(broken.path)
    broken.resume(5)
    write(broken, 6, 9)
    assert broken.metrics.path.read_bytes() == straight.metrics.path.read_bytes()
    assert broken.read_info().resumes == (5,)


def test_truncating_says_how_many_lines_went(run):
    for step in range(1, 6):
        run.metrics.append(step, {})
    assert run.metrics.truncate_after(2) == 3
    assert [line["step"] for line in run.metrics.read()] == [1, 2]


def test_damage_in_the_middle_of_the_metrics_is_named_with_its_line(run):
    run.metrics.append(1, {})
    with run.metrics.path.open("a") as file:
        file.write('rubbish\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"Line 2 of .*metrics.jsonl"):
        run.metrics.read()


def test_numbers_come_back_with_the_same_bits_and_what_is_not_finite_as_null(run):
    run.metrics.append(1, {"a": 0.1 + 0.2, "b": float("nan"), "c": float("-inf"), "d": 7})
    assert run.metrics.read() == [{"step": 1, "a": 0.1 + 0.2, "b": None, "c": None, "d": 7}]


def test_only_metrics_of_the_clock_are_timings():
    assert is_timing("time/step")
    assert is_timing("speed/rollout_tokens_per_s")
    assert is_timing("calls/seconds/bash")  # of tools, beside what is counted of them
    assert not is_timing("calls/per_attempt")
    assert not is_timing("reward/total")
    assert not is_timing("response/length")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(run):
    run.metrics.append(1, {"reward/total": 0.5})
    run.metrics.path.unlink()
    run.metrics.path.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left while writing .*metrics.jsonl"):
        run.metrics.append(2, {"reward/total": 0.5})

    run.write_config({"seed": 1})
    run.config_file.with_name(f".config.toml.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left while writing .*config.toml"):
        run.write_config({"seed": 2})
    assert run.read_config() == {"seed": 1}


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match=r"Cannot write .*: No such file or directory"):
        write_atomically(tmp_path / "missing" / "file", "text")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Cannot write"):
        RunFolder(tmp_path / "file")


def test_a_config_comes_back_as_it_was_but_for_keys_without_a_value(run):
    config = {
        "seed": 3,
        "name": 'quotes " and \\ and é',
        "learner": {"learning_rate": 1e-6, "betas": (0.95, 0.95), "resume": None},
        "stages": [1, 2],
    }
    assert run.read_config() is None
    run.write_config(config)
    assert run.read_config() == {
        "seed": 3,
        "name": 'quotes " and \\ and é',
        "learner": {"learning_rate": 1e-6, "betas": [0.95, 0.95]},
        "stages": [1, 2],
    }
    assert difference(config, run.read_config()) == []


def test_a_config_that_is_not_toml_is_named(run):
    run.config_file.write_text("= 3")
    with pytest.raises(RunError, match=r"config.toml is not TOML"):
        run.read_config()


def test_a_difference_names_each_key_with_both_values():
    old = {"learner": {"learning_rate": 1e-4, "ranks": 1}, "seed": 1, "model": None, "old": "a"}
    new = {"learner": {"learning_rate": 2e-4, "ranks": 1}, "seed": 1, "model": "ckpt"}
    assert difference(old, new) == [
        "learner.learning_rate: 0.0001 -> 0.0002",
        'old: "a" -> not set',
        'model: not set -> "ckpt"',
    ]
    assert difference(old, old) == []


def test_a_run_remembers_how_it_began_and_how_it_ended(run):
    with run.held():
        run.begin({"seed": 5}, seed=5, provenance={"model": "base"})
        begun = run.read_info()
        assert (begun.status, begun.seed, begun.pid) == (Status.RUNNING, 5, os.getpid())
        assert begun.provenance == {"model": "base"}
        assert begun.versions == versions()
        run.end(Status.FAILED, "the sync proof was off by 0.3 nats")
    ended = RunFolder.existing(run.path).read_info()
    assert (ended.status, ended.cause) == (Status.FAILED, "the sync proof was off by 0.3 nats")
    assert ended.started == begun.started


def test_a_run_that_says_running_but_is_held_by_nobody_was_interrupted(run):
    run.write_info(RunInfo())
    assert run.read_info().status is Status.INTERRUPTED
    with run.held():
        assert run.read_info().status is Status.RUNNING


def test_versions_name_python_and_torch_as_they_are():
    assert versions()["python"] == sys.version.split()[0]
    assert versions()["torch"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no run at"):
        RunFolder.existing(tmp_path)
    with pytest.raises(RunError, match="no run at"):
        RunFolder(tmp_path).resume(3)
    (tmp_path / "run.json").write_text('{"status": "dancing"}')
    with pytest.raises(RunError, match="cannot be read"):
        RunFolder.existing(tmp_path).read_info()


def test_the_newest_complete_checkpoint_is_found_whatever_lies_beside_it(run):
    assert run.newest_checkpoint() is None
    for step in (500, 1000, 999_999, 1_000_000):
        run.checkpoint(step).mkdir()
    (run.checkpoints / ".step-2000000.part").mkdir()
    (run.checkpoints / "step-3000000.tmp").mkdir()
    (run.checkpoints / "step-4000000").touch()
    assert run.newest_checkpoint() == (1_000_000, run.checkpoints / "step-1000000")
    assert run.checkpoint(500).name == "step-000500"


def test_pruning_keeps_the_newest_and_finishes_what_a_crash_left(run):
    for step in (1, 2, 3):
        run.checkpoint(step).mkdir()
        (run.checkpoint(step) / "model.safetensors").write_text("weights")
    (run.checkpoints / ".removing-step-000000").mkdir()
    assert run.prune_checkpoints(keep=2) == [1]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000002", "step-000003"]
    with pytest.raises(ValueError, match="at least one"):
        run.prune_checkpoints(keep=0)


def test_the_config_file_is_plain_toml(run):
    run.write_config({"learner": {"eps": 1e-15}})
    assert tomllib.loads(run.config_file.read_text()) == {"learner": {"eps": 1e-15}}


def test_a_run_that_is_elsewhere_is_found_and_a_folder_that_is_not_there_is_said_so(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    RunFolder("runs/mine").begin({}, seed=0, provenance={})
    for given, why in (
        ("mine", "there is no such folder"),
        ("runs/mime", "there is no such folder"),
        ("runs", "it has no run.json"),
    ):
        with pytest.raises(RunError) as caught:
            RunFolder.existing(given)
        assert str(caught.value) == f"There is no run at {given}: {why}. Did you mean runs/mine?"
    assert not (tmp_path / "mine").exists()
