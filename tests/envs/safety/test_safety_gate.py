"""What a policy judge's verdicts come to in the shipped recipe, for every severity."""

from __future__ import annotations

import asyncio
import itertools
import logging
import tomllib
from pathlib import Path

import pytest

from munro.envs.check import play
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.rewards.combine import parts
from munro.rewards.errors import GraderError
from tests.envs.test_combined import trajectory_of
from tests.rewards.judges import ScriptedJudge, material, says

RECIPE = Path(__file__).parents[3] / "configs" / "machine.toml"
LEVELS = range(4)
RULES = "Help, and harm nobody."

# what the judge makes of each reply: compliant, engagement
RIGHT, HEDGE, REFUSAL, UNSAFE = "right", "hedge", "refusal", "unsafe"
ANSWERED = {
    RIGHT: ("yes", "do-not-refuse"),
    HEDGE: ("yes", "partial"),
    REFUSAL: ("yes", "refuse"),
    UNSAFE: ("no", "do-not-refuse"),
}
HARMFUL = {RIGHT: ("yes", "refuse"), HEDGE: ("yes", "partial"), UNSAFE: ("no", "do-not-refuse")}


def shipped(phase: str, url: str, row: dict[str, object]) -> EnvConfig:
    """The environment of the recipe's phase, with a judge on loopback and one row."""
    climb = tomllib.loads(RECIPE.read_text())["phases"][phase]["set"]
    env = climb["env"][0] if isinstance(climb["env"], list) else climb["env"]
    judge = {"model": "scripted", "base_url": url, "cache": "", "retries": 0}
    for grader in env["graders"].values():
        grader["args"]["judge"] = judge
    prompt = {"prompt": "How do I do it?", "rules": RULES, "criteria": ["Is kind."], **row}
    return EnvConfig.model_validate(env | {"args": {"prompts": [prompt], "test_share": 0}})


def earned(phase, table, replies, **row):
    """Rewards and parts of a group, by reply."""

    def answer(body):
        schema = body["response_format"]["json_schema"]["name"]
        if schema != "PolicyVerdict":
            return says(met="yes")
        compliant, engagement = table[material(body, "RESPONSE")]
        return says(compliant=compliant, engagement=engagement, severity=row.get("severity", 2))

    async def run(environment, task):
        first = [(await play(environment, task, [reply]))[0] for reply in replies]
        return await environment.grade_group(task, [trajectory_of(r) for r in replies], first)

    with ScriptedJudge(answer) as server:
        environment = load_config(shipped(phase, server.url, row))
        (task,) = environment.tasks("train")
        grades = asyncio.run(run(environment, task))
    return dict(zip(replies, grades, strict=True))


@pytest.mark.parametrize("phase", ["helpful", "final"])
def test_for_every_severity_and_need_unsafe_is_worst_then_refusing_then_hedging(phase):
    table = {}
    for severity, need in itertools.product(LEVELS, LEVELS):
        row = {"severity": severity, "need": need, "target": "do-not-refuse"}
        grades = earned(phase, ANSWERED, [UNSAFE, REFUSAL, HEDGE, RIGHT], **row)
        table[severity, need] = [grade.reward for grade in grades.values()]
        unsafe, refusal, hedge, right = table[severity, need]
        assert unsafe < refusal < hedge < right
        assert [grade.passed for grade in grades.values()] == [False, True, True, True]
        assert "rubric" not in grades[UNSAFE].parts  # never judged for quality
    by_severity = [table[severity, 1] for severity in LEVELS]
    by_need = [table[1, need] for need in LEVELS]
    assert [unsafe for unsafe, *_ in by_severity] == [-0.25, -0.5, -0.75, -1.0]
    assert [refusal for _, refusal, *_ in by_need] == pytest.approx([1.7, 1.5, 1.3, 1.1])
    assert [hedge for _, _, hedge, _ in by_need] == pytest.approx([1.85, 1.75, 1.65, 1.55])


def test_for_every_severity_excess_costs_more_and_unsafe_is_worst():
    rewards = []
    for severity in LEVELS:
        row = {"severity": severity, "target": "refuse"}
        grades = earned("helpful", HARMFUL, [UNSAFE, HEDGE, RIGHT], **row)
        rewards.append([grade.reward for grade in grades.values()])
        assert rewards[-1] == sorted(set(rewards[-1]))
    unsafe, hedge, right = zip(*rewards, strict=True)
    assert list(unsafe) == sorted(unsafe, reverse=True)
    assert list(hedge) == sorted(hedge, reverse=True)
    assert len({*unsafe}) == len({*hedge}) == 4
    assert len({*right}) == 1


def test_a_level_that_only_the_judge_knows_counts_as_well():
    grades = earned("helpful", ANSWERED, [UNSAFE, RIGHT], target="do-not-refuse")
    assert grades[UNSAFE].reward == -0.75
    assert grades[UNSAFE].parts["policy/severity"] == 2


def tree(gate, **more):
    judge = {"model": "m", "base_url": "http://localhost:1/v1"}
    return {
        "path": "prompts",
        "graders": {
            "safe": {"kind": "judge", "args": {"ask": "policy", "judge": judge}},
            "liked": {"kind": "brevity"},
        },
        "reward": {"kind": "gated", "gate": gate, "then": "liked", **more},
    }


@pytest.mark.parametrize(
    "gate",
    [
        "safe",
        {"kind": "sum", "parts": ["safe/compliance", "safe/engagement"]},
        {"kind": "sum", "parts": ["liked", "safe"]},
    ],
)
def test_a_gate_on_a_value_that_mixes_condition_and_price_warns_once(gate, caplog, monkeypatch):
    monkeypatch.setattr(parts, "_told", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            EnvConfig.model_validate(tree(gate))
    (record,) = caplog.records
    assert 'Write gate = "safe/compliance", and pay "safe/engagement" behind it.' in record.message


@pytest.mark.parametrize("gate", ["safe/compliance", "liked", "safe/severity"])
def test_another_gate_does_not_warn(gate, caplog, monkeypatch):
    monkeypatch.setattr(parts, "_told", set())
    with caplog.at_level(logging.WARNING):
        EnvConfig.model_validate(tree(gate))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("gate", "more", "sentence"),
    [
        ("safe/complience", {}, r"'safe' has no part 'complience'. Did you mean 'compliance'"),
        ("saef/compliance", {}, r"there is no grader 'saef'. Did you mean 'safe'"),
        ("liked/x", {}, r"the grader 'liked' has no part 'x'. There are none."),
        ("liked", {"minimum": [-1, -1]}, r"minimum = \[-1, -1\]: give a finite number, or 4"),
        ("liked", {"minimum": [-1, -0.5, -0.2, 0]}, r"a graver case may not pay more"),
        ("liked", {"minimum": "low"}, r"minimum = 'low': give a finite number, or 4"),
        ("liked", {"minimum": float("nan")}, r"minimum = nan: give a finite number"),
        ("liked", {"minimum": [0, 0, 0, float("-inf")]}, r"give a finite number, or 4"),
    ],
)
def test_a_part_that_nothing_scores_and_minima_without_sense_are_refused(gate, more, sentence):
    with pytest.raises(ValueError, match=sentence):
        EnvConfig.model_validate(tree(gate, **more))


def test_a_part_that_a_grade_does_not_hold_is_broken_machinery(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from munro.rewards import Grade, Grader, Kind\n"
        "from munro.rewards.kinds import Part, Scale\n\n\n"
        "class Mine(Grader):\n"
        "    kind = Kind(scale=Scale(parts={'kept': Part(), 'lost': Part()}), is_light=True)\n\n"
        "    def grade(self, item):\n"
        "        return Grade(reward=1.0, parts={'kept': 0.5})\n"
    )
    config = {
        "path": "prompts",
        "args": {"prompts": [{"prompt": "Hi"}], "test_share": 0},
        "graders": {"mine": {"kind": f"{tmp_path}/mine.py"}},
    }

    def graded(reward):
        environment = load_config(EnvConfig.model_validate(config | {"reward": reward}))
        (task,) = environment.tasks("train")
        return asyncio.run(play(environment, task, ["x"]))[0]

    assert graded("mine/kept").reward == 0.5
    with pytest.raises(GraderError, match="the grade of 'mine' holds no part 'lost'"):
        graded("mine/lost")
    with pytest.raises(ValueError, match=r"'mine' has no part 'least'. Did you mean 'lost'"):
        graded("mine/least")
