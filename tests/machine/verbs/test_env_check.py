"""`munro env check` and `munro eval` about environments: arguments, what is held out, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.base_model.checkpoint import Checkpoint
from munro.envs.check import check
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load
from munro.envs.problem_set import ProblemSet
from munro.machine.cli.main import munro
from munro.machine.climb import cluster
from munro.machine.evaluating.run import Wanted, run_eval
from munro.machine.verbs.env_check import described

SAME = """
import random
from munro.envs import SingleTurn, Task
class Same(SingleTurn):
    def tasks(self, split): return [Task(id=w, prompt=w) for w in ("a", "b", "c")]
    def grade(self, task, reply): return reply == task.id
class NoTest(Same):
    def tasks(self, split): return super().tasks(split) if split == "train" else []
class Restless(Same):
    def tasks(self, split): return [Task(id=f"{w}{random.random()}", prompt=w) for w in "abc"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "mine.py"
    made.write_text(SAME)
    return made


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    made = tmp_path / "rows.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(20)]
    made.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return made


@pytest.mark.parametrize("option", ["--path", "--args.path", "--env.args.path"])
def test_an_argument_is_taken_by_all_its_names(questions, option) -> None:
    done = CliRunner().invoke(munro, ["env", "check", "qa", option, str(questions)])
    assert done.exit_code == 0, done.output
    assert "qa is sound" in done.output


def test_a_missing_argument_is_told_with_the_ways_to_give_it() -> None:
    with pytest.raises(BadEnvironment) as refused:
        load("qa")
    said = str(refused.value)
    for way in ("--path to `munro env check`", "--env.args.path to climb and eval", "{ path ="):
        assert way in said


def test_tasks_that_training_has_too_are_counted(file) -> None:
    same = ProblemSet([EnvConfig(path=f"{file}:Same")], seed=0)
    assert same.num_trained_on(same.held_out(3)) == 3
    apart = ProblemSet([EnvConfig(path="arithmetic", args={"level": 1})], seed=0)
    assert apart.num_trained_on(apart.held_out(8)) == 0


def test_an_environment_without_held_out_tasks_is_refused_before_an_engine_starts(
    file, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Checkpoint, "require", lambda self, **_: self)
    monkeypatch.setattr(cluster, "start_fleet", lambda *_, **__: pytest.fail("an engine started"))
    with pytest.raises(BadEnvironment, match=r"tasks\('test'\) holds no tasks"):
        run_eval(Wanted(model=str(tmp_path), env=f"{file}:NoTest", tasks=4, runs=1), [])


def test_what_was_not_counted_is_not_called_endless(file) -> None:
    report = check(f"{file}:Restless")
    assert not report.is_ok
    assert "endless" not in "\n".join(described(report))
