"""Any environment, with graders added and a reward combined from what they say.

    [env]
    path = "arithmetic"
    [env.graders.brief]
    kind = "brevity"
    [env.reward]
    kind = "lexicographic"
    parts = ["task", "brief"]          # "task" is the environment's own grade

A part may be one figure of a grade ("safe/compliance"); a grader is asked once for all of its own.

An attempt is first graded as far as it takes to tell whether it passes, for that is what the gates
of a climb count. Once a group is complete the rest is scored: only parts that the reward needs, so
nothing behind a closed gate, and graders that compare attempts see the whole group.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from munro.envs.base import Environment, Episode, Outcome, as_grade, call
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.combine import Combination
from munro.rewards.combine.parts import OWN, GraderConfig, WatchConfig, check_parts
from munro.rewards.combine.tree import levels, names, owner
from munro.rewards.combine.watch import is_looked_at, seen, unseen, watches
from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.kinds import Grader, check_item, find, is_joint, make
from munro.rewards.language import visible
from munro.rewards.preference.context import context_of
from munro.rewards.types import Grade

MOST_AT_ONCE = 64
"""Gradings of one group that run at the same time."""
MOST_REASON = 300
"""Characters of a grade's reason."""


class Combined(Environment):
    """An environment whose reward is a tree over parts."""

    def __init__(
        self, environment: Environment, graders: Mapping[str, GraderConfig], reward: Any
    ) -> None:
        """
        Args:
            environment: whose tasks and episodes these are.
            graders: by the name of their part. What `reward` does not name is scored and shown,
                but not paid.
            reward: a tree of `munro.rewards.combine.tree`.

        Raises:
            ValueError: a grader's options are wrong, it has no such part, or a gate would pay those
                who fail it.
        """
        self.name = environment.name
        self.environment = environment
        self.budget = environment.budget
        self._configs = dict(graders)
        self._leaves = names(reward)
        self._own = OWN in map(owner, self._leaves)
        self._levels = levels(reward)
        check_parts(graders, reward)
        self._combination = Combination(reward, _ranges(graders, self._leaves))
        self._graders = {name: _made(name, one) for name, one in graders.items()}
        self._watches = watches(graders)
        self._second = {
            name: _made(f"{name}.watch", watch, alone=True) for name, watch in self._watches.items()
        }
        # processes and connections of the graders end with whoever uses them
        weakref.finalize(self, _close, [*self._graders.values(), *self._second.values()])
        late = {name for name, one in graders.items() if one.late or self._is_joint(name)}
        self._late = {*late, *(leaf for leaf in self._leaves if owner(leaf) in late)}
        if self._own and environment.compares:
            raise ValueError(
                f"{environment.name} compares attempts itself (grade_group): its own grade cannot "
                f"be combined with others. Leave {OWN!r} out of env.reward."
            )

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """The environment's own."""
        return self.environment.tools

    def tasks(self, split: str) -> Iterable[Task]:
        """The environment's own."""
        return self.environment.tasks(split)

    def gold_reply(self, task: Task) -> Any:
        """The environment's own."""
        return self.environment.gold_reply(task)

    def careless_reply(self, task: Task, draw: float) -> str | None:
        """The environment's own."""
        return self.environment.careless_reply(task, draw)

    def gold_policy(self, task: Task) -> Any:
        """The environment's own."""
        return self.environment.gold_policy(task)

    async def start(self, task: Task) -> Episode:
        """An episode of the environment, graded here."""
        return _Graded(self, task, await call(self.environment.start, task))

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """An episode of the environment, as it was saved, graded here."""
        return _Graded(self, task, await call(self.environment.restore, task, saved))

    async def forget(self, task: Task, saved: bytes) -> None:
        """The environment's own."""
        await call(self.environment.forget, task, saved)

    @property
    def box_mb(self) -> int:
        """The environment's own."""
        return self.environment.box_mb

    @property
    def restores(self) -> bool:
        """Where the environment does."""
        return self.environment.restores

    async def first_grade(self, task: Task, trajectory: Trajectory, episode: Episode) -> Grade:
        """The verdict on one attempt, and the parts that it takes."""
        scores = _Scores(self._brought(task))
        tree = self._combination
        while wanted := tree.undecided(scores.known, scores.passed, self._late):
            await self._score_one(wanted, task, trajectory, episode, scores)
        verdict = tree.verdict(scores.known, scores.passed)
        left = tree.needed([scores.known])
        if verdict is None:
            # nothing can tell but the reward itself: score all that needs no siblings
            while now := [name for name in left if name not in self._late]:
                await self._score_one(now, task, trajectory, episode, scores)
                left = tree.needed([scores.known])
        elif left and self._own and OWN not in scores.known:
            # the environment grades while the episode lives: later is too late
            await self._score_one([OWN], task, trajectory, episode, scores)
            left = tree.needed([scores.known])
        reward = float(bool(verdict)) if left else tree.rewards([scores.known])[0]
        return Grade(reward=reward, passed=verdict, parts=scores.known, reason=scores.reason())

    async def grade_group(
        self, task: Task, trajectories: Sequence[Trajectory], grades: Sequence[Grade]
    ) -> list[Grade]:
        """Everything else, and the reward of each attempt."""
        group = [_Scores(dict(grade.parts)) for grade in grades]
        known = [scores.known for scores in group]
        everyone = list(range(len(group)))
        while wanted := self._combination.needed(known):
            await self._score(wanted, task, trajectories, group)
        paid = set(map(owner, self._leaves))
        watched = {name: everyone for name in self._graders if name not in paid}
        if watched:
            await self._score(watched, task, trajectories, group)
        rewards = self._combination.rewards(known)
        await self._look(task, trajectories, known)
        return [
            Grade(
                reward=reward,
                passed=grade.passed,
                parts=scores.known,
                reason=_joined(grade.reason, scores.reason()),
            )
            for reward, grade, scores in zip(rewards, grades, group, strict=True)
        ]

    def _brought(self, task: Task) -> dict[str, float]:
        """Levels of severity that the task brings."""
        brought = {}
        for name in self._levels:
            value = task.payload.get(name)
            if isinstance(value, int | float):
                brought[name] = float(value)
        return brought

    async def _score_one(
        self,
        wanted: Iterable[str],
        task: Task,
        trajectory: Trajectory,
        episode: Episode,
        scores: _Scores,
    ) -> None:
        for name in dict.fromkeys(map(owner, wanted)):
            if name == OWN:
                self._enter(scores, name, await call(episode.grade, trajectory))
                continue
            item = self._item(name, self._configs[name], task, trajectory)
            self._enter(scores, name, await call(self._graders[name].grade, item))

    async def _score(
        self,
        wanted: Mapping[str, Sequence[int]],
        task: Task,
        trajectories: Sequence[Trajectory],
        group: Sequence[_Scores],
    ) -> None:
        """Score parts of some attempts, all at once as far as they may."""
        room = asyncio.Semaphore(MOST_AT_ONCE)

        async def alone(name: str, row: int) -> None:
            async with room:
                item = self._item(name, self._configs[name], task, trajectories[row])
                grade = await call(self._graders[name].grade, item)
            self._enter(group[row], name, grade)

        async def together(name: str, rows: Sequence[int]) -> None:
            config = self._configs[name]
            items = [self._item(name, config, task, trajectories[row]) for row in rows]
            grades = await call(self._graders[name].grade_group, items)
            for row, grade in zip(rows, grades, strict=True):
                self._enter(group[row], name, grade)

        work = []
        by_grader: dict[str, set[int]] = {}
        for leaf, rows in wanted.items():
            by_grader.setdefault(owner(leaf), set()).update(rows)
        for name, rows in ((name, sorted(found)) for name, found in by_grader.items()):
            if self._is_joint(name):
                work.append(together(name, rows))
            else:
                work += [alone(name, row) for row in rows]
        await asyncio.gather(*work)

    async def _look(
        self, task: Task, trajectories: Sequence[Trajectory], known: Sequence[dict[str, float]]
    ) -> None:
        """Ask the second judges about their sample of what the first ones scored."""
        room = asyncio.Semaphore(MOST_AT_ONCE)

        async def one(name: str, row: int) -> None:
            watch, trajectory = self._watches[name], trajectories[row]
            async with room:
                item = self._item(f"{name}.watch", watch, task, trajectory)
                try:
                    grade = as_grade(await call(self._second[name].grade, item))
                    known[row].update(seen(name, watch.part, grade))
                except EpisodeError:
                    known[row].update(unseen(name))

        await asyncio.gather(
            *(
                one(name, row)
                for name, watch in self._watches.items()
                for row, each in enumerate(trajectories)
                if name in known[row]
                and is_looked_at(watch.share, name, task.id, row, each.oldest_version, each.reply)
            )
        )

    def _enter(self, scores: _Scores, name: str, outcome: Outcome) -> None:
        """One grader's figures; what the reward is made of must be among them."""
        scores.enter(name, as_grade(outcome), self._configs.get(name))
        for leaf in self._leaves:
            if owner(leaf) == name and leaf not in scores.known:
                raise GraderError(f"the grade of {name!r} holds no part {leaf.partition('/')[2]!r}")

    def _is_joint(self, name: str) -> bool:
        return hasattr(self._graders[name], "grade_group")

    def _item(
        self, name: str, config: GraderConfig | WatchConfig, task: Task, trajectory: Trajectory
    ) -> dict[str, Any]:
        """What a grader is given: the task's own fields, and these."""
        item = {
            "prompt": context_of([{"role": m.role, "content": m.content} for m in task.messages]),
            "messages": _said(task, trajectory, config.thoughts),
            "task_id": task.id,
            **task.payload,
            "response": trajectory.reply if config.thoughts else visible(trajectory.reply),
            "num_tokens": trajectory.num_sampled,
        }
        for wanted, called in config.fields.items():
            if called not in item:
                raise ValueError(f"the task {task.id!r} has no field {called!r} (graders.{name})")
            item[wanted] = item[called]
        # whoever says what the question is means only that
        if {"question", "prompt"} & config.fields.keys():
            del item["messages"]
        check_item(config.kind, item)
        return item


@dataclass(frozen=True, slots=True)
class _Scores:
    """What is known of one attempt, by part."""

    known: dict[str, float]
    passed: dict[str, bool | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, grade: Grade, config: GraderConfig | None) -> None:
        """One part, with the parts of its own beside it."""
        self.known[name] = grade.reward
        self.known.update({f"{name}/{part}": value for part, value in grade.parts.items()})
        self.passed[name] = grade.passed
        if config is not None and config.pass_at is not None:
            self.passed[name] = grade.reward >= config.pass_at
        self.reasons[name] = grade.reason

    def reason(self) -> str:
        return _joined(*(f"{name}: {why}" for name, why in self.reasons.items() if why))


class _Graded(Episode):
    """An episode of the environment inside, with a grade of our own."""

    def __init__(self, combined: Combined, task: Task, inner: Episode) -> None:
        self._combined, self._task, self._inner = combined, task, inner

    async def reply(self, message: Message) -> Sequence[Message] | None:
        seen: Sequence[Message] | None = await call(self._inner.reply, message)
        return seen

    async def grade(self, trajectory: Trajectory) -> Grade:
        return await self._combined.first_grade(self._task, trajectory, self._inner)

    async def save(self) -> bytes | None:
        saved: bytes | None = await call(self._inner.save)
        return saved

    async def close(self) -> None:
        await call(self._inner.close)


def _ranges(
    graders: Mapping[str, GraderConfig], leaves: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """Least and largest value of every grader, and of the figures that the reward names."""
    scales = {name: config.scale() for name, config in graders.items()}
    ranges = {name: config.range or scales[name].range for name, config in graders.items()}
    for leaf in leaves:
        name, _, key = leaf.partition("/")
        if name in scales and (part := scales[name].part(key)) is not None:
            ranges[leaf] = part.range
    return ranges


def _said(task: Task, trajectory: Trajectory, thoughts: bool) -> list[dict[str, str]]:
    """All that was said before the reply that is graded, tools and earlier turns included."""
    ours = [at for at, one in enumerate(trajectory.messages) if one.role == "assistant"]
    before = trajectory.messages[: ours[-1]] if ours else ()
    said = []
    for message in (*task.messages, *before):
        is_policy = message.role == "assistant" and not thoughts
        content = visible(message.content) if is_policy else message.text
        calls = [f"[calls {call.name} with {call.arguments}]" for call in message.tool_calls]
        said.append({"role": message.role, "content": "\n".join(filter(None, [content, *calls]))})
    return said


def _made(name: str, config: GraderConfig | WatchConfig, *, alone: bool = False) -> Any:
    from munro.rewards import service

    try:
        if alone and is_joint(config.kind):
            raise ValueError(
                f"{config.kind} compares attempts with each other, which shows no trend: name a "
                "kind that grades one attempt alone."
            )
        # what is only a little arithmetic needs no queue and no process of its own
        open_grader = make if find(config.kind).kind.is_light else service.grader
        return open_grader(config.kind, **config.args)
    except ValueError as error:
        raise ValueError(f"graders.{name}: {error}") from error


def _close(graders: Sequence[Grader]) -> None:
    for grader in graders:
        grader.close()


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))[:MOST_REASON]
