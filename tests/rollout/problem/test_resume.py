"""A lost machine costs the turn it was lost in, never the episode, and never a score."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from munro.envs.base import Environment, Episode
from munro.envs.budget import Budget
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.envs.tool_use import ToolUse, tool
from munro.envs.types import Message
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EnvironmentFailure
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.types import Abandoned, Group, Reason
from tests.builders import make_task
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
EOS = TOKENIZER.eos_token_id
CONFIG = RolloutConfig(group_size=4, num_early=4, template="plain", retries=2)
TURNS = 30


class Counting(Environment):
    """Adds up what it is told on a machine that may be lost; right is the sum of all of it."""

    budget = Budget(turns=TURNS)

    def __init__(self, loses=lambda place, total: False, saves=True, breaks_saves=False):
        self.loses, self.saves, self.breaks_saves = loses, saves, breaks_saves
        self.log = Counter()
        self.open = 0

    def tasks(self, split):
        return [make_task()]

    def start(self, task):
        self.log["start"] += 1
        return self._episode({"total": 0, "turns": 0})

    def _episode(self, state):
        self.open += 1
        environment = self

        class Adding(Episode):
            is_lost = False

            async def reply(self, message):
                self.may_be_lost("reply")
                environment.log["reply"] += 1
                state["total"] += int(message.text)
                state["turns"] += 1
                return [Message(role="user", content=f"{state['total']}")]

            async def grade(self, trajectory):
                self.may_be_lost("grade")
                said = [int(m.text) for m in trajectory.messages if m.role == "assistant"]
                assert len(said) == TURNS
                return state["total"] == sum(said)

            def save(self):
                if environment.breaks_saves and environment.loses("save", state["total"]):
                    raise OSError("no room")
                if not environment.saves:
                    return None
                return json.dumps(state).encode()

            async def close(self):
                environment.open -= 1

            def may_be_lost(self, place):
                self.is_lost = self.is_lost or environment.loses(place, state["total"])
                if self.is_lost:
                    raise EnvironmentFailure("the machine is gone")

        return Adding()


class Restoring(Counting):
    """Keeps what it needs to go on."""

    async def restore(self, task, saved):
        self.log["restore"] += 1
        if self.loses("restore", 0):
            raise EnvironmentFailure("no machine to be had")
        return self._episode(json.loads(saved))


def worker(environment, config=CONFIG, writes=None):
    engine = ScriptedEngine(
        writes or (lambda r: [*TOKENIZER.encode(str(random.Random(r.seed).randrange(100))), EOS])
    )
    made = ProblemWorker(
        engine,
        lambda name: environment,
        TOKENIZER,
        config,
        RewardsConfig(),
        seed=0,
        max_context=10_000,
    )
    return made, engine


async def sampled(environment, config=CONFIG, num=4, **more):
    made, engine = worker(environment, config, **more)
    return await made.sample(0, make_task(), 5000, num), engine


def streams(group):
    return [attempt.trajectory.token_ids.tolist() for attempt in group.attempts]


def at_random(seed, share, places=("reply", "grade", "restore", "save")):
    rng = random.Random(seed)
    return lambda place, total: place in places and rng.random() < share


@pytest.mark.parametrize("seed", range(12))
async def test_machines_lost_at_random_change_no_token_and_no_score(seed):
    calm, _ = await sampled(Restoring())
    environment = Restoring(at_random(seed, 0.08), breaks_saves=seed % 2 == 1)
    config = CONFIG.model_copy(update={"retries": 20})
    stormy, engine = await sampled(environment, config)
    assert streams(stormy) == streams(calm)
    assert all(attempt.grade.solved for attempt in stormy.attempts)
    assert (stormy.num_unscored, environment.open) == (0, 0)
    assert stormy.num_resumed > 0
    if not environment.breaks_saves:
        # no turn was sampled twice, or carried out twice
        assert len(engine.calls) == environment.log["reply"] == 4 * TURNS


async def test_without_saving_an_episode_is_played_again_from_its_start():
    lost = iter([False] * 20 + [True] + [False] * 1000)
    environment = Counting(lambda place, total: next(lost))
    group, engine = await sampled(environment, num=1)
    assert (group.num_unscored, group.num_resumed) == (1, 0)
    assert environment.log == {"start": 2, "reply": 20 + TURNS}
    assert len(engine.calls) == 21 + TURNS


async def test_a_turn_goes_on_from_the_last_one_that_was_saved():
    lost = iter([False] * 20 + [True] + [False] * 1000)
    environment = Restoring(lambda place, total: place == "reply" and next(lost))
    group, engine = await sampled(environment, num=1)
    assert (group.num_unscored, group.num_resumed) == (0, 1)
    assert environment.log == {"start": 1, "restore": 1, "reply": TURNS}
    # not even the turn that was lost is sampled again
    assert len(engine.calls) == TURNS


async def test_a_grade_that_cannot_be_had_is_asked_for_again_from_what_was_saved():
    lost = iter([True, True, False])
    environment = Restoring(lambda place, total: place == "grade" and next(lost))
    group, _ = await sampled(environment, num=1)
    assert (group.num_unscored, group.num_resumed) == (0, 2)
    assert environment.log == {"start": 1, "restore": 2, "reply": TURNS}
    assert group.attempts[0].grade.solved


async def test_what_was_said_since_the_last_saving_is_taken_back():
    """Saves only at times: a machine that has forgotten a turn must not be taken to know it."""

    class Seldom(Restoring):
        def _episode(self, state):
            episode = super()._episode(state)
            whole = episode.save
            episode.save = lambda: whole() if state["turns"] % 7 == 0 else None
            return episode

    calm, _ = await sampled(Restoring(), num=1)
    lost = iter([False] * 19 + [True] + [False] * 1000)
    environment = Seldom(lambda place, total: place == "reply" and next(lost))
    group, engine = await sampled(environment, num=1)
    assert streams(group) == streams(calm)
    assert group.attempts[0].grade.solved
    assert environment.log == {"start": 1, "restore": 1, "reply": 19 + TURNS - 14}
    assert len(engine.calls) == 20 + TURNS - 14


async def test_an_engine_that_fails_costs_no_turn_either():
    environment = Restoring()
    made, engine = worker(environment)
    generate, failures = engine.generate, iter([False] * 13 + [True] + [False] * 1000)

    async def flaky(requests):
        engine.is_down = next(failures)
        return await generate(requests)

    engine.generate = flaky
    group = await made.sample(0, make_task(), 5000, 1)
    assert (group.num_unscored, group.num_resumed) == (0, 1)
    assert environment.log == {"start": 1, "restore": 1, "reply": TURNS}
    assert group.attempts[0].grade.solved


async def test_a_turn_that_costs_the_machine_every_time_ends_in_another_draw():
    """Its command kills the box: going on with it for ever would lose the task."""
    environment = Restoring(lambda place, total: place == "reply" and total == 5)

    def writes(request):
        again = request.key[2]
        return [*TOKENIZER.encode("5" if again == 0 and request.key[3] == 9 else "0"), EOS]

    group, _ = await sampled(environment, num=1, writes=writes)
    assert isinstance(group, Group)
    assert (group.num_unscored, group.num_resumed) == (1, 2)
    assert environment.log["start"] == 2
    assert environment.open == 0


async def test_a_machine_that_never_comes_back_leaves_the_task_unscored():
    environment = Restoring(lambda place, total: place == "restore" or total > 200)
    given_up, _ = await sampled(environment)
    assert isinstance(given_up, Abandoned)
    assert given_up.reason is Reason.UNSCORED
    assert given_up.num_attempts == 0
    assert environment.open == 0


async def test_nothing_goes_on_where_there_are_no_new_tries():
    environment = Restoring(lambda place, total: total > 200)
    config = CONFIG.model_copy(update={"retries": 0})
    given_up, _ = await sampled(environment, config, num=1)
    assert given_up.reason is Reason.UNSCORED
    assert environment.log["restore"] == 0


class Till(ToolUse):
    """A sum in the state of a conversation with tools."""

    budget = Budget(turns=12)

    def __init__(self):
        self.lost, self.opened = iter([False] * 5 + [True] + [False] * 1000), 0

    def tasks(self, split):
        return [make_task()]

    def setup(self, task):
        self.opened += 1
        return {"total": 0}

    @tool
    def add(self, state: dict, amount: int) -> int:
        """Add to the till."""
        if next(self.lost):
            raise EnvironmentFailure("the till is gone")
        state["total"] += amount
        return state["total"]

    def grade(self, task, reply, state):
        return state["total"] == 10

    def save_state(self, state):
        return json.dumps(state).encode()

    def restore_state(self, task, saved):
        return json.loads(saved)


async def test_a_conversation_with_tools_keeps_its_state():
    call = '<tool_call>{"name": "add", "arguments": {"amount": 1}}</tool_call>'

    def writes(request):
        return [*TOKENIZER.encode(call if request.key[-1] < 10 else "done"), EOS]

    environment = Till()
    group, engine = await sampled(environment, num=1, writes=writes)
    assert group.attempts[0].grade.solved
    assert (group.num_resumed, environment.opened, len(engine.calls)) == (1, 1, 11)
    assert [one.ok for one in group.attempts[0].trajectory.calls] == [True] * 10
    assert (environment.restores, Plain().restores) == (True, False)


class Plain(ToolUse):
    """Restores nothing."""

    def tasks(self, split):
        return []

    def grade(self, task, reply, state):
        return True


async def test_what_is_saved_must_be_bytes():
    class Wrong(Restoring):
        def _episode(self, state):
            episode = super()._episode(state)
            episode.save = lambda: state
            return episode

    given_up, _ = await sampled(Wrong(), num=1)
    assert given_up.detail == (
        "EnvironmentFailure: save of arithmetic/17+25 gave dict: bytes, or None"
    )


def test_an_environment_with_graders_restores_where_its_own_does(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from munro.envs import SingleTurn, Task\n"
        "class Mine(SingleTurn):\n"
        "    def tasks(self, split): return [Task(id=split, prompt='?')]\n"
        "    def grade(self, task, reply): return True\n"
        "class Restores(Mine):\n"
        "    def restore(self, task, saved): return self.start(task)\n"
    )
    graded = {"graders": {"brief": {"kind": "brevity"}}, "reward": "brief"}
    for name, restores in (("Mine", False), ("Restores", True)):
        for more in ({}, graded):
            config = EnvConfig.model_validate({"path": f"{file}:{name}"} | more)
            assert load_config(config).restores is restores
