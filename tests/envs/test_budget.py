"""Who may say what an episode spends, and what a wrong budget is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.envs import BadEnvironment, Budget, SingleTurn, Task
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.envs.problem_set import ProblemSet
from munro.machine.loading import BadConfig, load

HERE = Path(__file__)


class Long(SingleTurn):
    """Brings a budget of its own."""

    budget = Budget(turns=200, reply_s=30)

    def tasks(self, split):
        return [Task(id=split, prompt="?", budget=Budget(turns=7))]

    def grade(self, task, reply):
        return False


class Wrong(Long):
    """Takes a budget for a dict."""

    budget = {"turns": 200}  # noqa: RUF012 - it is wrong on purpose


class WrongTask(Long):
    """Takes a task's budget for a dict."""

    def tasks(self, split):
        return [Task(id=split, prompt="?", budget={"turns": 200})]


def test_a_budget_lies_over_another_key_by_key():
    upper, lower = Budget(turns=3, wall_s=9), Budget(turns=200, reply_s=30)
    assert upper.over(lower) == Budget(turns=3, wall_s=9, reply_s=30)
    assert Budget().over(lower) == lower


def test_the_table_lies_over_the_class():
    config = EnvConfig(path=f"{HERE}:Long", budget=Budget(reply_s=5, boxes="auto"))
    graded = EnvConfig(
        path=f"{HERE}:Long",
        budget=config.budget,
        graders={"brief": {"kind": "brevity"}},
        reward="brief",
    )
    for environment in (load_config(config), load_config(graded)):
        assert environment.budget == Budget(turns=200, reply_s=5, boxes="auto")
    assert Long.budget == Budget(turns=200, reply_s=30)


@pytest.mark.parametrize(
    ("name", "told"), [("Wrong", "budget is {'turns': 200}"), ("WrongTask", "budget of task")]
)
def test_what_is_no_budget_is_told_in_one_line(name, told):
    with pytest.raises(BadEnvironment, match=rf"{told}.* must be an munro\.envs\.Budget") as error:
        ProblemSet([EnvConfig(path=f"{HERE}:{name}")], seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("turn", "3", r"unknown key env\.budget\.turn\. Did you mean env\.budget\.turns\?"),
        ("turns", "0", r"env\.budget\.turns = 0: input should be greater than or equal to 1"),
        ("wall_s", "-1", r"env\.budget\.wall_s = -1: input should be greater than 0"),
        ("turns", "many", r"env\.budget\.turns = 'many': input should be a valid integer"),
        ("boxes", "0", r"env\.budget\.boxes\S* = 0: input should be "),
        ("boxes", "lots", r"env\.budget\.boxes\S* = 'lots': input should be "),
    ],
)
def test_a_wrong_key_is_answered_in_one_line(key, value, told):
    with pytest.raises(BadConfig, match=told) as error:
        load("quickstart", [(f"env.budget.{key}", value)])
    assert "\n" not in str(error.value)
