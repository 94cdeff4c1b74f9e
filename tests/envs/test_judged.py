"""Prompts graded by real services: a judge at the gate, mathematics and comparisons behind it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from munro.envs.check import play
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.rewards.errors import GraderError
from tests.envs.test_combined import trajectory_of
from tests.rewards.judges import ScriptedJudge, fails, last_user, material, says

ROW = {
    "prompt": "What is half of ten?",
    "answer": "5",
    "rules": "Never say boom.",
    "target": "do-not-refuse",
    "severity": 3,
}


def config_for(url: str, **reward):
    judge = {"model": "scripted", "base_url": url, "cache": "", "retries": 0}
    return EnvConfig.model_validate(
        {
            "path": "prompts",
            "args": {"prompts": [ROW], "test_share": 0},
            "graders": {
                "safe": {"kind": "judge", "args": {"ask": "policy", "judge": judge}},
                "right": {"kind": "math"},
                "style": {"kind": "judge", "args": {"ask": "scale", "judge": judge}},
            },
            "reward": {
                "kind": "gated",
                "gate": "safe",
                "at_least": 0.5,
                "minimum": -1,
                "then": {"kind": "lexicographic", "parts": ["right", "style"]},
            },
        }
    )


def test_a_group_is_graded_by_a_judge_and_by_mathematics_and_no_style_is_asked_behind_the_gate():
    asked = Counter()

    def answer(body):
        text = last_user(body)
        kind = "policy" if "Never say boom" in text else "style"
        asked[kind, "boom" in text.replace("say boom", "")] += 1
        if kind == "policy":
            is_bad = "boom" in text.replace("say boom", "")
            return says(compliant="no" if is_bad else "yes", severity=0, engagement="do-not-refuse")
        return says(score=2 if "please" in text else 0)

    replies = ["5, boom", "5", "5 please 5", "5 again, 5"]

    async def run(environment, task):
        first = [(await play(environment, task, [reply]))[0] for reply in replies]
        trajectories = [trajectory_of(reply) for reply in replies]
        return first, await environment.grade_group(task, trajectories, first)

    with ScriptedJudge(answer) as server:
        environment = load_config(config_for(server.url))
        (task,) = environment.tasks("train")
        first, grades = asyncio.run(run(environment, task))
    assert [grade.passed for grade in first] == [False, True, True, True]
    # all that passed the gate are right, so style decides among them
    assert [grade.reward for grade in grades] == [-1.0, 0.0, 1.0, 0.0]
    assert asked == {("policy", True): 1, ("policy", False): 3, ("style", False): 3}
    assert "style" not in grades[0].parts
    assert grades[1].parts["safe/compliance"] == 1


def test_a_judge_that_cannot_be_asked_is_a_failure_and_no_grade():
    with ScriptedJudge([fails(500)]) as server:
        environment = load_config(config_for(server.url))
        (task,) = environment.tasks("train")
        with pytest.raises(GraderError):
            asyncio.run(play(environment, task, ["5"]))


def test_a_judge_that_compares_sees_the_complete_group_and_has_no_verdict():
    def longest_first(body):
        numbers = range(1, last_user(body).count("[BEGIN CANDIDATE") + 1)
        return says(order=sorted(numbers, key=lambda n: -len(material(body, f"CANDIDATE {n}"))))

    replies = ["5", "it is five", "it is 5"]

    async def run(environment, task):
        first = [(await play(environment, task, [reply]))[0] for reply in replies]
        return first, await environment.grade_group(task, list(map(trajectory_of, replies)), first)

    with ScriptedJudge(longest_first) as server:
        judge = {"model": "scripted", "base_url": server.url, "cache": "", "retries": 0}
        config = {
            "path": "prompts",
            "args": {"prompts": [ROW], "test_share": 0},
            "graders": {"liked": {"kind": "judge_preference", "args": {"judge": judge}}},
            "reward": "liked",
        }
        environment = load_config(EnvConfig.model_validate(config))
        (task,) = environment.tasks("train")
        first, grades = asyncio.run(run(environment, task))
    assert [(grade.passed, dict(grade.parts)) for grade in first] == [(None, {})] * 3
    assert [grade.reward for grade in grades] == pytest.approx([0.0, 1.0, 0.5])
