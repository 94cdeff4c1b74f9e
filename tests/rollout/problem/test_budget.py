"""An environment's own budget goes before what the rollout says, and a task's before both."""

from __future__ import annotations

import asyncio

import pytest

from munro.envs.base import Episode, SingleTurn
from munro.envs.budget import Budget
from munro.envs.types import Ending, Message
from munro.rewards.config import RewardsConfig
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from tests.builders import make_task
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
EOS = TOKENIZER.eos_token_id
CONFIG = RolloutConfig(group_size=2, num_early=2, template="plain", retries=0)


class Talks(SingleTurn):
    """Answers for ever, slowly where it is told to."""

    def __init__(self, budget, late=""):
        self.budget, self.late = budget, late

    def tasks(self, split):
        return [make_task()]

    def grade(self, task, reply):
        raise AssertionError("the episode grades")

    async def start(self, task):
        environment = self
        await self.wait("start")

        class Talk(Episode):
            async def reply(self, message):
                await environment.wait("reply")
                return [Message(role="user", content="x" * 200)]

            async def grade(self, trajectory):
                await environment.wait("grade")
                return True

        return Talk()

    async def wait(self, what):
        await asyncio.sleep(0.3 if what == self.late else 0)


async def sampled(environment, task=None, config=CONFIG):
    engine = ScriptedEngine(lambda r: [*TOKENIZER.encode("on"), EOS])
    worker = ProblemWorker(
        engine,
        lambda name: environment,
        TOKENIZER,
        config,
        RewardsConfig(),
        seed=0,
        max_context=10_000,
    )
    return await worker.sample(0, task or make_task(), 5000, 2)


@pytest.mark.parametrize(
    ("own", "of_task", "turns"),
    [
        (Budget(), None, 2),
        (Budget(turns=5), None, 5),
        (Budget(turns=5), Budget(turns=3), 3),
        (Budget(turns=5), Budget(wall_s=60), 5),
    ],
    ids=["rollout", "environment", "task", "task, another key"],
)
async def test_the_most_particular_number_of_turns_holds(own, of_task, turns):
    config = CONFIG.model_copy(update={"max_turns": 2})
    group = await sampled(Talks(own), make_task(budget=of_task), config)
    for attempt in group.attempts:
        said = [message.role for message in attempt.trajectory.messages]
        assert said.count("assistant") == turns
        assert attempt.trajectory.ending is Ending.TRUNCATED_TURNS


async def test_observations_are_bounded_by_the_budget():
    config = CONFIG.model_copy(update={"max_turns": 2, "observation_tokens": 150})
    for own, shown in ((None, 150), (100, 100), (0, 200)):
        group = await sampled(Talks(Budget(observation_tokens=own)), config=config)
        (seen,) = group.attempts[0].trajectory.messages[1:2]
        assert 0.8 * shown < len(seen.content) <= shown


@pytest.mark.parametrize("what", ["start", "reply", "grade"])
async def test_a_deadline_of_the_budget_is_named_as_such(what):
    given_up = await sampled(Talks(Budget(**{f"{what}_s": 0.05}, turns=2), late=what))
    assert given_up.detail == (
        f"GraderError: {what} of arithmetic/17+25 took longer than env.budget.{what}_s = 0.05"
    )


async def test_a_longer_deadline_of_the_budget_holds_as_well():
    short = CONFIG.model_copy(update={"reply_deadline_s": 0.05, "max_turns": 2})
    group = await sampled(Talks(Budget(reply_s=5), late="reply"), config=short)
    assert len(group.attempts) == 2


class Mixed(SingleTurn):
    """Two turns, the second after a while."""

    def __init__(self, name, reply_s, wait_s, log):
        self.name, self.budget = name, Budget(reply_s=reply_s, turns=2)
        self.wait_s, self.log = wait_s, log

    def tasks(self, split):
        return [make_task(env=self.name)]

    def grade(self, task, reply):
        return True

    def start(self, task):
        environment = self

        class Talk(Episode):
            turns = 0

            async def reply(self, message):
                environment.log.append(environment.name)
                await asyncio.sleep(environment.wait_s)
                environment.log.append(f"{environment.name} is answered")
                self.turns += 1
                return [Message(role="user", content="x")] if self.turns < 2 else None

            async def grade(self, trajectory):
                return True

        return Talk()


@pytest.mark.parametrize("how", ["evaluate", "solve_all"])
@pytest.mark.parametrize(
    ("lockstep", "reply_s", "waits"),
    [("auto", 30, False), ("auto", 5, True), ("auto", None, True), ("always", 30, True)],
)
async def test_nobody_waits_for_slow_tools_in_lockstep(how, lockstep, reply_s, waits):
    log = []
    slow, quick = Mixed("slow", reply_s, 0.2, log), Mixed("quick", None, 0.0, log)
    engine = ScriptedEngine(lambda r: [*TOKENIZER.encode("on"), EOS])
    worker = ProblemWorker(
        engine,
        {"slow": slow, "quick": quick}.__getitem__,
        TOKENIZER,
        CONFIG.model_copy(update={"lockstep": lockstep, "early_pass_rate": (0, 1)}),
        RewardsConfig(),
        seed=0,
        max_context=1000,
    )
    items = [(n, make_task(env=env), 50) for n, env in enumerate(("slow", "quick", "slow"))]
    if how == "evaluate":
        told = await worker.evaluate(items, 2, version=0)
        assert [len(group.attempts) for group in told] == [2, 2, 2]
    else:
        told = await worker.solve_all(items, version=0)
        assert [outcome.task.env for outcome in told] == ["slow", "quick", "slow"]
    # quick ones have had both turns before a slow one has its first answer, or wait for that
    last_quick = max(at for at, name in enumerate(log) if name == "quick")
    assert (last_quick > log.index("slow is answered")) == waits
    batched = [sorted(call) for call in engine.calls if len(call) > 1]
    assert (len(batched[0]) == 6) == waits
