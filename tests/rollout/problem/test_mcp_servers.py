"""Servers that die or hang under a policy: its attempts are played again, and never scored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from munro.rollout.types import Abandoned
from tests.envs.mcp import objects
from tests.envs.mcp.playing import env_of
from tests.rollout.builders import ScriptedEngine
from tests.rollout.problem.test_worker import CONFIG, EOS, TOKENIZER, worker

COUNT = f"<tool_call>{json.dumps({'name': 'count', 'arguments': {}})}</tool_call>"


def counts_twice(request):
    """Two calls of the counter, a turn each; then what a sound one has said."""
    said = COUNT if request.key[-1] < 2 else "Answer: 2"
    return [*TOKENIZER.encode(said), EOS]


async def sampled(folder, every: int, retries: int):
    """Four attempts, each at a server of its own; so many of the servers hang."""
    objects.hangs_every, objects.num_flaky = every, 0
    server = {"object": "tests.envs.mcp.objects:flaky", "call_s": 0.3}
    env = env_of(folder, {"prompt": "Count.", "answer": "2"}, servers={"counter": server})
    task = replace(env.tasks("train")[0], env="arithmetic")
    config = CONFIG.model_copy(update={"retries": retries, "group_size": 4})
    made = worker(ScriptedEngine(counts_twice), env, config, max_context=5000)
    return await made.sample(0, task, 5000, 4)


@pytest.mark.parametrize("every", [2, 3])
async def test_servers_that_hang_cost_an_attempt_and_no_score(tmp_path, every):
    group = await sampled(tmp_path, every, retries=10)
    # one is asked for its tools; each that hung cost an attempt, which was made again
    assert group.num_unscored == objects.num_flaky - 1 - 4 > 0
    assert "the server 'counter' did not call count: nothing within 0.3 s" in group.detail
    assert [attempt.grade.reward for attempt in group.attempts] == [1.0] * 4
    calls = [call for attempt in group.attempts for call in attempt.trajectory.calls]
    assert [(call.name, call.ok) for call in calls] == [("count", True)] * 8


async def test_servers_that_always_hang_leave_the_task_unscored(tmp_path):
    done = await sampled(tmp_path, 1, retries=1)
    assert isinstance(done, Abandoned)
    assert "the server 'counter' did not call count" in str(done)
