"""Boxes: never more open than may be, on the whole node, started ever faster, given back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest

from munro.envs.base import Episode, SingleTurn
from munro.envs.budget import Budget
from munro.envs.types import Message
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EnvironmentFailure
from munro.rollout import boxes
from munro.rollout.boxes import Boxes, most_here, pool_of
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from tests.builders import make_task
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
EOS = TOKENIZER.eos_token_id
CONFIG = RolloutConfig(group_size=12, num_early=12, template="plain", max_turns=3, retries=30)
TASK = make_task()


class Boxed(SingleTurn):
    """Holds a box in every episode, and notes how many are open."""

    def __init__(self, most, seed=0, breaks=False):
        self.budget = Budget(boxes=most)
        self.open = self.most_open = self.started = 0
        self.random, self.breaks = random.Random(seed), breaks

    def tasks(self, split):
        return [TASK]

    def grade(self, task, reply):
        raise AssertionError("the episode grades")

    async def start(self, task):
        environment = self
        self.open += 1
        self.started += 1
        self.most_open = max(self.most_open, self.open)
        await self.dawdle()
        if self.breaks and self.random.random() < 0.2:
            self.open -= 1
            raise EnvironmentFailure("no box")

        class Box(Episode):
            turns = 0

            async def reply(self, message):
                await environment.dawdle()
                self.turns += 1
                return [Message(role="user", content="again")] if self.turns < 2 else None

            async def grade(self, trajectory):
                await environment.dawdle()
                return True

            async def close(self):
                await environment.dawdle()
                environment.open -= 1

        return Box()

    async def dawdle(self):
        await asyncio.sleep(self.random.random() * 0.004)


def worker(environment, folder=None, engines=1):
    served = [
        ScriptedEngine(lambda r: [*TOKENIZER.encode(str(r.key[1])), EOS]) for _ in range(engines)
    ]
    made = ProblemWorker(
        served[0],
        lambda name: environment,
        TOKENIZER,
        CONFIG,
        RewardsConfig(),
        seed=0,
        max_context=1000,
        servers=served,
        boxes=folder,
    )
    return made, served


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("most", [1, 3, 50])
async def test_never_more_are_open_than_may_be_and_all_are_given_back(tmp_path, most, breaks):
    environment = Boxed(most, breaks=breaks)
    made, _ = worker(environment, tmp_path)
    groups = await asyncio.gather(*(made.sample(n, TASK, 100, 12) for n in range(3)))
    assert all(len(group.attempts) == 12 for group in groups)
    assert environment.most_open == most or most > 36 >= environment.most_open > 20
    assert environment.open == 0
    assert breaks == any(group.num_unscored for group in groups)
    # every place can be had again
    async with contextlib.AsyncExitStack() as held:
        pool = Boxes(tmp_path)
        for _ in range(most):
            await held.enter_async_context(pool.one("arithmetic", most, nullcontext))


async def test_environments_that_say_nothing_of_boxes_are_not_held_up(tmp_path):
    environment = Boxed(None)
    made, _ = worker(environment, tmp_path)
    await made.sample(0, TASK, 100, 30)
    assert environment.most_open == 30
    assert list(tmp_path.iterdir()) == []


async def test_a_lockstep_with_few_boxes_ends_and_repeats_whatever_its_timing(tmp_path):
    async def wave(seed):
        environment = Boxed(4, seed)
        made, engines = worker(environment, tmp_path / str(seed), engines=2)
        told = await made.evaluate([(n, TASK, 100) for n in range(3)], 5, version=0)
        assert environment.most_open == 4
        streams = [[one.trajectory.token_ids.tolist() for one in task.attempts] for task in told]
        return streams, [engine.calls for engine in engines]

    async with asyncio.timeout(60):
        first = await wave(0)
        assert all([await wave(seed) == first for seed in (1, 2, 3, 4, 5)])
    assert max(len(batch) for calls in first[1] for batch in calls) == 2


HOLD = """
import asyncio, sys
from contextlib import nullcontext
from pathlib import Path
from munro.rollout.boxes import Boxes
async def main():
    async with Boxes(Path(sys.argv[1])).one("env", 2, nullcontext):
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_the_processes_of_a_node_share_and_whoever_is_killed_gives_back(tmp_path):
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert [holder.stdout.readline() for holder in holders] == [b"held\n"] * 2

        async def take(patience_s):
            async with asyncio.timeout(patience_s), Boxes(tmp_path).one("env", 2, nullcontext):
                return True

        with pytest.raises(TimeoutError):
            asyncio.run(take(0.5))
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert asyncio.run(take(20))
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()


async def test_starts_are_ramped_and_fall_back_after_one_that_fails():
    pool, inside, seen = Boxes(), 0, []

    async def start(fails=False):
        nonlocal inside
        try:
            async with pool.starting():
                inside += 1
                seen.append(inside)
                try:
                    await asyncio.sleep(0.001)
                    if fails:
                        raise EnvironmentFailure("no box")
                finally:
                    inside -= 1
        except EnvironmentFailure:
            pass

    pool._ramp._most = 8
    await asyncio.gather(*(start() for _ in range(40)))
    assert seen[:2] == [1, 1]
    assert max(seen) == 8
    seen.clear()
    await start(fails=True)
    await asyncio.gather(*(start() for _ in range(3)))
    assert seen[:2] == [1, 1]
    # one that is cancelled while it waits holds nobody up
    pool._ramp._width = 1
    async with pool.starting():
        waiting = [asyncio.ensure_future(start()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()


async def test_whoever_is_cancelled_while_waiting_takes_no_place():
    pool = Boxes()

    async def hold(event):
        async with pool.one("env", 1, nullcontext):
            await event.wait()

    first, second, third = (asyncio.Event() for _ in range(3))
    running = [asyncio.ensure_future(hold(event)) for event in (first, second, third)]
    await asyncio.sleep(0)
    running[1].cancel()
    first.set()
    third.set()
    async with asyncio.timeout(5):
        await asyncio.gather(running[0], running[2])
    assert running[1].cancelled()


def test_what_a_node_allows_depends_on_its_processors_and_its_memory(monkeypatch):
    monkeypatch.setattr(boxes, "_cores", lambda: 4)
    monkeypatch.setattr(boxes, "_granted", lambda name: [8 * 2**30])
    assert most_here() <= 8
    assert most_here(1024) <= most_here() // 2 + 1
    assert most_here(5000) == 1
    monkeypatch.setattr(boxes, "_granted", lambda name: [2**20])
    assert most_here() == 1
    monkeypatch.undo()
    assert 1 <= most_here() <= 16 * (os.cpu_count() or 1)
    assert pool_of("a") != pool_of("b")
    assert pool_of("a") == pool_of(os.path.abspath("a"))


async def test_slots_that_cannot_be_used_are_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFailure, match=r"slots for boxes of env in .* cannot be used"):
        async with Boxes(tmp_path / "file").one("env", 1, nullcontext):
            pass
