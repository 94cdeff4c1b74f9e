"""One phase as its process makes it: from its orders to its manifest, and told when it cannot."""

from __future__ import annotations

import json

import pytest

from munro.base_model.checkpoint import Checkpoint
from munro.evaluation.results import Results
from munro.evaluation.types import AttemptRow
from munro.machine.pipeline.machine import _Machine
from munro.machine.pipeline.phase import run_phase
from munro.machine.pipeline.plan import ORDERS, Standing, checkpoint_of, load_machine
from munro.machine.pipeline.scores import _config as config_of
from munro.machine.pipeline.scores import by_owner, differences, rates
from tests.distill.runs import make_base, make_run

FILE = """
name = "small"
folder = "{folder}/machines"

[phases.merged]
kind = "consolidate"
onto = "{folder}/base"
weights = {{ "{folder}/one" = 0.75, "{folder}/two" = 0.25 }}
set.filters = {{ duplicates = false }}
set.training = {{ batch_rows = 1, row_tokens = 64, threads = 1, epochs = 1.0 }}

[phases.after]
kind = "climb"
model = "merged"
set = {{ num_steps = 1, env = "arithmetic" }}
"""


@pytest.fixture
def phases(tmp_path):
    make_base(tmp_path / "base")
    for name in ("one", "two"):
        run = make_run(tmp_path / name)
        (run / "run.json").write_text("{}")
    file = tmp_path / "small.toml"
    file.write_text(FILE.format(folder=tmp_path))
    config, phases = load_machine(str(file))
    by_name = {phase.name: phase for phase in phases}
    machine = _Machine(config, by_name)
    for phase in phases[:1]:
        phase.folder.mkdir(parents=True)
        (phase.folder / ORDERS).write_text(json.dumps(machine._orders(phase)))
    return by_name


def test_a_consolidation_makes_a_model_and_says_so_last(phases):
    merged = phases["merged"]
    assert merged.standing is Standing.BEGUN
    run_phase(merged.folder)
    assert merged.standing is Standing.DONE
    made = checkpoint_of(merged)
    sources = Checkpoint(made).provenance()["distillation"]
    assert {run["name"] for run in sources["runs"]} == {"one", "two"}
    assert Checkpoint(made).exists


def test_what_a_run_or_a_base_from_elsewhere_holds_is_part_of_the_inputs(phases, tmp_path):
    file = str(tmp_path / "small.toml")
    before = phases["merged"].digest
    assert load_machine(file)[1][0].digest == before
    (tmp_path / "one" / "metrics.jsonl").write_text('{"step": 1}\n')
    after = {phase.name: phase.digest for phase in load_machine(file)[1]}
    assert after["merged"] != before
    assert after["after"] != phases["after"].digest


def test_pass_rates_are_told_for_everybody_whose_tasks_they_are(tmp_path):
    small = {"path": "arithmetic", "args": {"level": 1}, "weight": 1.0}
    words = {"path": "instructions", "args": {"level": 1}, "weight": 1.0}
    orders = {
        "recipe": {"num_steps": 1, "name": "sums"},
        "env": {"sums": [small], "words": [words]},
        "most_tokens": 8,
        "tasks": 4,
        "runs": 2,
    }
    config = config_of(orders, tmp_path)
    assert config.eval.num_tasks == 8
    drawn = by_owner(["sums", "words"], config)
    assert {name: len(tasks) for name, tasks in drawn.items()} == {"sums": 4, "words": 4}
    assert {task.env for task in drawn["sums"].values()} == {"arithmetic"}
    first, second = (Results(tmp_path / name) for name in ("a", "b"))
    for kept, share in ((first, 1), (second, 2)):
        for entry, tasks in drawn.items():
            kept.add(
                AttemptRow(
                    entry=entry, task=task, run=run, seed=0, passed=passed, reward=float(passed)
                )
                for place, task in enumerate(tasks)
                for run in range(2)
                for passed in [entry == "sums" and place % share == 0]
            )
    assert rates(second)["sums"] | {"low": 0, "high": 1} == {
        "mean": 0.5, "low": 0, "high": 1, "tasks": 4,
    }  # fmt: skip
    found = differences({"first": first, "second": second})
    assert found["second"]["sums"]["first"]["mean"] == -0.5
    assert found["first"]["sums"]["second"]["mean"] == 0.5
    assert found["first"]["words"]["second"]["mean"] == 0
    assert found["first"]["words"]["second"]["low"] < -0.3  # of four tasks
