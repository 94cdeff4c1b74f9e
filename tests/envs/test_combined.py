"""Graders added to an environment: what is scored when, what is paid, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from munro.envs import BadEnvironment, Message, SingleTurn, Task, load
from munro.envs.check import JUNK, check, check_config, play
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.envs.instructions import _tiny
from munro.envs.loader import load_config, resolve_config
from munro.envs.problem_set import ProblemSet, TaskPool
from munro.envs.types import Ending, Trajectory
from munro.rewards.instructions import checkers
from munro.rewards.types import Grade
from tests.builders import make_trajectory

BRIEF = {"kind": "brevity", "args": {"most": 10, "unit": "characters"}}
CALM = {"kind": "instructions", "args": {"instructions": [{"id": "punctuation:no_comma"}]}}
TREE = {
    "kind": "gated",
    "gate": "calm",
    "then": {"kind": "lexicographic", "parts": ["task", "brief"]},
}


class Counting(SingleTurn):
    """Remembers how often it graded."""

    def __init__(self) -> None:
        self.graded: list[str] = []

    def tasks(self, split):
        return [Task(id="a", prompt="Say yes.", payload={"severity": 2})]

    def grade(self, task, reply):
        self.graded.append(reply)
        return Grade(reward=float("yes" in reply), passed="yes" in reply, parts={"said": 0.5})

    def gold_reply(self, task):
        return "yes"


def combined(reward, **graders):
    config = EnvConfig.model_validate({"path": "x", "graders": graders, "reward": reward})
    return Combined(Counting(), config.graders, config.reward)


def trajectory_of(reply: str) -> Trajectory:
    from dataclasses import replace

    said = (Message(role="assistant", content=reply),)
    return replace(make_trajectory(), messages=said, reply=reply, ending=Ending.ANSWERED)


def graded(environment: Combined, replies: Sequence[str]) -> tuple[list[Grade], list[Grade]]:
    """First grades, and the group's."""
    (task,) = environment.tasks("train")

    async def run() -> tuple[list[Grade], list[Grade]]:
        first = [(await play(environment, task, [reply]))[0] for reply in replies]
        trajectories = [trajectory_of(reply) for reply in replies]
        return first, await environment.grade_group(task, trajectories, first)

    return asyncio.run(run())


def test_a_closed_gate_pays_the_minimum_and_nothing_behind_it_is_scored():
    environment = combined(TREE, calm=CALM, brief=BRIEF)
    _, grades = graded(environment, ["yes", "no, yes", "no"])
    assert [grade.reward for grade in grades] == [1.0, 0.0, 0.0]
    assert [grade.passed for grade in grades] == [True, False, False]
    assert set(grades[1].parts) == {"calm", "calm/punctuation:no_comma"}
    assert environment.environment.graded == ["yes", "no"]
    assert "does not follow" in grades[1].reason


def test_quality_decides_among_equals_and_every_part_stays_visible():
    _, grades = graded(combined(TREE, calm=CALM, brief=BRIEF), ["yes yes", "yes"])
    assert [grade.reward for grade in grades] == pytest.approx([0.3, 0.7])
    assert grades[0].parts["brief"] == pytest.approx(0.3)
    assert grades[0].parts["task/said"] == 0.5


def test_the_first_grade_holds_the_verdict_and_leaves_quality_for_the_group():
    first, _ = graded(combined(TREE, calm=CALM, brief=BRIEF), ["yes", "no"])
    assert [grade.passed for grade in first] == [True, False]
    assert "brief" not in first[0].parts


def test_a_grader_that_the_reward_does_not_name_is_shown_and_not_paid():
    _, grades = graded(combined("task", brief=BRIEF), ["yes", "yes yes"])
    assert [grade.reward for grade in grades] == [1.0, 1.0]
    assert [grade.parts["brief"] for grade in grades] == pytest.approx([0.7, 0.3])


def test_without_a_verdict_the_reward_tells_who_passes_and_pass_at_makes_one():
    first, _ = graded(combined("brief", brief=BRIEF), ["yes", "x" * 20])
    assert [grade.passed for grade in first] == [None, None]
    assert [grade.solved for grade in first] == [True, False]
    first, _ = graded(combined("brief", brief=BRIEF | {"pass_at": 0.8}), ["yes", "y"])
    assert [grade.passed for grade in first] == [False, True]


def test_the_level_of_severity_comes_with_the_task():
    tree = {"kind": "severity", "part": "brief", "multipliers": [0, 0, 0.5, 1]}
    _, grades = graded(combined(tree, brief=BRIEF), ["yes"])
    assert grades[0].reward == pytest.approx(0.35)
    assert grades[0].parts["severity"] == 2


def test_graders_do_not_see_the_chain_of_thought_unless_told_to():
    reply = "<think>a, b</think>yes"
    _, (hidden,) = graded(combined("calm", calm=CALM), [reply])
    _, (shown,) = graded(combined("calm", calm=CALM | {"thoughts": True}), [reply])
    assert (hidden.reward, shown.reward) == (1.0, 0.0)


def test_a_field_may_have_another_name_and_a_missing_one_is_named():
    renamed = CALM | {"fields": {"instructions": "wishes"}}
    environment = combined("calm", calm=renamed)
    with pytest.raises(ValueError, match="no field 'wishes'"):
        graded(environment, ["yes"])


def test_an_environment_that_compares_attempts_itself_is_not_combined():
    class Comparing(Counting):
        def grade_group(self, task, trajectories, grades):
            return grades

    config = EnvConfig.model_validate({"path": "x", "reward": "task"})
    with pytest.raises(ValueError, match="compares attempts itself"):
        Combined(Comparing(), config.graders, config.reward)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reward": "brif"}, r"no grader 'brif'. Did you mean 'brief'\?"),
        ({"reward": None}, "env.graders without env.reward"),
        ({"reward": {"kind": "gated", "gate": "brief"}}, "env.reward.then is not set"),
    ],
)
def test_a_wrong_reward_in_a_recipe_is_told_by_its_key(change, sentence):
    config = {"path": "arithmetic", "graders": {"brief": BRIEF}, "reward": "brief"}
    with pytest.raises(ValueError, match=sentence):
        EnvConfig.model_validate(config | change)


def test_a_wrong_option_of_a_grader_is_told_when_the_environment_is_loaded():
    config = {"path": "arithmetic", "reward": "brief"}
    wrong = [
        ({"most": 0}, "env.graders.brief: most = 0"),
        ({"mots": 1}, r"env.graders.brief: .*no option 'mots'"),
    ]
    for args, sentence in wrong:
        graders = {"brief": {"kind": "brevity", "args": args}}
        with pytest.raises(BadEnvironment, match=sentence):
            load_config(EnvConfig.model_validate(config | {"graders": graders}))


def test_files_that_graders_name_are_made_absolute(tmp_path, monkeypatch):
    (tmp_path / "lengths.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    graders = {"usual": {"kind": "length_range", "args": {"path": "lengths.json"}}}
    config = EnvConfig.model_validate({"path": "arithmetic", "graders": graders, "reward": "usual"})
    assert resolve_config(config).graders["usual"].args["path"] == str(tmp_path / "lengths.json")


def test_prompts_take_conversations_and_any_columns(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "Hi?", "criteria": ["is kind"], "id": "x", "severity": None},
        {"messages": [{"role": "system", "content": "Be"}, {"role": "user", "content": "Go"}]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    first, second = load("prompts", path=str(file), test_share=0).tasks("train")
    assert first.payload == {"criteria": ["is kind"], "question": "Hi?"}
    assert first.id == "x"
    assert [message.role for message in second.messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({}, "give either a path or prompts"),
        ({"prompts": [{"promt": "a"}]}, r"prompts:0 has no column 'prompt'.*'promt'"),
        ({"prompts": [{"prompt": " "}]}, "prompts:0: the prompt is empty"),
        ({"prompts": [{"messages": [{"role": "bot", "content": "a"}]}]}, "the role one of"),
        ({"prompts": [{"messages": []}]}, "must end in something to answer"),
        ({"prompts": [{"prompt": "a"}], "test_share": 1}, "give a share"),
        ({"prompts": [{"prompt": "a"}], "template": "x"}, "must hold {prompt}"),
    ],
)
def test_unusable_prompts_are_named(args, sentence):
    with pytest.raises(ValueError, match=sentence):
        load("prompts", **args)


def test_prompts_without_graders_are_refused_before_anything_starts():
    config = EnvConfig(path="prompts", args={"prompts": [{"prompt": "a"}]})
    with pytest.raises(BadEnvironment, match="name graders in"):
        ProblemSet([config], seed=0)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_every_level_of_instructions_can_be_followed_and_not_by_junk(level):
    environment = load("instructions", level=level)
    for split in ("train", "test"):
        pool = TaskPool(environment, split)
        for position in range(60 if level > 1 else 25):
            task = pool.draw(position, 0)
            assert environment.grade(task, environment.gold_reply(task)).passed
            assert not environment.grade(task, JUNK).passed
    assert check("instructions", level=level).is_ok


def test_the_smallest_tasks_are_short_enough_for_a_model_that_knows_letters():
    tasks = list(_tiny())
    assert len(tasks) == len({task.messages for task in tasks}) > 300
    assert max(len(task.payload["gold"]) for task in tasks) <= 29
    assert max(len(task.messages[0].content) for task in tasks) <= 40
    assert all(checkers(task.payload["instructions"]) for task in tasks)


def test_a_recipe_s_graders_are_checked_with_its_environment():
    config = {"path": "arithmetic", "graders": {"brief": BRIEF, "calm": CALM}, "reward": TREE}
    report = check_config(EnvConfig.model_validate(config))
    assert report.is_ok
    assert report.grade is not None
    assert {"calm", "task"} <= set(report.grade.parts)
