"""Held-out figures by environment, of environments that may be others than those trained on."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from munro.envs.loader import BadEnvironment
from munro.envs.problem_set import ProblemSet
from munro.machine.climb.evaluate import held_out_metrics, require_evaluations
from munro.machine.climb.models import in_place, named, settle
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from tests.builders import make_group, make_task, tell

TINY = {"num_steps": 9, "env": "arithmetic"}
HARD = {"path": "arithmetic", "args": {"digits": 3}}

UNTRAINABLE = '''
from munro.envs import Grade, SingleTurn, Task


class Exam(SingleTurn):
    """Nothing but held-out tasks."""

    def tasks(self, split):
        return [Task(id=f"q{i}", prompt=f"say {i}") for i in range(5)] if split == "test" else []

    def grade(self, task, reply):
        return Grade.of(reply == task.id)
'''


def config(**changes):
    return RunConfig.model_validate(TINY | changes)


def problems(of, seed=0):
    return ProblemSet(of.env, seed, of.eval.env)


def test_weighted_sums_of_the_environments_are_the_whole():
    rng = random.Random(0)
    groups = [
        tell(make_group(*(float(rng.random() < 0.4) for _ in range(4)), task=make_task(env=name)))
        for name in ["math"] * 11 + ["a/b#2"] * 6 + ["exam"] * 3
    ]
    found = held_out_metrics(groups, by_name=True)
    sizes = {"math": 11, "a/b#2": 6, "exam": 3}
    for figure in ("pass_rate", "response_length"):
        parts = sum(found[f"eval/{name}/{figure}"] * of for name, of in sizes.items())
        assert found[f"eval/{figure}"] == pytest.approx(parts / 20, rel=1e-12)
    # of few tasks less is known than of all
    widths = {
        name: found[f"{name}/pass_rate_high"] - found[f"{name}/pass_rate_low"]
        for name in ("eval", "eval/math", "eval/exam")
    }
    assert widths["eval"] < widths["eval/math"] < widths["eval/exam"]
    assert set(held_out_metrics(groups)) == {
        f"eval/{name}" for name in ("pass_rate", "pass_rate_low", "pass_rate_high",
                                    "response_length")
    }  # fmt: skip


def test_what_is_evaluated_may_be_other_than_what_is_trained_on(tmp_path):
    exam = tmp_path / "exam.py"
    exam.write_text(UNTRAINABLE)
    of = problems(config(eval={"env": [{"path": "arithmetic", "weight": 3.0}, HARD, str(exam)]}))
    assert of.names == ("arithmetic",)
    # what is trained on too is the same environment; another of that name has one of its own
    assert of.held_out_names == ("arithmetic", "arithmetic#2", "exam")
    drawn = of.held_out(50)
    counts = {name: sum(task.env == name for task in drawn) for name in of.held_out_names}
    assert counts == {"arithmetic": 30, "arithmetic#2": 10, "exam": 5}
    assert {task.env for task in (of.task(index) for index in range(40))} == {"arithmetic"}
    assert of.environment("exam").name == "exam"
    assert drawn == problems(
        config(eval={"env": [{"path": "arithmetic", "weight": 3.0}, HARD, str(exam)]})
    ).held_out(50)


def test_without_others_the_tasks_are_those_that_they_were():
    of = problems(config(env=["arithmetic", HARD]))
    assert of.held_out_names == of.names == ("arithmetic", "arithmetic#2")
    assert fmean(task.env == "arithmetic" for task in of.held_out(40)) == 0.5
    named_so = problems(config(eval={"env": HARD | {"name": "hard"}}))
    assert named_so.held_out_names == ("hard",)


def test_the_best_is_known_by_a_figure_that_there_will_be():
    several = config(env=["arithmetic", HARD], checkpoint={"best": "eval/arithmetic#2/pass_rate"})
    require_evaluations(several, problems(several))
    alone = config(checkpoint={"best": "eval/arithmetic/pass_rate"})
    with pytest.raises(BadConfig, match='no figure of this climb: "eval/pass_rate" is that of all'):
        require_evaluations(alone, problems(alone))
    never = config(checkpoint={"best": "eval/x/pass_rate"}, eval={"every_steps": 0})
    require_evaluations(never, problems(never))
    with pytest.raises(ValueError, match="has no interval whose lower end could be compared"):
        config(checkpoint={"best": "reward/total"})
    # as it was written before it named a figure
    assert config(checkpoint={"best": True}).checkpoint.best == "eval/pass_rate"
    assert config(checkpoint={"best": False}).checkpoint.best == ""


def test_an_environment_without_held_out_tasks_is_told_before_anything_starts(tmp_path):
    file = tmp_path / "trained.py"
    file.write_text(UNTRAINABLE.replace('split == "test"', 'split == "train"'))
    of = config(eval={"env": str(file)})
    with pytest.raises(BadEnvironment, match=r"exam: tasks\('test'\) holds no tasks"):
        require_evaluations(of, problems(of))
    require_evaluations(config(env=str(file), eval={"every_steps": 0}), problems(of))


def test_models_that_only_evaluated_environments_name_are_found_too(tmp_path):
    grader = {"nice": {"kind": "judge", "args": {"judge": {"model": str(tmp_path)}}}}
    of = config(eval={"env": HARD | {"graders": grader, "reward": "nice"}})
    assert list(named(of)) == [("eval.env.0.graders.nice.judge.model", str(tmp_path))]
    assert in_place(of, settle(config())) == of


def test_several_attempts_at_temperature_0_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="all attempts at a task would be the same one"):
        config(rollout={"temperature": 0}, eval={"runs": 4})
    assert config().eval.runs == 4
