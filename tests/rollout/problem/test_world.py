"""Attempts in worlds of tools whose machine is lost at any turn: they go on, and earn the same."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from munro.envs.check.playing import Policy
from munro.envs.problem_set import TaskPool
from munro.envs.world import Worlds
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EnvironmentFailure
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
EOS = TOKENIZER.eos_token_id
CONFIG = RolloutConfig(group_size=4, num_early=4, template="plain", retries=30)


class Losing(Worlds):
    """Its episodes are lost with some chance at every turn and at every grade."""

    def __init__(self, chance, seed, **args):
        super().__init__(**args)
        self.log = Counter()
        self._chance, self._rng = chance, random.Random(seed)

    async def start(self, task):
        self.log["start"] += 1
        return self._doomed(await super().start(task))

    async def restore(self, task, saved):
        self.log["restore"] += 1
        return self._doomed(await super().restore(task, saved))

    def _doomed(self, episode):
        replies, grades, closes = episode.reply, episode.grade, episode.close
        self.log["open"] += 1

        def may_be_lost():
            if self._rng.random() < self._chance:
                raise EnvironmentFailure("the machine is gone")

        async def reply(message):
            may_be_lost()
            answered = await replies(message)
            may_be_lost()  # after a change was made, which must not be made twice
            return answered

        async def grade(trajectory):
            may_be_lost()
            return await grades(trajectory)

        async def close():
            self.log["open"] -= 1
            await closes()

        episode.reply, episode.grade, episode.close = reply, grade, close
        return episode


def gold_writer(environment, task):
    """Writes the gold turns; the number of the turn is the last of a request's key."""
    turns = []
    policy: Policy = environment.gold_policy(task)
    while not turns or turns[-1].startswith("<tool_call>"):
        turns.append(policy(()))
    return lambda request: [*TOKENIZER.encode(turns[request.key[-1]]), EOS]


async def sampled(environment, task):
    engine = ScriptedEngine(gold_writer(environment, task))
    worker = ProblemWorker(
        engine,
        lambda name: environment,
        TOKENIZER,
        CONFIG,
        RewardsConfig(),
        seed=0,
        max_context=20_000,
    )
    return await worker.sample(0, task, 5000, 4), engine


@pytest.mark.parametrize("kind", ["write", "chain", "branch"])
async def test_worlds_lost_at_any_turn_change_no_token_and_no_grade(kind):
    args = {"kinds": {kind: 1.0}, "domains": ["shop"], "num_tasks": 10}
    task = TaskPool(Losing(0, 0, **args), "train").draw(0, 0)
    calm, quiet = await sampled(Losing(0, 0, **args), task)
    lost = Losing(0.25, kind, **args)
    stormy, engine = await sampled(lost, task)
    assert [one.trajectory.token_ids.tolist() for one in stormy.attempts] == [
        one.trajectory.token_ids.tolist() for one in calm.attempts
    ]
    assert all(attempt.grade.passed for attempt in stormy.attempts)
    assert [one.grade.parts for one in stormy.attempts] == [
        one.grade.parts for one in calm.attempts
    ]
    assert stormy.num_resumed > 0
    assert lost.log["restore"] > 0
    assert lost.log["open"] == 0
    if lost.log["start"] == 4:  # none was lost before anything of it was saved
        assert len(engine.calls) == len(quiet.calls)
