"""All the tasks of a climb, as one endless stream that is a pure function of place and seed.

    index ──► which environment, and its how-manieth draw ──► epoch and place ──► task

Remembering one integer is enough to go on where a run stopped.
"""

from __future__ import annotations

import itertools
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from munro.envs.base import QUITS, Environment
from munro.envs.budget import Budget
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.shuffle import shuffled
from munro.envs.types import Message, Task
from munro.rewards.plugins import blame

MOST_MATERIALISED = 10_000
"""An iterator that is longer counts as endless and is read as it is needed, in its own order."""

MOST_COMPARED = 1_000
"""Training tasks that are made to see whether held-out ones are among them."""


class TaskPool:
    """The tasks of one split of one environment, by place, each one examined.

    A sequence is asked for what is drawn and no more. A short iterator is read to its end. A long
    one is read as far as needed and remembered; when it turns out to end, it starts over.
    """

    def __init__(self, environment: Environment, split: str, name: str = "") -> None:
        """Raises BadEnvironment where `tasks(split)` fails or gives what is no usable task."""
        self.name = name or environment.name
        self.split = split
        self._environment = environment
        self._places: dict[str, int] = {}
        self._stream: Iterator[Task] | None = None
        self._read: Sequence[Task] = []
        try:
            tasks = environment.tasks(split)
            if hasattr(tasks, "__getitem__") and hasattr(tasks, "__len__"):
                self._read = cast(Sequence[Task], tasks)
            else:
                stream = iter(tasks)
                self._read = list(itertools.islice(stream, MOST_MATERIALISED))
                self._stream = stream if len(self._read) == MOST_MATERIALISED else None
        except (Exception, *QUITS) as error:
            raise BadEnvironment(f"{self._where} failed: {_why(error)}") from error
        if isinstance(self._read, list | tuple) and len(self._read) <= MOST_MATERIALISED:
            for place in range(len(self._read)):
                self._examined(place)

    @property
    def size(self) -> int | None:
        """Number of tasks; None where they do not end."""
        return len(self._read) if self._stream is None else None

    def draw(self, position: int, seed: int) -> Task:
        """The task of one draw: each epoch its own shuffle, an endless stream in its own order.

        Raises:
            BadEnvironment: there are no tasks, or this one is unusable.
        """
        self._read_up_to(position)
        if self._stream is not None:
            return self._examined(position)
        size = len(self._read)
        if not size:
            raise BadEnvironment(f"{self._where} holds no tasks.")
        epoch, place = divmod(position, size)
        return self._examined(shuffled(place, size, f"{seed}/{self.name}/{self.split}/{epoch}"))

    @property
    def _where(self) -> str:
        return f"{self.name}: tasks({self.split!r})"

    def _read_up_to(self, position: int) -> None:
        if self._stream is None or position < len(self._read):
            return
        assert isinstance(self._read, list)
        try:
            self._read.extend(itertools.islice(self._stream, position + 1 - len(self._read)))
        except (Exception, *QUITS) as error:
            raise BadEnvironment(f"{self._where} failed: {_why(error)}") from error
        if position >= len(self._read):
            self._stream = None

    def _examined(self, place: int) -> Task:
        try:
            task, tools = self._read[place], self._environment.tools
        except BadEnvironment:
            raise
        except (Exception, *QUITS) as error:
            raise BadEnvironment(f"{self._where}[{place}] failed: {_why(error)}") from error
        if not isinstance(task, Task):
            raise BadEnvironment(
                f"{self._where} gave {task!r:.60} ({type(task).__name__}) at {place}: "
                "every item must be an munro.envs.Task."
            )
        if task.budget is not None and not isinstance(task.budget, Budget):
            raise BadEnvironment(
                f"{self._where}: the budget of task {task.id!r} is {task.budget!r:.60}, and must "
                "be an munro.envs.Budget."
            )
        if not task.messages:
            raise BadEnvironment(f"{self._where}: task {task.id!r} asks nothing: give a prompt.")
        if not isinstance(task.id, str) or not task.id:
            raise BadEnvironment(f"{self._where}: the id {task.id!r} at {place} must be a text.")
        first = self._places.setdefault(task.id, place)
        if first != place and not (self._stream is not None and self._read[first] == task):
            raise BadEnvironment(
                f"{self._where}: the id {task.id!r} stands at {first} and at {place}: "
                "ids must be unique."
            )
        return replace(task, env=self.name, tools=task.tools or tools)


class ProblemSet:
    """Several environments, drawn from in proportion to their weights.

    After any number of draws each environment is less than two draws away from its exact share,
    so every batch has the same mixture. A draw never depends on chance outside `seed`.

    Example:
        problems = ProblemSet([EnvConfig(path="arithmetic")], seed=0)
        problems.task(0)      # the same task in every process, and after every restart
    """

    def __init__(
        self, configs: Sequence[EnvConfig], seed: int, held_out: Sequence[EnvConfig] = ()
    ) -> None:
        """Load them all.

        Args:
            configs: environments to train on.
            seed: of the stream.
            held_out: environments whose held-out tasks stand in for theirs; the same where empty.
                One that is trained on too is loaded once, and has one name.

        Raises:
            BadEnvironment: one cannot be loaded, or has no tasks to train on.
        """
        if not configs:
            raise BadEnvironment("The problem set is empty: name at least one environment.")
        self._seed = seed
        shared = [_place(one, configs) for one in held_out]
        others = [one for one, place in zip(held_out, shared, strict=True) if place is None]
        loaded = [(one, load_config(one)) for one in (*configs, *others)]
        names = unique_names([one.name or environment.name for one, environment in loaded])
        self._environments: dict[str, Environment] = dict(
            zip(names, (environment for _, environment in loaded), strict=True)
        )
        self.names = tuple(names[: len(configs)])
        """Of those that are trained on, in the order of the configs."""
        self._pools = [TaskPool(self._environments[n], "train", n) for n in self.names]
        for pool in self._pools:
            if pool.size == 0:
                raise BadEnvironment(f"{pool.name}: tasks('train') holds no tasks.")
        self._turns = _Turns([one.weight for one in configs])
        more = iter(names[len(configs) :])
        self.held_out_names = self.names
        """Of those that are evaluated."""
        self._held_out_turns = self._turns
        if held_out:
            self.held_out_names = tuple(
                next(more) if place is None else names[place] for place in shared
            )
            self._held_out_turns = _Turns([one.weight for one in held_out])

    @property
    def total(self) -> int | None:
        """Tasks of all environments together, one pass; None where one does not end."""
        sizes = [pool.size for pool in self._pools]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def environment(self, name: str) -> Environment:
        """The environment that runs a task whose `env` is `name`."""
        return self._environments[name]

    def task(self, index: int) -> Task:
        """Task number `index` of the stream, from 0, without end.

        Raises:
            BadEnvironment: the environment gave no usable task.
        """
        if index < 0:
            raise IndexError(f"task({index}): the stream starts at 0")
        which, position = self._turns.at(index)
        return self._pools[which].draw(position, self._seed)

    def held_out(self, num: int) -> list[Task]:
        """At most `num` tasks of the split "test", by weight, always the same ones.

        Fewer where an environment has fewer than its share; none of them twice.

        Raises:
            BadEnvironment: an environment has no held-out tasks.
        """
        pools = [TaskPool(self._environments[n], "test", n) for n in self.held_out_names]
        for pool in pools:
            if pool.size == 0:
                raise BadEnvironment(
                    f"{pool.name}: tasks('test') holds no tasks, so nothing can be evaluated on "
                    "problems it was not trained on: give it some, or turn evaluation off."
                )
        draws = [self._held_out_turns.at(place) for place in range(num)]
        return [
            pools[which].draw(position, self._seed)
            for which, position in draws
            if position < (pools[which].size or sys.maxsize)
        ]

    def num_trained_on(self, tasks: Sequence[Task]) -> int:
        """How many of these held-out tasks ask what a training task asks too.

        Looks at environments with at most `MOST_COMPARED` tasks to train on.
        """
        trained: dict[str, set[tuple[Message, ...]]] = {}
        for pool in self._pools:
            if pool.size is not None and pool.size <= MOST_COMPARED:
                draws = (pool.draw(place, self._seed) for place in range(pool.size))
                trained[pool.name] = {task.messages for task in draws}
        return sum(task.messages in trained.get(task.env, ()) for task in tasks)


class _Turns:
    """Whose turn each draw is, by weight, and the how-manieth draw of theirs."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self._shares = [weight / total for weight in weights]
        self._drawn = [0] * len(weights)
        self._which = array("I")
        self._position = array("Q")

    def at(self, index: int) -> tuple[int, int]:
        """(who, draws of theirs before) of draw number `index`, from 0."""
        while len(self._which) <= index:
            self._schedule_one()
        return self._which[index], self._position[index]

    def _schedule_one(self) -> None:
        """The next draw goes to whoever is furthest behind its share; the first one of equals."""
        index = len(self._which)
        behind = [
            share * (index + 1) - drawn
            for share, drawn in zip(self._shares, self._drawn, strict=True)
        ]
        which = behind.index(max(behind))
        self._which.append(which)
        self._position.append(self._drawn[which])
        self._drawn[which] += 1


def _place(config: EnvConfig, among: Sequence[EnvConfig]) -> int | None:
    """Where the same environment stands among these, whatever their shares; None where nowhere."""
    return next((at for at, other in enumerate(among) if other.alone == config.alone), None)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names that environments go by in one problem set: a second "sums" is "sums#2"."""
    found: list[str] = []
    for name in names:
        again = (f"{name}#{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(new for new in again if new not in found))
    return found


def _why(error: BaseException) -> str:
    """A sentence as it is; of anything else where and what."""
    is_sentence = isinstance(error, ValueError) and getattr(error, "is_sentence", False)
    return str(error) if is_sentence else blame(error)
