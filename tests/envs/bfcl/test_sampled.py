"""Tasks of BFCL through the worker that samples: tokens, templates and budgets as in any climb."""

from __future__ import annotations

import json

import pytest

from munro.envs.loader import load
from munro.envs.problem_set import TaskPool
from munro.rewards.config import RewardsConfig
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from tests.envs.bfcl.stand_in import made
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
CONFIG = RolloutConfig(group_size=2, num_early=2, template="plain", calls="hermes")


def written(message):
    """A turn as a model of the Hermes family writes it."""
    calls = [
        {"name": made.name, "arguments": json.loads(made.arguments)} for made in message.tool_calls
    ]
    return (
        "\n".join(f"<tool_call>{json.dumps(one)}</tool_call>" for one in calls) or message.content
    )


def gold_writer(env, task):
    """Turn by turn; of two attempts the second one says nothing but that it is done."""
    turns: dict[int, str] = {}
    policy = env.gold_policy(task)

    def writes(request):
        attempt, turn = request.key[1], request.key[-1]
        if attempt == 0 and turn not in turns:
            turns[turn] = written(policy(()))
        said = turns[turn] if attempt == 0 else "done"
        return [*TOKENIZER.encode(said), request.stop_token_ids[-1]]

    return writes


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return load("bfcl", data=str(made(tmp_path_factory.mktemp("package"))), test_share=0)


@pytest.mark.parametrize(
    ("task_id", "turns", "idle_passes"),
    [
        ("multi_turn_base_0", 5, False),
        ("multi_turn_miss_func_0", 5, False),
        ("parallel_0", 1, False),
        ("irrelevance_0", 1, True),
    ],
)
async def test_gold_that_is_sampled_passes_and_an_idle_attempt_does_not(
    env, task_id, turns, idle_passes
):
    pool = TaskPool(env, "train")
    (task,) = [one for one in (pool.draw(n, 0) for n in range(pool.size)) if one.id == task_id]
    worker = ProblemWorker(
        ScriptedEngine(gold_writer(env, task)),
        lambda name: env,
        TOKENIZER,
        CONFIG,
        RewardsConfig(),
        seed=0,
        max_context=20_000,
    )
    group = await worker.sample(0, task, 5000, 2)
    gold, idle = sorted(group.attempts, key=lambda one: -len(one.trajectory.calls))
    if not gold.trajectory.calls:
        assert [one.grade.passed for one in (gold, idle)] == [idle_passes] * 2
        return
    assert gold.grade.passed, gold.grade.reason
    assert idle.grade.passed is idle_passes
    said = [one for one in gold.trajectory.messages if one.is_sampled]
    assert len(said) == turns
    # what the user says in between is read, and not trained on
    users = [one for one in gold.trajectory.messages if one.role == "user"]
    assert bool(users) is (turns > 1)
    assert int(gold.trajectory.sampled.sum()) == sum(
        len(TOKENIZER.encode(one.raw)) + 1 for one in said
    )
