"""What an environment is: tasks to hand out, and episodes that play them.

    Environment.tasks(split) ──► Task ──► Environment.start(task) ──► Episode
    Episode.reply(message)   ──► observations, or None when it is over
    Episode.grade(trajectory) ─► Grade

An environment sees text, never tokens. Every method that a user writes may be sync or async; the
side that drives them goes through `call`. What user code raises propagates as it is, but for what
would end the process that runs it: that becomes a `Quit`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import numbers
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from munro.envs import threads
from munro.envs.budget import Budget
from munro.envs.types import Answer, CallRecord, Message, Task, Trajectory
from munro.rewards.errors import GraderError
from munro.rewards.types import Grade

Outcome = Grade | bool | float | None
"""What a user's `grade` may return; None means that it could not be scored."""

Policy = Callable[[Sequence[Message]], Awaitable[Message | str] | Message | str]
"""All observations so far, of every turn, to the policy's next turn. A text calls in the Hermes
form (`munro.envs.tool_use`)."""


BOX_MB = 512
"""MiB of memory that a box usually needs, beside files that it keeps there."""
QUITS = (SystemExit, KeyboardInterrupt)
"""What code raises that wants to end its process; most do not know that it is not theirs."""


class Quit(Exception):
    """User code wanted to end the process, or cancelled what it was called from.

    Example:
        Quit("SystemExit: 3")
    """

    @classmethod
    def of(cls, error: BaseException) -> Quit:
        """The same as an exception that a process survives."""
        quit_ = cls(f"{type(error).__name__}: {error}".removesuffix(": "))
        quit_.__cause__ = error
        return quit_


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call user code without blocking the event loop, whether it is sync or async.

    A sync function runs in a thread that is its own meanwhile: a daemon, so that one that never
    returns can be given up (cancelled by a deadline) without keeping the process alive.

    Raises:
        Quit: it raised SystemExit, KeyboardInterrupt or the like, which would end the loop and
            with it everybody else's work.
        Exception: what it raised.
    """
    if inspect.iscoroutinefunction(function):
        return await _surviving(function(*args))
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args)
        except StopIteration as raised:  # a future refuses to carry this one
            error = RuntimeError(f"{_name_of(function)} raised StopIteration")
            error.__cause__ = raised
        except BaseException as raised:  # noqa: BLE001 - carried over to the caller, not handled
            error = raised if isinstance(raised, Exception) else Quit.of(raised)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threads.start(f"call {_name_of(function)}", run)
    result = await done
    return await _surviving(result) if inspect.isawaitable(result) else result


def contain(loop: asyncio.AbstractEventLoop) -> None:
    """Let no task of this loop end it: also not one that user code starts by itself.

    A task that raises SystemExit stops its event loop, whoever waits for the task. From now on such
    a task fails with `Quit` instead.
    """

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_surviving(work), loop=loop, **options)

    loop.set_task_factory(make)


async def _surviving(work: Awaitable[Any]) -> Any:
    """Await user code; what would end more than itself is a `Quit`."""
    try:
        return await work
    except QUITS as error:
        raise Quit.of(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # nobody cancelled this call: the code inside did, to itself or to what it waits for
        raise Quit.of(error) from error


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def as_grade(outcome: Outcome) -> Grade:
    """The grade that a user's `grade` meant.

    Raises:
        GraderError: it returned None (could not be scored), or something that is no grade.
    """
    match outcome:
        case Grade():
            return outcome
        case None:
            raise GraderError("the grader returned None, so the attempt is unscored")
        case bool() | np.bool_():
            return Grade.of(bool(outcome))
        case numbers.Real():
            return Grade.of(float(outcome))
    raise GraderError(
        f"the grader returned {outcome!r:.80} ({type(outcome).__name__}): return a Grade, "
        "a bool (passed or not) or a finite number (the reward)"
    )


class Over(tuple[Message, ...]):
    """What an episode may reply in place of None: the last answers, on record and shown to nobody.

    Example:
        Over([Answer(role="tool", content="submitted", tool_call_id="call00000")])
    """

    __slots__ = ()


def heard(
    turn: int, message: Message, observations: Sequence[Message] | None, seconds: float
) -> tuple[list[Message] | None, tuple[CallRecord, ...]]:
    """What an episode answered, and the record of the calls that it answered.

    Args:
        turn: number of the policy's turn.
        message: the turn.
        observations: what came of it; None, or an `Over`, where the episode is over.
        seconds: wall seconds that this took.

    Returns:
        The observations as plain messages, and a record a call. Of an `Answer` it is what that
        says; of another message that answers the call, its share of the time.
    """
    answers = {one.tool_call_id: one for one in observations or () if one.tool_call_id}
    share = seconds / max(len(message.tool_calls), 1)
    records = []
    for made in message.tool_calls:
        answer = answers.get(made.id)
        error, spent = made.error, share
        if isinstance(answer, Answer):
            error, spent = answer.error or error, answer.seconds
        elif answer is None and observations is not None:
            error = error or "not answered"
        records.append(
            CallRecord(
                turn=turn,
                id=made.id,
                name=made.name,
                arguments=made.arguments,
                ok=not error,
                seconds=spent,
                error=error,
            )
        )
    if observations is None or isinstance(observations, Over):
        return None, tuple(records)
    return [one.plain if isinstance(one, Answer) else one for one in observations], tuple(records)


class Episode(ABC):
    """One attempt at one task. Used once, then closed; nothing is ever reset."""

    @abstractmethod
    def reply(
        self, message: Message
    ) -> Sequence[Message] | Awaitable[Sequence[Message] | None] | None:
        """Take the policy's turn; return what it observes next, or None when the episode is over.

        An answer to one of `message.tool_calls` names the call as its `tool_call_id`, and may be an
        `Answer`, which says for the record how long it took and why it failed.

        What the model got wrong (a malformed call, say) is an observation, never an exception.
        """

    @abstractmethod
    def grade(self, trajectory: Trajectory) -> Outcome | Awaitable[Outcome]:
        """Judge the finished attempt.

        Raises:
            GraderError: no grade could be had; the attempt is tried again, never scored.
        """

    def save(self) -> bytes | Awaitable[bytes | None] | None:
        """The episode as it is after a turn, for `Environment.restore`; None where it cannot say.

        Asked for after every turn that was answered, where the environment restores.
        """
        return None

    def close(self) -> Awaitable[None] | None:
        """Free whatever the episode holds. Called exactly once, also after a failure."""
        return None


class Environment(ABC):
    """Hands out tasks, and starts an episode for each attempt at one."""

    name: str
    """How reports and stores call it; the class name in lower case unless given."""
    file_args: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments that name files: made absolute before another process loads it."""
    needs_graders: bool = False
    """It grades nothing by itself: `[env.graders]` must."""
    budget: Budget = Budget()
    """What an episode may spend; what `[env.budget]` says has been laid over the class's own where
    the environment was loaded from a config."""

    @classmethod
    def files(cls, args: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG003 - some look at them
        """Which of these arguments name files."""
        return cls.file_args

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    @abstractmethod
    def tasks(self, split: str) -> Iterable[Task]:
        """Tasks of "train" or "test", the same ones at every call.

        A list, an iterator (endless ones too), or for millions of tasks an object with `__len__`
        and `__getitem__`, of which only the tasks drawn are ever made.
        """

    @abstractmethod
    def start(self, task: Task) -> Episode | Awaitable[Episode]:
        """A new episode for one attempt."""

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """JSON schemas put on every task that brings none of its own."""
        return ()

    def gold_reply(self, task: Task) -> str | Sequence[str] | Awaitable[Any] | None:  # noqa: ARG002
        """What a perfect policy writes: one text, or one per turn. None where nobody knows."""
        return None

    def careless_reply(self, task: Task, draw: float) -> str | None:  # noqa: ARG002
        """What a policy that can do it but takes no care writes: what a small base is to begin
        with. None where nobody knows.

        Args:
            task: one of these.
            draw: a number in [0, 1) that decides among several.
        """
        return None

    def gold_policy(
        self,
        task: Task,  # noqa: ARG002
    ) -> Policy | Awaitable[Policy | None] | None:
        """A perfect policy that acts on what it observes, for tasks that no fixed replies solve.

        None where `gold_reply` says it, or nobody knows.
        """
        return None

    def restore(self, task: Task, saved: bytes) -> Episode | Awaitable[Episode]:
        """An episode that goes on where `Episode.save` was called; override it to opt in.

        An attempt whose machine was lost then goes on from its last saved turn, not from its start.
        What was saved is our own, but it may come from another process.
        """
        raise NotImplementedError(f"{self.name} restores no episodes")

    def forget(self, task: Task, saved: bytes) -> Awaitable[None] | None:  # noqa: ARG002
        """Nobody will go on from `saved`: free what it names. Asked where an attempt that has no
        grade begins anew or is given up; an episode that was graded frees its own when it closes.
        """
        return None

    @property
    def box_mb(self) -> int:
        """MiB of memory that one of its boxes may need, files that are kept in memory included: so
        many does `boxes = "auto"` let be open."""
        return BOX_MB

    @property
    def restores(self) -> bool:
        """Whether its episodes can go on after their machine was lost."""
        return type(self).restore is not Environment.restore

    @property
    def compares(self) -> bool:
        """Whether it has a last word on whole groups."""
        return type(self).grade_group is not Environment.grade_group

    def grade_group(
        self,
        task: Task,  # noqa: ARG002
        trajectories: Sequence[Trajectory],  # noqa: ARG002
        grades: Sequence[Grade],
    ) -> Sequence[Grade] | Awaitable[Sequence[Grade]]:
        """Last word on a whole group, for judging attempts against each other."""
        return grades


class SingleTurn(Environment):
    """One question, one reply, one grade: write `tasks`, `grade`, and if you can `gold_reply`.

    Example:
        class Reverse(SingleTurn):
            def tasks(self, split):
                return [Task(id="munro", prompt="Spell 'munro' backwards.")]

            def grade(self, task, reply):
                return Grade.of(reply.strip() == task.id[::-1])
    """

    @abstractmethod
    def grade(self, task: Task, reply: str) -> Outcome | Awaitable[Outcome]:
        """Judge the reply's text. Sync or async."""

    def start(self, task: Task) -> Episode:
        """An episode that is over after one reply."""
        return _OneReply(self, task)


class _OneReply(Episode):
    def __init__(self, environment: SingleTurn, task: Task) -> None:
        self._environment = environment
        self._task = task

    async def reply(self, message: Message) -> None:  # noqa: ARG002
        return None

    async def grade(self, trajectory: Trajectory) -> Grade:
        return as_grade(await call(self._environment.grade, self._task, trajectory.reply))
