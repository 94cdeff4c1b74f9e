"""What the rollout side hands to the learner: groups of graded attempts, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One graded trajectory."""

    trajectory: Trajectory
    grade: Grade
    reward: RewardBreakdown

    @property
    def to_read(self) -> Attempt:
        """The same without nucleus and routed experts: most of its bytes, and for a learner."""
        told = self.trajectory
        nothing = KeptTokens.nothing(len(told.token_ids))
        return replace(self, trajectory=replace(told, kept=nothing, routed_experts=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All graded attempts at one task."""

    index: int
    """Place of the task in the problem set's stream: what the journal and the seeds key on."""
    task: Task
    attempts: tuple[Attempt, ...]
    early_pass_rate: float
    """Pass rate of the first `num_early` attempts, before the gates."""
    num_unscored: int = 0
    """Attempts that got no grade and had to be made again."""
    num_resumed: int = 0
    """Times that an attempt went on from where it was saved, after its machinery had failed."""
    detail: str = ""
    """The last failure among those, in one line, naming the boundary it broke at."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds that an attempt spent on average, by phase ("generate", "grade")."""

    @property
    def pass_rate(self) -> float:
        """Share of attempts that passed (report, section 3.1.2); in [0, 1]."""
        return fmean(attempt.grade.solved for attempt in self.attempts)

    @property
    def to_read(self) -> Group:
        """The same with attempts that are for people; see `Attempt.to_read`."""
        return replace(self, attempts=tuple(attempt.to_read for attempt in self.attempts))

    @property
    def oldest_version(self) -> int:
        """The oldest policy that wrote any token of the group."""
        return min(attempt.trajectory.oldest_version for attempt in self.attempts)


class Reason(StrEnum):
    """Why a task was given up."""

    TOO_HARD_EARLY = "too_hard_early"
    TOO_EASY_EARLY = "too_easy_early"
    TOO_HARD = "too_hard"
    TOO_EASY = "too_easy"
    TOO_LONG = "too_long"
    """The prompt leaves no room for a response in the model's context."""
    UNSCORED = "unscored"
    """Retries ran out: servers, sandbox, grader or the environment itself failed."""

    @property
    def is_gate(self) -> bool:
        """The task was measured and found uninformative: not a fault of any machinery."""
        return self in GATES


GATES = frozenset({Reason.TOO_HARD_EARLY, Reason.TOO_EASY_EARLY, Reason.TOO_HARD, Reason.TOO_EASY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A task that yields no group, with its reason. Never scored as wrong."""

    index: int
    task: Task
    reason: Reason
    detail: str = ""
    """The last failure of an attempt that got no grade, in one line, naming where it broke; or,
    of a prompt that is too long, by how much."""
    pass_rate: float | None = None
    """Measured before giving up, where any attempt was graded."""
    num_attempts: int = 0
    num_unscored: int = 0
    num_sampled: int = 0
    """Policy tokens spent on it."""
    attempts: tuple[Attempt, ...] = ()
    """Some of those that got a grade, for people to read; none where `rollout.keep_dropped` is 0.
    Without nucleus and routed experts, which only a learner needs."""

    @property
    def as_group(self) -> Group:
        """What is there of it, for the store. Its pass rate is that of `attempts` alone."""
        return Group(
            index=self.index,
            task=self.task,
            attempts=self.attempts,
            early_pass_rate=self.pass_rate or 0.0,
            num_unscored=self.num_unscored,
            detail=self.detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the tokens and texts of an outcome lie.

    Example:
        Place(store="store-0", key="worker-3/5c1f.../17")
    """

    store: str
    """Of which node (`munro.rollout.cluster.stores`)."""
    key: str
    num_bytes: int = 0
    """Of its arrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a learner must know of a group to share it out: no tokens, only how many."""

    advantages: tuple[float, ...]
    """One an attempt; all 0 where there is nothing to learn."""
    attempts: tuple[int, ...] = ()
    """Places of those that are trained on; none where there is nothing to learn."""
    num_inputs: tuple[int, ...] = ()
    """Of each of these, tokens that the model must read."""
    num_shared: int = 0
    """Tokens that all of these begin with."""
    num_sampled: int = 0
    """Tokens to train on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What the attempts of a group called, all together."""

    num: int = 0
    failed: int = 0
    malformed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By tool; those that the task does not offer as one."""


NO_CALLS = Calls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a task, as the driver knows it: figures, and where the rest lies.

    `munro.rollout.telling` makes it where the attempts are; tokens and texts stay there.
    """

    index: int
    env: str
    task_id: str
    reason: Reason | None = None
    """Why the task was given up; None for a group."""
    detail: str = ""
    pass_rate: float | None = None
    num_attempts: int = 0
    """That were graded."""
    num_unscored: int = 0
    num_resumed: int = 0
    num_sampled: int = 0
    """Policy tokens spent on it."""
    oldest_version: int = -1
    figures: NDArray[np.float64] | None = None
    """(F, A) `munro.rollout.telling.FIGURES` of every attempt; None for a task given up."""
    parts: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Parts of every attempt's grade (None where it lacks one), as many as become metrics."""
    offers_tools: bool = False
    """The task does."""
    calls: Calls = NO_CALLS
    worth: Worth | None = None
    place: Place | None = None
    """None where nothing of it is kept."""

    @property
    def is_group(self) -> bool:
        """There is something to learn from, as far as gates can tell."""
        return self.reason is None


def places_of(outcomes: Iterable[Outcome]) -> list[Place]:
    """Where these lie, of those that are kept."""
    return [outcome.place for outcome in outcomes if outcome.place is not None]
