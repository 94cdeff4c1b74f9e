"""An environment that lives in another process: its tasks and its episodes, over the line."""

from __future__ import annotations

import asyncio
import base64
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from munro.envs.base import Environment, Episode, Policy, call
from munro.envs.remote.pool import Pool, SideSpec
from munro.envs.remote.process import Process, Refused
from munro.envs.remote.wire import (
    BadAnswer,
    BadSide,
    bytes_of,
    grade_of,
    message_data,
    message_of,
    observations_of,
    of,
    task_data,
    task_of,
    trajectory_data,
)
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.errors import EnvironmentFailure
from munro.rewards.types import Grade

T = TypeVar("T")
Answer = Mapping[str, Any]

PAGE = 64
"""Tasks asked for at once, where there are few enough to be remembered."""
MOST_PAGED = 20_000


class Elsewhere(Environment):
    """Everything is asked of a side; see `munro.envs.remote`."""

    sends_tokens = False
    """Whether a side sees what the tokens of a trajectory were."""

    def __init__(self, spec: SideSpec, processes: int) -> None:
        """Start one process, and hear what it is.

        Raises:
            ValueError: it cannot be had, or refuses; one sentence.
        """
        if processes < 1:
            raise ValueError(f"processes = {processes}: at least one.")
        self._pool = Pool(spec, processes)
        weakref.finalize(self, self._pool.close)
        self.hello = self._pool.hello()
        self.name = self.hello.name
        self.budget = self.hello.budget
        self._numbers = itertools.count()

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """The side's own."""
        return self.hello.tools

    @property
    def restores(self) -> bool:
        """Where the side does: then an attempt outlives the process that it ran in."""
        return self.hello.restores

    @property
    def compares(self) -> bool:
        """Where the side does."""
        return self.hello.compares

    def outgoing(self, message: Message) -> Message:
        """A policy's turn as the side sees it."""
        return message

    def tasks(self, split: str) -> Iterable[Task]:
        """The side's own, asked for as they are needed."""
        first, size, _ = self.page(split, 0, PAGE)
        return _Many(self, split, size, first) if size is not None else self._stream(split)

    def page(self, split: str, start: int, most: int) -> tuple[list[Task], int | None, bool]:
        """Some tasks; how many there are, where that is known; whether these are the last.

        Raises:
            ValueError: the side refuses, or answers what are no tasks.
        """
        return _page(self._pool, split, start, most)

    def _stream(self, split: str) -> Iterator[Task]:
        is_end, place = False, 0
        while not is_end:
            tasks, _, is_end = self.page(split, place, PAGE)
            yield from tasks
            place += len(tasks)

    async def start(self, task: Task) -> Episode:
        """An episode in the freest process."""
        return await self._started(task)

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """An episode that goes on, in any process."""
        return await self._started(task, saved=base64.b64encode(saved).decode())

    async def _started(self, task: Task, **saved: str) -> Episode:
        number, process = await call(self._pool.take)
        episode = Attempt(self, process, f"e{next(self._numbers)}", number)
        try:
            await episode.ask("start", _same, task=task_data(task), **saved)
        except BaseException:
            episode.leave()
            raise
        return episode

    async def forget(self, task: Task, saved: bytes) -> None:
        """The side's own."""
        data = base64.b64encode(saved).decode()
        await self._ask("forget", _same, task=task_data(task), saved=data)

    async def gold_reply(self, task: Task) -> list[str] | None:
        """The side's fixed replies, where all are texts."""
        replies = await self._ask("gold", _replies, task=task_data(task))
        if replies is None or not all(isinstance(one, str) for one in replies):
            return None
        return [one for one in replies if isinstance(one, str)]

    async def gold_policy(self, task: Task) -> Policy | None:
        """The side's policy, or its fixed replies where they are messages."""
        process = await call(self._pool.first)
        given = await self._ask_of(process, "gold", _same, task=task_data(task))
        if given.get("policy"):
            return self._policy(process, given["policy"])
        replies = _checked(_replies, given)
        if replies is None or all(isinstance(one, str) for one in replies):
            return None
        left = iter(replies)
        return lambda seen: next(left, "")  # noqa: ARG005 - they are fixed

    def _policy(self, process: Process, policy: Any) -> Policy:
        async def turn(seen: Sequence[Message]) -> Message | str:
            shown = [message_data(message) for message in seen]
            return await self._ask_of(process, "turn", _turn, policy=policy, seen=shown)

        return turn

    async def grade_group(
        self, task: Task, trajectories: Sequence[Trajectory], grades: Sequence[Grade]
    ) -> Sequence[Grade]:
        """The side's last word on a group, where it has one."""
        shown = [trajectory_data(one, tokens=self.sends_tokens) for one in trajectories]
        given = [
            {"reward": g.reward, "passed": g.passed, "parts": dict(g.parts), "reason": g.reason}
            for g in grades
        ]

        def graded(answer: Answer) -> list[Grade]:
            said = of(answer.get("grades"), list, "grades")
            if len(said) != len(grades):
                raise BadAnswer(f"{len(said)} grades of {len(grades)} attempts")
            return [grade_of(of(one, dict, "a grade")) for one in said]

        return await self._ask(
            "group", graded, task=task_data(task), trajectories=shown, grades=given
        )

    async def _ask(self, do: str, convert: Callable[[Answer], T], **what: Any) -> T:
        """A question of no episode."""
        return await self._ask_of(await call(self._pool.first), do, convert, **what)

    async def _ask_of(
        self, process: Process, do: str, convert: Callable[[Answer], T], **what: Any
    ) -> T:
        return await asked(process, do, self._pool.spec.call_s, convert, **what)

    def said_at_once(self, do: str, task: Task, **what: Any) -> Answer:
        """An answer for who cannot await it."""
        process = self._pool.first()
        question = process.ask(do, self.call_s, task=task_data(task), **what)
        try:
            return question.answer.result()
        except Refused as error:
            raise EnvironmentFailure(f"{process.name}: {error}") from error

    def give_back(self, number: int) -> None:
        """An episode's place is free again."""
        self._pool.give_back(number)

    @property
    def call_s(self) -> float:
        """Seconds of a question that nobody gives up before."""
        return self._pool.spec.call_s

    def close(self) -> None:
        """End its processes; nobody needs to, for they end with it."""
        self._pool.close()

    def pids(self) -> list[int]:
        """Of the keepers of its processes."""
        return self._pool.pids()


class Attempt(Episode):
    """One episode, in the process where it began."""

    def __init__(self, home: Elsewhere, process: Process, name: str, number: int) -> None:
        self._home, self._process, self._name = home, process, name
        self._number: int | None = number

    async def ask(self, do: str, convert: Callable[[Answer], T], **what: Any) -> T:
        """Something about this episode."""
        return await asked(
            self._process, do, self._home.call_s, convert, episode=self._name, **what
        )

    async def reply(self, message: Message) -> Sequence[Message] | None:
        said = message_data(self._home.outgoing(message))
        return await self.ask("reply", observations_of, message=said)

    async def grade(self, trajectory: Trajectory) -> Grade:
        shown = trajectory_data(trajectory, tokens=self._home.sends_tokens)
        return await self.ask("grade", grade_of, trajectory=shown)

    async def save(self) -> bytes | None:
        if not self._home.restores:
            return None
        return await self.ask("save", lambda answer: bytes_of(answer.get("saved"), "saved"))

    async def close(self) -> None:
        if self._number is None:
            return
        try:
            await self.ask("close", _same)
        except EnvironmentFailure:
            if self._process.is_alive:  # with a dead one the episode is gone already
                raise
        finally:
            self._given_back()

    def leave(self) -> None:
        """It never began, as far as we know: should it still, the side closes it again."""
        self._process.ask("close", self._home.call_s, episode=self._name)
        self._given_back()

    def _given_back(self) -> None:
        if self._number is not None:
            self._home.give_back(self._number)
            self._number = None


class _Many(Sequence[Task]):
    """As many tasks as the side says, read as they are drawn."""

    def __init__(self, home: Elsewhere, split: str, size: int, first: list[Task]) -> None:
        self._size = size
        self._each = PAGE if size <= MOST_PAGED else 1
        self._first = first
        self._page = lru_cache(maxsize=MOST_PAGED // PAGE + 1)(
            lambda number: home.page(split, number * self._each, self._each)[0]
        )

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, int):
            raise TypeError("one task at a time")
        if not 0 <= place < self._size:
            raise IndexError(place)
        if place < len(self._first):
            return self._first[place]
        page, number = divmod(place, self._each)
        tasks = self._page(page)
        if number >= len(tasks):
            raise EnvironmentFailure(f"the side has no task {place}, and said it had {self._size}")
        return tasks[number]


def _page(pool: Pool, split: str, start: int, most: int) -> tuple[list[Task], int | None, bool]:
    """Some tasks; how many there are, where that is known; whether these are the last."""
    process = pool.first()
    asking = process.ask("tasks", pool.spec.open_s, split=split, start=start, most=most)
    try:
        answer = asking.answer.result()
        given = of(answer.get("tasks"), list, "tasks")
        if len(given) > most:
            raise BadAnswer(f"{len(given)} tasks, and {most} were asked for")
        size = of(answer.get("size"), (int, type(None)), "size")
        if size is not None and size < 0:
            raise BadAnswer(f"size is {size}")
        tasks = [task_of(one, f"tasks[{start + number}]") for number, one in enumerate(given)]
        return tasks, size, of(answer.get("is_end", True), bool, "is_end") or not tasks
    except (Refused, BadAnswer) as error:
        raise BadSide(f"{pool.spec.name}: {error}") from error


async def asked(
    process: Process,
    do: str,
    limit_s: float,
    convert: Callable[[Answer], T],
    *,
    episode: str = "",
    **what: Any,
) -> T:
    """A side's answer, made into what it means.

    Raises:
        EnvironmentFailure: there is none, or it is no answer.
    """
    question = process.ask(do, limit_s, episode=episode, **what)
    try:
        answer = await asyncio.wrap_future(question.answer)
    except asyncio.CancelledError:
        process.give_up(question)
        raise
    except Refused as error:
        raise EnvironmentFailure(f"{process.name}: {error}") from error
    return _checked(convert, answer, f"{process.name}: {do}: ")


def _checked(convert: Callable[[Answer], T], answer: Answer, where: str = "") -> T:
    try:
        return convert(answer)
    except BadAnswer as wrong:
        raise EnvironmentFailure(f"{where}{wrong}") from wrong


def _same(answer: Answer) -> Answer:
    return answer


def _replies(answer: Answer) -> list[str | Message] | None:
    """Gold replies, texts or messages."""
    given = answer.get("replies")
    if given is None:
        return None
    if isinstance(given, str):
        return [given]
    return [
        one if isinstance(one, str) else _policys(message_of(one, f"replies[{number}]"))
        for number, one in enumerate(of(given, list, "replies"))
    ]


def _turn(answer: Answer) -> str | Message:
    said = answer.get("message")
    return said if isinstance(said, str) else _policys(message_of(said, "message"))


def _policys(message: Message) -> Message:
    """A turn of the policy, whose calls have been read, unless it is a plain text of calls."""
    if not message.tool_calls:
        return message
    return Message(
        role="assistant",
        content=message.content,
        tool_calls=message.tool_calls,
        reasoning=message.reasoning,
        is_sampled=True,
    )
