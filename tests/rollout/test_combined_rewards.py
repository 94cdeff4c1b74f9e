"""The gated recipe through the problem worker: from its tree to store, metrics and advantages."""

from __future__ import annotations

import math

import pytest

from munro.envs.loader import load_config
from munro.envs.problem_set import TaskPool
from munro.machine.loading import load
from munro.rewards.config import RewardsConfig
from munro.rl.advantage import group_relative
from munro.rl.clip import Clip
from munro.rl.group_metrics import group_metrics
from munro.rl.state import ClimbState
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Group
from tests.builders import tell
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)


async def group_of(replies, **rewards) -> Group:
    """One group whose attempts say `replies` in turn, graded as configs/gated.toml says."""
    recipe = load("configs/gated.toml", [("env.args", "{ level = 1 }")])
    environment = load_config(recipe.env[0])
    task = TaskPool(environment, "train").draw(0, 0)
    right = environment.gold_reply(task)

    def writes(request):
        reply = replies[request.key[1]].replace("RIGHT", right)
        return [*TOKENIZER.encode(reply), TOKENIZER.eos_token_id]

    rollout = resized(recipe.rollout, len(replies))
    worker = ProblemWorker(
        ScriptedEngine(writes),
        {task.env: environment}.__getitem__,
        TOKENIZER,
        rollout,
        RewardsConfig(**({"language_weight": 0.0, "length_weight": 0.0} | rewards)),
        seed=0,
        max_context=500,
    )
    group = await worker.solve(0, task, 100)
    assert isinstance(group, Group)
    return group


def resized(config, size):
    return config.model_copy(update={"group_size": size, "num_early": min(4, size)})


async def test_failing_the_gate_never_beats_passing_it_however_brief():
    group = await group_of(["RIGHT", "1=1 RIGHT", "1=1 0", "", "7=7 2=2 RIGHT", "RIGHT", "0", "=0"])
    rewards = [attempt.reward.task for attempt in group.attempts]
    assert rewards == [-1, 1, 0, -1, 1, -1, -1, 0]
    advantages = group_relative(group)
    worst_that_passed = min(advantages[i] for i in (1, 2, 4, 7))
    assert all(advantages[i] < worst_that_passed for i in (0, 3, 5, 6))
    assert group.pass_rate == 2 / 8


async def test_among_answers_that_are_all_right_the_brief_ones_gain():
    group = await group_of(["1=1 RIGHT", "1=1 2=2 RIGHT", "1=1 2=2 3=3 RIGHT", "4=4 RIGHT"])
    assert group.pass_rate == 1
    one, two, three, four = group_relative(group)
    assert one == four > two > three


async def test_every_part_reaches_the_store_and_the_metrics_by_itself(tmp_path):
    group = await group_of(["RIGHT", "1=1 RIGHT", "1=1 2=2 RIGHT", "1=1 0"])
    store = RolloutStore(tmp_path)
    store.write(1, [group], [group_relative(group)])
    (back,) = store.read(1)
    parts = [dict(attempt.grade.parts) for attempt in back.attempts]
    assert "brief" not in parts[0]
    assert {"shows_work", "task", "brief"} <= set(parts[1])
    found = group_metrics([tell(back)], ClimbState.first(Clip()))
    assert found["reward/shows_work"] == 0.75
    assert 0 < found["reward/brief"] < 1
    assert all(map(math.isfinite, found.values()))


async def test_an_evaluation_of_single_attempts_pays_the_first_part():
    group = await group_of(["1=1 RIGHT"])
    assert group.attempts[0].reward.task == 1.0


async def test_alp_s_length_and_truncation_are_worked_out_for_each_attempt():
    group = await group_of(["1=1 0", "1=1 0"], length_form="alp", alp_scale=10)
    tokens = group.attempts[0].trajectory.num_sampled
    assert group.attempts[0].reward.length == pytest.approx(0.5 * tokens / 10)
    assert group.attempts[0].reward.truncation == 0.0


async def test_dapo_s_length_costs_on_the_last_stretch_before_the_cap():
    group = await group_of(["1=1 0"], length_form="overlong", overlong_tokens=10**6)
    tokens = group.attempts[0].trajectory.num_sampled
    told = group.attempts[0].reward.length
    # a stretch longer than the cap of 100 is the cap
    assert told == tokens / 100
    free = await group_of(["1=1 0"], length_form="overlong", overlong_tokens=1)
    assert free.attempts[0].reward.length == 0.0
