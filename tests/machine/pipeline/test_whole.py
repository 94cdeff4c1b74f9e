"""A whole machine of seconds: every phase real, killed in each of them, nothing done twice."""

from __future__ import annotations

import json
import time

import pytest

from tests.machine.climbing import kill_hard, munro, start

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3000)]

FILE = """
name = "{name}"
folder = "{folder}"

[climb]
num_steps = 2

[climb.rollout]
engine = "transformers"
group_size = 4
num_early = 2
early_pass_rate = [0.0, 1.0]
pass_rate = [0.0, 1.0]
template = "plain"
nucleus_candidates = 32

[climb.learner]
learning_rate = 1e-4
threads = 1

[climb.batch]
num_groups = 2

[climb.sync]
every_steps = 1
max_staleness = 0

[climb.length]
stages = [12]

[climb.checkpoint]
every_steps = 1

[climb.eval]
every_steps = 2
num_tasks = 8

[phases.base]
kind = "base"
tasks_of = ["sums", "safe"]

[phases.base.base]
vocab_size = 320

[phases.base.base.training]
num_steps = 60
batch_rows = 16
checkpoint_every = 10
threads = 1

[phases.sums]
kind = "climb"
model = "base"
set.env = {{ path = "arithmetic", args = {{ level = 1 }} }}

[phases.safe]
kind = "climb"
model = "base"

[phases.safe.set.env]
path = "colours"
graders.policy = {{ kind = "munro.envs.colours:PolicyByRule" }}
graders.liked = {{ kind = "munro.envs.colours:SaidMore" }}

[phases.safe.set.env.reward]
kind = "gated"
gate = "policy/compliance"
then = {{ kind = "sum", parts = ["liked", "policy/engagement", "task"], weights = [1.0, 1.0, 0.0] }}

[phases.merged]
kind = "consolidate"
onto = "base"
weights = {{ sums = 0.5, safe = 0.5 }}
set.select = {{ outcomes = "all", window = [0.0, 1.0] }}
set.training = {{ batch_rows = 1, row_tokens = 64, threads = 1, checkpoint_every = 1 }}

[phases.final]
kind = "climb"
model = "merged"

[[phases.final.set.env]]
path = "arithmetic"
args = {{ level = 1 }}

[[phases.final.set.env]]
path = "colours"
graders.policy = {{ kind = "munro.envs.colours:PolicyByRule" }}
reward = {{ kind = "gated", gate = "policy/compliance", then = "policy/engagement" }}

[phases.scores]
kind = "evaluate"
models = ["base", "sums", "safe", "merged", "final"]
tasks_of = ["sums", "safe"]
tasks = 8
runs = 1
"""
PHASES = ("base", "sums", "safe", "merged", "final", "scores")


def write_machine(tmp_path, name):
    path = tmp_path / f"{name}.toml"
    path.write_text(FILE.format(name=name, folder=tmp_path / "machines"))
    return path, tmp_path / "machines" / name


def events(machine):
    path = machine / "machine.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["event"], line["phase"]) for line in map(json.loads, lines)]


def under_way(machine, phase):
    """The phase was started by this process and has written something."""
    log = machine / phase / "output.log"
    return ("started", phase) in events(machine) and log.exists() and log.stat().st_size > 0


def test_killed_in_every_phase_it_completes_and_does_nothing_twice(tmp_path):
    file, machine = write_machine(tmp_path, "killed")
    for phase in PHASES:
        process = start("machine", str(file))
        end = time.monotonic() + 300
        while not under_way(machine, phase) and ("finished", phase) not in events(machine):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, phase
            time.sleep(0.05)
        kill_hard(process)
    done = munro("machine", str(file), timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    happened = events(machine)
    for phase in PHASES:
        own = [event for event, of in happened if of == phase]
        assert own.count("finished") <= 1
        assert "started" not in own[own.index("finished") :] if "finished" in own else True
    manifests = {phase: (machine / phase / "manifest.json").read_text() for phase in PHASES}
    results = json.loads((machine / "scores" / "results.json").read_text())
    assert list(results) == ["base", "sums", "safe", "merged", "final"]
    assert results["final"]["safe"]["gate"]["part"] == "policy/compliance"
    page = (machine / "report.html").read_text()
    assert "6 of 6 phases done" in page
    assert "the gate of safe (policy/compliance" in page

    again = munro("machine", str(file))
    assert again.returncode == 0
    assert again.stdout.count("done already") == 6
    assert events(machine) == happened
    assert manifests == {p: (machine / p / "manifest.json").read_text() for p in PHASES}


def test_two_processes_at_one_machine_are_told_apart(tmp_path):
    file, machine = write_machine(tmp_path, "twice")
    first = start("machine", str(file))
    try:
        end = time.monotonic() + 100
        while not events(machine):
            assert first.poll() is None, first.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.05)
        second = munro("machine", str(file))
        assert second.returncode == 2
        assert f"is in use by process {first.pid}" in second.stderr
    finally:
        kill_hard(first)
