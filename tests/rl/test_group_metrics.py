"""What a step's groups become in the metrics: every part of every reward, by itself."""

from __future__ import annotations

from dataclasses import replace

from munro.envs.types import CallRecord, Ending, Message
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rl.clip import Clip
from munro.rl.group_metrics import MOST_PARTS, OTHER
from munro.rl.group_metrics import group_metrics as metrics_of
from munro.rl.state import ClimbState
from tests.builders import make_attempt, make_group, make_task, make_trajectory, tell

STATE = ClimbState.first(Clip())


def group_metrics(groups, state):
    return metrics_of([tell(group) for group in groups], state)


def attempt_of(parts, **reward):
    whole = RewardBreakdown(**({"task": 1.0, "total": 1.0} | reward))
    return replace(make_attempt(), grade=Grade(reward=1.0, parts=parts), reward=whole)


def test_parts_of_a_grade_appear_and_are_averaged_over_those_that_have_them():
    attempts = (attempt_of({"safe": 0.0}), attempt_of({"safe": 1.0, "brief": 0.5}))
    found = group_metrics([make_group(attempts=attempts, early_pass_rate=1.0)], STATE)
    assert found["reward/safe"] == 0.5
    assert found["reward/brief"] == 0.5


def test_repetition_and_truncation_are_metrics_of_their_own():
    attempts = (attempt_of({}, repetition=0.5, truncation=1.0), attempt_of({}))
    found = group_metrics([make_group(attempts=attempts, early_pass_rate=1.0)], STATE)
    assert (found["reward/repetition"], found["reward/truncation"]) == (0.25, 0.5)


def test_a_grader_s_part_never_hides_a_part_of_the_total_and_their_number_is_bounded():
    parts = {"total": 0.25} | {f"test_{n:03}": 1.0 for n in range(200)}
    found = group_metrics([make_group(attempts=(attempt_of(parts),), early_pass_rate=1.0)], STATE)
    assert found["reward/total"] == 1.0
    assert sum(name.startswith("reward/test_") for name in found) <= MOST_PARTS


def record(name, seconds, ok=True):
    return CallRecord(turn=0, id="c", name=name, arguments="{}", ok=ok, seconds=seconds)


def agent(num_turns, *calls, ending=Ending.ANSWERED):
    said = (Message(role="assistant", content="x"), Message(role="tool", content="y")) * num_turns
    told = make_trajectory(messages=said[:-1], calls=calls, ending=ending)
    return make_attempt(trajectory=told)


def test_turns_calls_endings_and_seconds_by_tool_are_metrics_where_there_are_any():
    task = make_task(tools=({"type": "function", "function": {"name": "bash"}}, {"name": "edit"}))
    attempts = (
        agent(3, record("bash", 1.5), record("bash", 0.5, ok=False), record("edit", 0.25)),
        agent(1, record("", 0.0, ok=False), record("rm -rf /\n", 9.0, ok=False)),
        agent(2, ending=Ending.TRUNCATED_TIME),
        agent(2, ending=Ending.TRUNCATED_TIME),
    )
    agents = make_group(task=task, attempts=attempts, early_pass_rate=1.0)
    found = group_metrics([agents, make_group()], STATE)
    assert found["response/turns"] == 2
    assert found["response/ended/truncated_time"] == found["response/ended/answered"] == 0.5
    assert found["response/ended/truncated_turn"] == 0
    assert (found["calls/per_attempt"], found["calls/failed"]) == (5 / 4, 3 / 5)
    assert found["calls/malformed"] == 1 / 5
    spent = {name: value for name, value in found.items() if name.startswith("calls/seconds/")}
    assert spent == {
        "calls/seconds/bash": 0.5,
        "calls/seconds/edit": 0.0625,
        f"calls/seconds/{OTHER}": 2.25,
    }


def test_attempts_that_branched_are_counted_with_their_runs():
    agents = make_group(attempts=(agent(2), agent(2)), early_pass_rate=1.0)
    assert "response/runs" not in group_metrics([agents], STATE)
    told = replace(agents.attempts[1].trajectory, forks=((3, 1), (5, 1)))
    agents = replace(
        agents, attempts=(agents.attempts[0], replace(agents.attempts[1], trajectory=told))
    )
    found = group_metrics([agents], STATE)
    assert (found["response/runs"], found["response/branched"]) == (2, 0.5)


def test_turns_that_an_agent_made_up_are_no_turns_of_the_policy():
    said = [Message(role="assistant", content=f"{n}", is_sampled=n < 2) for n in range(5)]
    made = make_attempt(trajectory=make_trajectory(messages=tuple(said)))
    found = group_metrics([make_group(attempts=(made,), early_pass_rate=1.0)], STATE)
    assert found["response/turns"] == 2


def test_what_takes_one_turn_and_has_no_tools_says_nothing_of_either():
    found = group_metrics([make_group()], STATE)
    assert not [name for name in found if name.startswith(("calls/", "response/ended"))]
    assert "response/turns" not in found


def test_tools_that_nobody_called_are_told_as_well():
    task = make_task(tools=({"name": "bash"},))
    found = group_metrics([make_group(task=task)], STATE)
    assert (found["calls/per_attempt"], found["calls/failed"]) == (0, 0)
