"""Figures by environment add up to those of the whole, each by what it is a mean or sum of."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace

import pytest

from munro.envs.types import CallRecord, Ending, Message
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rl.clip import Clip
from munro.rl.control.tally import Tallies
from munro.rl.group_metrics import group_metrics
from munro.rl.state import ClimbState
from munro.rollout.types import Reason
from tests.builders import (
    make_abandoned,
    make_attempt,
    make_group,
    make_task,
    make_trajectory,
    tell,
)

STATE = replace(ClimbState.first(Clip()), policy_version=5)
NAMES = ("math", "tools", "a/b#2")
TOOLS = ({"type": "function", "function": {"name": "bash"}},)

HOW = {
    r"reward/(total|task|language|length|repetition|truncation)": "attempts",
    r"reward/brief": "those that have it",
    r"reward/std|pass_rate/trained|staleness/mean": "groups",
    r"response/(length|truncated)": "attempts",
    r"response/length_max|staleness/max": "most",
    r"rollout/nucleus_cut": "tokens",
    r"response/(turns|ended/.*|runs|branched)|calls/(per_attempt|seconds/.*)": "with turns",
    r"calls/(failed|malformed)": "calls",
    r"rollout/resumed": "attempts",
    r"groups/.*|staleness/hist/.*|rollout/tokens": "sum",
    r"pass_rate/sampled": "graded",
    r"rollout/unscored": "made",
}
"""What each figure of an environment weighs in the whole's."""


def attempt(rng, *, tools):
    calls = [
        CallRecord(turn=0, id="c", name=rng.choice(("bash", "rm")), arguments="{}",
                   ok=rng.random() < 0.5, seconds=rng.random())
        for _ in range(rng.randint(0, 3) if tools else 0)
    ]  # fmt: skip
    told = make_trajectory(
        reply_ids=range(5, 6 + rng.randint(1, 9)),
        version=rng.randint(0, 5),
        num_cut=rng.randint(0, 1),
        ending=rng.choice((Ending.ANSWERED, Ending.TRUNCATED_TOKENS)),
        messages=(Message(role="assistant", content="x"),) * (rng.randint(1, 3) if tools else 1),
        forks=((6, 2),) if tools and rng.random() < 0.5 else (),
        calls=tuple(calls),
    )
    grade = Grade(
        reward=rng.random(),
        passed=rng.random() < 0.4,
        parts={"brief": rng.random()} if rng.random() < 0.5 else {},
    )
    reward = RewardBreakdown(task=rng.random(), length=rng.random(), total=rng.random())
    return replace(make_attempt(trajectory=told), grade=grade, reward=reward)


@pytest.fixture(params=range(5))
def groups(request):
    """Groups of unequal sizes of three environments, of which one has tools."""
    rng = random.Random(request.param)
    found = []
    for index in range(12):
        name = NAMES[index % 3]
        task = make_task(env=name, tools=TOOLS if name == "tools" else ())
        attempts = tuple(attempt(rng, tools=bool(task.tools)) for _ in range(rng.randint(2, 6)))
        found.append(
            make_group(index=index, task=task, attempts=attempts, num_resumed=index % 2,
                       num_unscored=rng.randint(0, 2))
        )  # fmt: skip
    return found


def weight(how, groups):
    """Of the groups of one environment in a figure of the whole."""
    attempts = [one for group in groups for one in group.attempts]
    taking_turns = [one for group in groups for one in group.attempts if group.task.tools]
    return {
        "groups": len(groups),
        "attempts": len(attempts),
        "graded": len(attempts),
        "made": len(attempts) + sum(group.num_unscored for group in groups),
        "tokens": sum(one.trajectory.num_sampled for one in attempts),
        "those that have it": sum("brief" in one.grade.parts for one in attempts),
        "with turns": len(taking_turns),
        "calls": sum(len(one.trajectory.calls) for one in taking_turns),
    }[how]


def require_sums(found, groups):
    own = {name: [group for group in groups if group.task.env == name] for name in NAMES}
    whole = [name for name in found if not name.endswith(tuple(f"/{name}" for name in NAMES))]
    assert len(whole) < len(found)
    for name in whole:
        parts = {env: found[f"{name}/{env}"] for env in NAMES if f"{name}/{env}" in found}
        if name in ("length/stage", "policy/k"):
            assert not parts
            continue
        (how,) = {how for pattern, how in HOW.items() if re.fullmatch(pattern, name)}
        if how == "sum":
            expected = math.fsum(parts.values())
        elif how == "most":
            expected = max(parts.values())
        else:
            weights = {env: weight(how, own[env]) for env in parts}
            total = sum(weights.values())
            assert total == weight(how, groups), f"{name} is not there for an environment"
            expected = math.fsum(parts[env] * weights[env] for env in parts) / max(total, 1)
        assert found[name] == pytest.approx(expected, rel=1e-12, abs=1e-15), name


def test_weighted_sums_of_the_trained_groups_equal_the_whole(groups):
    found = group_metrics([*map(tell, groups)], STATE, several=True)
    assert found["pass_rate/trained/a/b#2"] != found["pass_rate/trained"]
    assert found["groups/trained/math"] == 4
    require_sums(found, groups)


def test_weighted_sums_of_what_was_sampled_equal_the_whole(groups):
    tallies = Tallies()
    for group in groups:
        tallies.of(group.task.env).add(tell(group))
    tallies.of("math").stale += 2
    task = make_task(env="tools")
    tallies.of("tools").add(tell(make_abandoned(Reason.TOO_HARD_EARLY, task=task, num_sampled=7)))
    tallies.of("math").add(tell(make_abandoned(Reason.TOO_EASY, task=make_task(env="math"))))
    found = tallies.metrics(several=True)
    assert found["groups/abandoned/too_hard_early/tools"] == 1
    assert "groups/abandoned/too_hard_early/math" not in found
    assert (found["groups/stale/math"], found["groups/stale"]) == (2, 2)
    require_sums(found, groups)


def test_one_environment_has_no_figures_beside_the_whole(groups):
    alone = [tell(group) for group in groups if group.task.env == "math"]
    found = group_metrics(alone, STATE)
    assert not [name for name in found if name.endswith("/math")]
    # where there are several, one that is alone in a step still has its own
    assert group_metrics(alone, STATE, several=True)["pass_rate/trained/math"] == pytest.approx(
        found["pass_rate/trained"]
    )
