"""Drawing tasks by weight, and playing them: conversations with tools, sync and async user code."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest

from munro.envs import (
    BadEnvironment,
    Environment,
    Grade,
    SingleTurn,
    Task,
    ToolError,
    ToolUse,
    tool,
)
from munro.envs.base import Quit, as_grade, call, contain
from munro.envs.check import check, gold_of, play
from munro.envs.config import EnvConfig
from munro.envs.problem_set import MOST_MATERIALISED, ProblemSet, TaskPool
from munro.envs.shuffle import shuffled
from munro.envs.tool_use import parse_calls
from munro.rewards.errors import GraderError

HERE = Path(__file__)


class Countless(SingleTurn):
    """An endless stream, each task twice in a row."""

    def tasks(self, split):
        n = 0
        while True:
            yield Task(id=f"{n // 2}", prompt=f"Say {n // 2}.")
            n += 1

    def grade(self, task, reply):
        return reply == task.id


class Few(SingleTurn):
    """Five tasks from an iterator, and none held out."""

    def tasks(self, split):
        return (Task(id=f"{n}", prompt=f"Say {n}.") for n in range(5 if split == "train" else 0))

    async def grade(self, task, reply):
        await asyncio.sleep(0)
        return reply == task.id


class Shop(ToolUse):
    """Prices by asking, with a till that remembers."""

    closed: ClassVar[list[dict]] = []

    def tasks(self, split):
        yield Task(id="pear", prompt="Buy two pears.", payload={"cost": 6})

    def setup(self, task):
        return {"spent": 0}

    def teardown(self, state):
        self.closed.append(state)

    @tool
    def price(self, fruit: str) -> int:
        """Price of one fruit."""
        prices = {"pear": 3}
        if fruit not in prices:
            raise ToolError(f"no {fruit} here")
        return prices[fruit]

    @tool
    async def buy(self, state: dict, fruit: str, count: int = 1) -> str:
        """Pay for some fruit."""
        state["spent"] += self.price(fruit) * count
        return "thank you"

    def grade(self, task, reply, state):
        return Grade.of(state["spent"] == task.payload["cost"] and "done" in reply)

    def gold_reply(self, task):
        return [
            'Let me see. <tool_call>{"name": "price", "arguments": {"fruit": "pear"}}</tool_call>',
            '<tool_call>{"name": "buy", "arguments": {"fruit": "pear", "count": 2}}</tool_call>',
            "done",
        ]


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 1000])
def test_a_shuffle_is_a_permutation_and_depends_on_its_key(size):
    assert sorted(shuffled(i, size, "a") for i in range(size)) == list(range(size))
    if size > 16:
        assert [shuffled(i, size, "a") for i in range(size)] != [
            shuffled(i, size, "b") for i in range(size)
        ]


def mixed(*weights: float) -> ProblemSet:
    configs = [
        EnvConfig(path="arithmetic", weight=w, args={"level": level})
        for level, w in enumerate(weights, 1)
    ]
    return ProblemSet(configs, seed=3)


def test_every_prefix_has_the_mixture_that_the_weights_ask_for():
    problems = mixed(1, 2.5, 0.5)
    assert problems.names == ("arithmetic", "arithmetic#2", "arithmetic#3")
    drawn: Counter[str] = Counter()
    for index in range(400):
        drawn[problems.task(index).env] += 1
        for name, weight in zip(problems.names, (1, 2.5, 0.5), strict=True):
            assert abs(drawn[name] - weight / 4 * (index + 1)) < 2


def test_any_index_is_the_same_task_wherever_one_starts():
    problems = mixed(1, 1)
    straight = [problems.task(index) for index in range(40)]
    resumed = mixed(1, 1)
    assert [resumed.task(index) for index in range(39, 19, -1)] == straight[39:19:-1]
    assert ProblemSet([EnvConfig(path="arithmetic")], seed=1).task(0) != straight[0]


def test_an_epoch_holds_every_task_once_and_the_next_is_shuffled_anew():
    problems = ProblemSet([EnvConfig(path=f"{HERE}:Few")], seed=0)
    assert problems.total == 5
    epochs = [[problems.task(5 * e + i).id for i in range(5)] for e in range(4)]
    assert all(sorted(epoch) == ["0", "1", "2", "3", "4"] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_nothing_held_out_is_an_error_and_never_the_training_tasks():
    problems = ProblemSet([EnvConfig(path=f"{HERE}:Few")], seed=0)
    with pytest.raises(BadEnvironment, match=r"few: tasks\('test'\) holds no tasks"):
        problems.held_out(3)


def test_an_endless_stream_is_read_as_needed_in_its_own_order():
    problems = ProblemSet([EnvConfig(path=f"{HERE}:Countless")], seed=0)
    assert problems.total is None
    far = MOST_MATERIALISED + 100
    assert problems.task(far).id == f"{far // 2}"
    assert problems.task(3).id == "1"


def test_only_the_tasks_that_are_drawn_are_made():
    made = []

    class Lazy:
        def __len__(self):
            return 10**12

        def __getitem__(self, index):
            made.append(index)
            return Task(id=str(index), prompt="?")

    class Vast(Few):
        def tasks(self, split):
            return Lazy()

    pool = TaskPool(Vast(), "train")
    assert pool.size == 10**12
    assert len({pool.draw(position, 0).id for position in range(50)}) == 50
    assert len(made) == 50


def test_tools_become_schemas_on_the_task():
    task = TaskPool(Shop(), "train").draw(0, 0)
    price, buy = sorted((t["function"] for t in task.tools), key=lambda f: f["name"], reverse=True)
    assert (price["name"], price["description"]) == ("price", "Price of one fruit.")
    assert buy["parameters"]["properties"] == {
        "fruit": {"type": "string"},
        "count": {"type": "integer", "default": 1},
    }
    assert buy["parameters"]["required"] == ["fruit"]


async def test_a_conversation_with_tools_ends_on_a_turn_without_a_call():
    shop = Shop()
    (task,) = shop.tasks("train")
    Shop.closed.clear()
    grade, _ = await play(shop, task, shop.gold_reply(task))
    assert grade.passed
    assert Shop.closed == [{"spent": 6}]
    grade, _ = await play(shop, task, ["done"])
    assert grade.passed is False


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('<tool_call>{"name": "price"', "is not closed"),
        ("<tool_call>{price}</tool_call>", "is not JSON"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "is not JSON"),
        ('<tool_call>{"name": 3}</tool_call>', "a call is written"),
        ("<tool_call>[]</tool_call>", "a call is written"),
        ('<tool_call>{"name": "steal"}</tool_call>', "no tool 'steal'; there are: buy, price"),
        ('<tool_call>{"name": "price"}</tool_call>', "fruit: Field required"),
        (
            '<tool_call>{"name": "buy", "arguments": {"fruit": "pear", "state": {}}}</tool_call>',
            "state: Extra inputs are not permitted",
        ),
        (
            '<tool_call>{"name": "price", "arguments": {"fruit": "fig"}}</tool_call>',
            "no fig here",
        ),
        ('<tool_call>{"name": "buy", "arguments": {"count": NaN}}</tool_call>', "is not JSON"),
    ],
)
async def test_a_bad_call_is_an_observation(text, answer):
    from munro.envs import Message

    shop = Shop()
    episode = shop.start(next(iter(shop.tasks("train"))))
    (observation,) = await episode.reply(Message(role="assistant", content=text))
    assert observation.role == "tool"
    assert observation.content.startswith("Error: ")
    assert answer in observation.content


async def test_only_so_many_calls_of_one_turn_are_carried_out():
    from munro.envs import Message

    shop = Shop()
    episode = shop.start(next(iter(shop.tasks("train"))))
    one = '<tool_call>{"name": "price", "arguments": {"fruit": "pear"}}</tool_call>'
    observations = await episode.reply(Message(role="assistant", content=one * 1000))
    assert [o.content for o in observations[:-1]] == ["3"] * Shop.most_calls
    assert "more than 16 calls" in observations[-1].content


def test_calls_are_found_in_order_among_other_text():
    text = 'a<tool_call>{"name": "f"}</tool_call>b<tool_call>{"name": "g", "arguments": {"x": 1}}'
    first, second = parse_calls(text + "</tool_call>")
    assert (first.name, first.arguments, second.name) == ("f", "{}", "g")
    assert second.arguments == '{"x": 1}'


async def test_sync_and_async_user_code_are_called_alike_and_raise_as_they_are():
    async def later(x):
        return x + 1

    def fail():
        raise KeyError("theirs")

    def stop():
        raise StopIteration

    assert await call(lambda x: x + 1, 1) == 2
    assert await call(later, 1) == 2
    assert await call(lambda: later(1)) == 2
    with pytest.raises(KeyError, match="theirs"):
        await call(fail)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await call(stop)


def test_a_task_that_user_code_starts_cannot_end_the_loop_either():
    async def leaves():
        raise SystemExit(3)

    async def starts_some():
        await asyncio.gather(leaves(), leaves())

    async def main():
        contain(asyncio.get_running_loop())
        with pytest.raises(Quit, match="SystemExit: 3"):
            await call(starts_some)
        waiting = asyncio.ensure_future(asyncio.Event().wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return "alive"

    assert asyncio.run(main()) == "alive"


async def test_a_call_that_never_returns_can_be_given_up():
    import threading

    forever = threading.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(forever.wait), 0.05)
    forever.set()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("outcome", "reward", "passed"),
    [(True, 1.0, True), (False, 0.0, False), (0.5, 0.5, None), (2, 2.0, None)],
)
def test_verdicts_and_numbers_become_grades(outcome, reward, passed):
    grade = as_grade(outcome)
    assert (grade.reward, grade.passed) == (reward, passed)


@pytest.mark.parametrize("outcome", [None, "good", float("nan"), [1]])
def test_what_is_no_grade_is_unscored(outcome):
    with pytest.raises(GraderError):
        as_grade(outcome)


def test_the_check_plays_conversations_too():
    report = check(f"{HERE}:Shop")
    assert report.problems == ()
    assert len(report.gold) == 3
    assert gold_of(Few(), Task(id="1", prompt="?")) == ()
    assert issubclass(Shop, Environment)
